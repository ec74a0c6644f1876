"""Latent replay: the memory holds activations of a layer, and only what lies above it keeps learning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveInt

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.latent import features_of, freeze_backbone, skip_frozen_backbone
from lorisbench.strategies.parts.memory import Memory, remember
from lorisbench.strategies.replay import ReplayPlugin


class LatentReplayPlugin(ReplayPlugin):
    """Replay of features, for which the backbone is frozen after the first experience."""

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        skip_frozen_backbone(strategy)
        super().before_training_iteration(strategy, **kwargs)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        freeze_backbone(strategy.model)
        remember(self.memory, strategy, lambda x: features_of(strategy.model, x))


class LatentReplay(Strategy, name="latent-replay"):
    """Latent replay (Pellegrini et al. 2020, arXiv 1912.01100), from the pooled features in front of the head.

    The memory holds features, whatever the backbone's training mode, and is replayed into the head. The backbone
    learns from the first experience and is then frozen: stored features never age. The paper lets the layers below
    learn slowly, or not at all, chooses the layer, and trains the head as AR1* does; here the layer is the last
    before the head, and the head's weights are free. (A lower rate for some layers by scaling their gradients would do
    nothing under Adam.) With a frozen backbone (`backbone.train: never`) it equals `replay`.

    memory, selection, replay_batch: as for `replay` (our choice).
    """

    state_growth = "samples"

    memory: PositiveInt = 200
    selection: Literal["reservoir", "class-balanced"] = "reservoir"
    replay_batch: PositiveInt | Literal["epoch"] = 32

    def replay_limit(self) -> int:
        return self.memory

    def plugins(self, context: Context) -> list[Any]:
        return [LatentReplayPlugin(Memory(self.memory, self.selection, context.seed), self.replay_batch)]
