"""Frozen: trained on the first experience, then left alone; what is lost by never adapting."""

from __future__ import annotations

from typing import Any

from avalanche.core import SupervisedPlugin

from lorisbench.engine.strategy import Context, Strategy


class FrozenPlugin(SupervisedPlugin):
    """Stops each experience but the first before its first epoch: no forward pass, no step, no statistics move."""

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter > 0:
            strategy.stop_training()


class Frozen(Strategy, name="frozen"):
    """Trained on the first experience only: a lower reference that forgets nothing and learns nothing after it."""

    def plugins(self, context: Context) -> list[Any]:
        return [FrozenPlugin()]
