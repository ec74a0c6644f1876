"""When something that grows is due to be written again: often, but at the cost of a small part of the time."""

from __future__ import annotations

import time

SHARE = 20  # at most a twentieth of the time goes into writing, however much there is


class Pace:
    """Says when the next writing is due, from when the last one ended and how long it took.

    Parameters
    ----------
    seconds : between two writings at least, and before the first.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def written(self, start: float) -> None:
        """A writing has ended that began at `start`, a time of `time.monotonic`."""
        end = time.monotonic()
        self._next = end + max(self._seconds, SHARE * (end - start))
