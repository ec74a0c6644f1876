"""When a growing file is due to be written again: often, but at the cost of a small share of the time."""

from __future__ import annotations

import time

SHARE = 20  # at most a twentieth of the time goes into writing, however much there is


class Pace:
    """Decides when the next write is due, from when the last one ended and how long it took.

    Parameters
    ----------
    seconds : least time between two writes, and before the first.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def written(self, start: float) -> None:
        """Record the end of a write that began at `start`, a time from `time.monotonic`."""
        end = time.monotonic()
        self._next = end + max(self._seconds, SHARE * (end - start))
