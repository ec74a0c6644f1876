"""The training steps and samples of a strategy with a loop of its own, counted from its callbacks."""

from __future__ import annotations

from typing import Any

from lorisbench.engine.meter import current
from lorisbench.engine.own_plugins import HarnessPlugin


class StepTally(HarnessPlugin):
    """Tells the meter of each training step. All that such a strategy does is counted op by op, which takes longer."""

    def before_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if meter := current(strategy):
            meter.watch()

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if meter := current(strategy):
            meter.stepped(len(strategy.mb_y))
