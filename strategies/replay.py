"""Experience replay: each batch is extended with samples of earlier experiences."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import PositiveInt

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.memory import Memory, MemoryPlugin, remember


class ReplayPlugin(MemoryPlugin):
    """Adds samples from memory to each minibatch, so that the loss is the mean over both parts.

    The minibatch itself grows, with inputs, labels and task labels: other plugins see one consistent batch. The
    samples of an experience are offered to the memory when its training ends.

    Parameters
    ----------
    memory : holds (inputs, labels, task labels). replay_batch : see `Replay`.
    """

    def __init__(self, memory: Memory, replay_batch: int | Literal["epoch"]) -> None:
        super().__init__(memory)
        self.replay_batch = replay_batch
        self._parts: list[torch.Tensor] = []

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if self.replay_batch == "epoch":
            order = torch.randperm(len(self.memory), generator=self.memory.generator)
            self._parts = list(order.tensor_split(len(strategy.dataloader)))

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if not len(self.memory):
            return
        drawn = (
            self.memory.at(self._parts.pop()) if self.replay_batch == "epoch" else self.memory.draw(self.replay_batch)
        )
        # a stream without task labels has minibatches of two parts
        strategy.mbatch = [torch.cat(pair) for pair in zip(strategy.mbatch, drawn, strict=False)]

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        remember(self.memory, strategy)


class Replay(Strategy, name="replay"):
    """Experience replay: rehearsal from a memory of samples (Robins 1995; Chaudhry et al. 2019, arXiv 1902.10486).

    The loss of a batch is the mean over its own samples and those from memory. The memory holds what the model takes:
    images end to end, features of a frozen backbone.

    memory: samples kept in all, or `all` (200, like the other defaults, is our choice).
    selection: `reservoir`, every sample of the stream equally likely, or `class-balanced`, equally many of each class,
    every sample of a class equally likely. Chaudhry et al. learn in one pass and offer each batch to the memory at
    once; here an experience is offered when it is over, so that a sample counts once however many epochs there are.
    replay_batch: samples drawn for each batch, without repetition; or `epoch`: enough to show each sample in memory
    once per epoch. With that and `memory: all` it trains on the same data as joint, though not from scratch.
    """

    state_growth = "samples"

    memory: PositiveInt | Literal["all"] = 200
    selection: Literal["reservoir", "class-balanced"] = "reservoir"
    replay_batch: PositiveInt | Literal["epoch"] = 32

    def replay_limit(self) -> int | None:
        return None if self.memory == "all" else self.memory

    def plugins(self, context: Context) -> list[Any]:
        return [ReplayPlugin(Memory(self.replay_limit(), self.selection, context.seed), self.replay_batch)]
