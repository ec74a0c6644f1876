"""Who looks on while a run is trained: progress for the user, and the logs of tools that people already use.

Everything goes through the harness's own plugin and recorder; Avalanche's loggers would evaluate what nobody asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lorisbench.common.console import say
from lorisbench.common.errors import reason_of
from lorisbench.engine.own_plugins import HarnessPlugin
from lorisbench.runs.crews import Progress

if TYPE_CHECKING:
    from lorisbench.suite.spec import RunSpec

PAUSE = 0.5  # seconds between two signs of progress within an experience


class Observer:
    """Told how a run goes; every method does nothing unless it is overridden."""

    def begun(self, spec: RunSpec, names: Sequence[str], trained: int) -> None:
        """names : of the experiences, in the run's order. trained : how many it has been trained on before."""

    def epoch(self, experience: int, epoch: int, epochs: int, step: int, losses: Sequence[float]) -> None:
        """An epoch is over, counted from 1. losses : of its steps; the last of them is number `step` of the run."""

    def experience(self, index: int, accuracy: Sequence[float], seconds: float) -> None:
        """An experience is over.

        accuracy : the row of the accuracy matrix, fractions; empty if no test followed (`evaluation.rows: last`).
        seconds : of its training.
        """

    def ended(self, status: str) -> None:
        """The run has ended, for now or for good."""


class Audience:
    """The observers of a run. One that fails is told of, and left out from then on: no run ends because of it."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def tell(self, what: str, *about: Any) -> None:
        """Call the method `what` of each observer."""
        for observer in list(self._observers):
            try:
                getattr(observer, what)(*about)
            except Exception as error:
                self._observers.remove(observer)
                say(f"{type(observer).__name__} is left out of the rest of this run: {reason_of(error)}")


class Watch(HarnessPlugin):
    """Tells observers of each epoch; reads the losses from the device once an epoch."""

    passing = ("audience", "_losses")

    def __init__(self, audience: Audience) -> None:
        super().__init__()
        self.audience = audience
        self._losses: list[torch.Tensor] = []

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._losses = []

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._losses.append(torch.as_tensor(strategy.loss).detach().mean())

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        losses = torch.stack(self._losses).tolist() if self._losses else []
        self._losses = []
        clock, epochs = strategy.clock, strategy.train_epochs  # the clock's own callback came first
        self.audience.tell(
            "epoch", clock.train_exp_counter, clock.train_exp_epochs, epochs, clock.train_iterations, losses
        )


class Reporter(Observer):
    """Tells the process that shows progress where a run is."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._last = 0.0

    def begun(self, spec: RunSpec, names: Sequence[str], trained: int) -> None:
        self._run_id, self._of, self._done = spec.run_id, len(names), trained
        self._tell(Progress(self._run_id, trained, self._of))

    def epoch(self, experience: int, epoch: int, epochs: int, step: int, losses: Sequence[float]) -> None:
        if time.monotonic() - self._last < PAUSE:
            return
        self._last = time.monotonic()
        loss = sum(losses) / len(losses) if losses else None
        self._tell(Progress(self._run_id, self._done, self._of, epoch, epochs, loss))

    def experience(self, index: int, accuracy: Sequence[float], seconds: float) -> None:
        self._done, self._last = index + 1, time.monotonic()
        self._tell(Progress(self._run_id, self._done, self._of))


def observers_of(logs: Sequence[str], out: Path, tell: Callable[[Progress], None]) -> list[Observer]:
    """The observers of one run: who shows its progress, and the `logs`, names of `loggers.LOGGERS`."""
    from lorisbench.runs.loggers import LOGGERS

    return [Reporter(tell), *(LOGGERS[name](out) for name in logs)]
