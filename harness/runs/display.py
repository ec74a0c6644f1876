"""One display of a suite's progress: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lorisbench.common.console import bars, relayed, say
from lorisbench.runs.crews import Event, Progress, Said

QUIET = 60.0  # seconds after which a plain display tells where a long run is


class Display:
    """Shows the runs that are being trained here, how many of the suite have ended, and about how long is left.

    Parameters
    ----------
    labels : what each run to be trained is called, by its id.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._ended = 0
        self._told = time.monotonic()
        self._bars: Any = bars()  # None without a terminal
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Display:
        if self._bars is not None:
            self._bars.start()
            self._suite = self._bars.add_task("runs", total=len(self._labels))
            self._relay = relayed(lambda line: self._bars.console.print(line, markup=False, highlight=False))
            self._relay.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bars is not None:
            self._relay.__exit__(None, None, None)
            self._bars.stop()

    def heard(self, event: Event) -> None:
        """Show what a crew has told."""
        if isinstance(event, Said):
            say(event.line)
        elif isinstance(event, Progress):
            (self._say if self._bars is None else self._draw)(event)

    def ended(self, run_id: str, line: str) -> None:
        """Tell that a run has ended, and how."""
        self._ended += 1
        self._told = time.monotonic()
        say(f"[{self._ended}/{len(self._labels)}] {self._labels[run_id]}: {line}")
        if self._bars is not None:
            self._bars.update(self._suite, completed=self._ended)
            if run_id in self._tasks:
                self._bars.remove_task(self._tasks.pop(run_id))

    def _draw(self, event: Progress) -> None:
        task = self._tasks.get(event.run_id)
        if task is None:
            task = self._tasks[event.run_id] = self._bars.add_task("", total=event.of)
        within = (event.epoch - 1) / event.epochs if event.epochs else 0.0
        self._bars.update(task, completed=event.done + within, description=self._text(event))

    def _say(self, event: Progress) -> None:
        if time.monotonic() - self._told >= QUIET:
            self._told = time.monotonic()
            say(f"{self._text(event)}, after {event.done} of {event.of} experiences")

    def _text(self, event: Progress) -> str:
        text = self._labels.get(event.run_id, event.run_id)
        if event.epochs:
            text += f", epoch {event.epoch}/{event.epochs}"
        if event.loss is not None:
            text += f", loss {event.loss:.3g}"
        return text
