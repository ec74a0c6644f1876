"""The log of a run: what it printed, and the last lines of it, which tell why its process ended."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lorisbench.common.files import written

NAME = "log.txt"
TAIL = 40  # lines, each of at most WIDTH characters
WIDTH = 200


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Append what is printed in a block to the log, also by libraries that are not Python, and by a crash."""
    with written(folder / NAME):
        folder.mkdir(parents=True, exist_ok=True)
        log = open(folder / NAME, "ab")  # noqa: SIM115 - closed below, once it is known under two other numbers
    _flush()
    kept = os.dup(1), os.dup(2)
    with log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    try:
        faulthandler.enable(2, all_threads=False)  # others wait; they would push what the run said out of the tail
        yield
    finally:
        _flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # None, or closed by what has run before
            stream.flush()


def tail_of(folder: Path) -> list[str]:
    """The last lines of a run's log; none if there is no log."""
    try:
        with open(folder / NAME, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 4 * WIDTH * TAIL))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    told = [line[:WIDTH] for line in lines if not line.startswith("Extension modules: ")]  # a crash's longest line
    return told[-TAIL:]
