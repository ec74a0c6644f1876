"""Validation images of earlier experiences as replay, which the IROS 2019 challenge allowed."""

from __future__ import annotations

from typing import Any

from lorisbench.engine.own_plugins import HarnessPlugin


class ValidationReplay(HarnessPlugin):
    """Adds the validation data of earlier experiences to the training data of the current one.

    It goes last in the list of plugins: a strategy that keeps training data (joint) then keeps each image once, and one
    that makes its own loader in `before_training_exp` (replay) finds them there. `experience.dataset` stays as the
    stream has it, so what a strategy measures on the current experience (a gap, importances) stays unmixed.

    Parameters
    ----------
    validation : Avalanche data sets, one per experience; subsets of the stream's store.

    Attributes
    ----------
    replay_samples : images of earlier experiences in the current training data.
    """

    def __init__(self, validation: list[Any]) -> None:
        super().__init__()
        self._validation = validation
        self.replay_samples = 0

    def after_train_dataset_adaptation(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Extend `strategy.adapted_dataset`."""
        past = self._validation[: strategy.clock.train_exp_counter]
        for dataset in past:
            strategy.adapted_dataset = strategy.adapted_dataset.concat(dataset)
        self.replay_samples = sum(len(dataset) for dataset in past)
