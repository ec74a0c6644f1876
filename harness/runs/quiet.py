"""Whether something is being trained on this machine while a latency is measured, which makes it too long."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lorisbench.common.console import say

PATIENCE = 3.0  # seconds: one that shares the suite may notice a moment later that all of its runs have ended


@contextlib.contextmanager
def training() -> Iterator[None]:
    """A block in which this process trains; it says so if another one of this user measures a latency meanwhile."""
    with _locked(shared=True) as got:
        if not got:
            say("another process measures a latency on this machine at present; training beside it makes that too long")
        yield


@contextlib.contextmanager
def measuring() -> Iterator[bool]:
    """A block in which this process measures a latency; gives whether no other one of this user trains a suite here."""
    with _locked(shared=False, patience=PATIENCE) as got:
        if not got:
            say("another process trains or measures on this machine at present: latencies may be too long")
        yield got


@contextlib.contextmanager
def _locked(shared: bool, patience: float = 0.0) -> Iterator[bool]:
    """Hold a lock of this machine, which ends with the process that holds it; gives whether it could be had in time.

    Where there are no such locks, it counts as had: nothing is known.
    """
    try:
        import fcntl

        number = os.open(_file(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except (ImportError, OSError):
        yield True
        return
    try:
        kind, until = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + patience
        got = False
        while not got:
            try:
                fcntl.flock(number, kind | fcntl.LOCK_NB)
                got = True
            except BlockingIOError:
                if time.monotonic() >= until:
                    break
                time.sleep(0.1)
            except OSError:
                got = True
        yield got
    finally:
        os.close(number)


def _file() -> Path:
    """In the folder of this machine's temporary files, as the cache and the output may be on another one."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"lorisbench-{user}.lock"
