"""GDumb: a balanced memory, and a model trained from scratch on nothing else."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.joint import CONFLICTS, JointPlugin
from lorisbench.strategies.parts.memory import chosen


class GDumbPlugin(JointPlugin):
    """Trains from scratch on a memory that the current experience has just been offered to.

    The memory is a part of the stream's data sets, so the harness loads it as fast as an experience, and it follows
    them when features take the place of images.

    Parameters
    ----------
    memory : samples kept, equally many of each class. seed : of the memory's random numbers.

    Attributes
    ----------
    replay_samples : samples in memory.
    """

    def __init__(self, memory: int, seed: int) -> None:
        super().__init__()
        self.memory = memory
        self._generator = torch.Generator().manual_seed(seed)
        self._kept: Any = None
        self._keys = torch.empty(0, dtype=torch.float64)

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Offer the experience to the memory, then set `strategy.adapted_dataset` to the memory."""
        present = strategy.adapted_dataset
        offered = present if self._kept is None else self._kept.concat(present)
        new = torch.rand(len(present), dtype=torch.float64, generator=self._generator)
        keys = torch.cat([self._keys, new])
        rows = chosen(keys, torch.as_tensor(list(offered.targets)), self.memory, "class-balanced")
        self._kept, self._keys = offered.subset(rows.tolist()), keys[rows]
        self.replay_samples = len(self._kept)
        strategy.adapted_dataset = self._kept


class GDumb(Strategy, name="gdumb"):
    """GDumb (Prabhu et al. 2020, ECCV): at each test, a model trained from scratch on a balanced memory alone.

    Two things differ from the paper. Its sampler takes no more samples of a class that has its share, so in a stream
    whose experiences all have the same classes it would keep the first samples for ever; here each sample of a class is
    kept with the same probability. And CutMix is left out: it mixes images, and cached features are not images. A
    memory is smaller than an experience, so an epoch has fewer steps: to train for longer than the suite says, give the
    strategy a `training: {epochs: ...}` of its own. Like joint, it starts with a fresh optimizer in each experience.

    memory: samples kept (200: our choice).
    """

    state_growth = "samples"
    needs_epochs = "it trains from scratch on its memory, in several epochs"
    conflicts = CONFLICTS

    memory: PositiveInt = 200

    def replay_limit(self) -> int:
        return self.memory

    def plugins(self, context: Context) -> list[Any]:
        return [GDumbPlugin(self.memory, context.seed)]
