"""A run that is to stop does so between two steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lorisbench.common.errors import Stopped
from lorisbench.engine.own_plugins import HarnessPlugin


class StopRequest(HarnessPlugin):
    """Ends a run between two steps once `stop()` says so, by raising Stopped."""

    passing = ("stop",)

    def __init__(self, stop: Callable[[], bool]) -> None:
        super().__init__()
        self.stop = stop

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if self.stop():
            raise Stopped

    def after_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if self.stop():
            raise Stopped
