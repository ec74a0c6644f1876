"""A budget for each experience: training goes on until it is used up, for every strategy alike (`training.budget`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError
from lorisbench.suite.training import TrainingConfig

if TYPE_CHECKING:
    from lorisbench.engine.meter import Meter


class Budget:
    """How much of a budget of iterations, samples or operations an experience has left.

    It takes the place of epochs: there are as many as it pays for, the last one cut short where it ends. A step begins
    if what it costs, as far as that is known, does not go beyond it; the first one always does. Milestones come at the
    share of the budget that they are of `epochs`.

    Operations are those of all that a strategy does for an experience. What it spends beyond its budget after the last
    step (importances, a generator) is taken off that of the next experience, so that all add up to the same.

    Attributes
    ----------
    kind, total : what is counted, and how much of it an experience has. debt : operations owed by those before it.
    """

    def __init__(self, training: TrainingConfig) -> None:
        assert training.budget is not None
        self.kind, self.total = training.budget.given
        self.debt = 0
        self._training = training
        self._milestones: list[float] = []

    def begin(self, milestones: list[int], epochs: int) -> int:
        """Begin an experience that would have this many epochs; returns as many as the budget could ever pay for."""
        self._milestones = sorted(milestone / epochs for milestone in milestones if milestone < epochs)
        return self.total

    def begins(self, strategy: Any, meter: Meter, costs: Mapping[str, int]) -> bool:
        """Whether there is enough left for a step that `costs` as much, by kind of budget."""
        used = self._used(meter)
        share = used / self.total
        while self._milestones and self._milestones[0] <= share:
            self._milestones.pop(0)
            for group in strategy.optimizer.param_groups:
                group["lr"] *= self._training.milestone_factor
        return meter.steps == 0 or used + costs[self.kind] <= self.total

    def foresee(self, strategy: Any, meter: Meter) -> None:
        """At the end of an epoch: set `strategy.train_epochs`, which nobody could know before, to what it looks like.

        Raises InputError if nothing is ever spent: there would be no end.
        """
        used, done = self._used(meter), strategy.clock.train_exp_epochs + 1
        if not used:
            raise InputError(
                f"training.budget.{self.kind}: an epoch costs nothing that is counted, so that there is no end; use "
                "iterations"
            )
        last = done if strategy._stop_training else math.ceil(self.total * done / used)
        strategy.train_epochs = min(strategy.train_epochs, max(done, last))

    def settle(self, meter: Meter) -> float:
        """The share of the budget that an experience has used, now that all is done for it."""
        used = self._used(meter)
        own, self.debt = used - self.debt, max(0, used - self.total) if self.kind == "flops" else 0
        return own / self.total

    def _used(self, meter: Meter) -> int:
        return {"iterations": meter.steps, "samples": meter.samples, "flops": meter.flops + self.debt}[self.kind]


def budget_of(training: TrainingConfig) -> Budget | None:
    """The budget of a run with these settings, or None."""
    return None if training.budget is None else Budget(training)
