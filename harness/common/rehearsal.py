"""A rehearsal of what a command would do: what is slow or downloaded is noted, and not done."""

from __future__ import annotations

import contextlib
import contextvars
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

CONNECTING = 5.0  # seconds
Made = TypeVar("Made")


@dataclass(frozen=True)
class _Rehearsal:
    """What is noted, and the stand-ins made so far, which last as long as the outermost rehearsal."""

    notes: list[str]
    made: dict[str, Path]
    end: contextlib.ExitStack


_NOW: contextvars.ContextVar[_Rehearsal | None] = contextvars.ContextVar("rehearsal", default=None)


@contextlib.contextmanager
def rehearsal() -> Iterator[list[str]]:
    """A block in which `only_noted` is true; gives the list that it notes in. One within another shares stand-ins."""
    outer = _NOW.get()
    with contextlib.ExitStack() as end:
        now = _Rehearsal([], {}, end) if outer is None else _Rehearsal([], outer.made, outer.end)
        token = _NOW.set(now)
        try:
            yield now.notes
        finally:
            _NOW.reset(token)


def only_noted(what: str) -> bool:
    """Whether this is a rehearsal, which notes `what` (a sentence in the conditional) in place of doing it."""
    if _NOW.get() is None:
        return False
    note(what)
    return True


def stand_in(name: str, fill: Callable[[Path], object]) -> Path:
    """The folder in place of one that a rehearsal does not make, filled once by `fill(folder)`; it goes at the end."""
    now = _NOW.get()
    assert now is not None, "only a rehearsal has stand-ins"
    if name not in now.made:
        folder = Path(now.end.enter_context(tempfile.TemporaryDirectory(prefix="lorisbench-")))
        fill(folder)
        now.made[name] = folder
    return now.made[name]


def note(what: str) -> None:
    """Note a sentence, once, if this is a rehearsal."""
    now = _NOW.get()
    if now is not None and what not in now.notes:
        now.notes.append(what)


def noted() -> bool:
    """Whether this is a rehearsal that has noted something."""
    now = _NOW.get()
    return now is not None and bool(now.notes)


def or_noted(make: Callable[[], Made], what: str) -> Made | None:
    """What `make` makes; None in a rehearsal if it would download, which is noted as `what`.

    Raises what `make` raises otherwise, as where nothing can be reached.
    """
    if _NOW.get() is None:
        return make()
    with no_downloads() as reached:
        try:
            return make()
        except Exception:
            if not reached:
                raise
    note(f"{what} would be downloaded from {', '.join(dict.fromkeys(reached))}")
    return None


@contextlib.contextmanager
def no_downloads() -> Iterator[list[str]]:
    """A block in which every connection that could be made is given up; gives the list of the addresses.

    An address that cannot be reached raises what it would raise anyway.
    """
    reached: list[str] = []
    connect = socket.socket.connect

    def try_only(self: socket.socket, address: Any) -> None:
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return connect(self, address)
        before = self.gettimeout()
        self.settimeout(CONNECTING)
        try:
            connect(self, address)
        finally:
            self.settimeout(before)
        reached.append(str(address[0]))
        raise ConnectionAbortedError("nothing is downloaded in a rehearsal")

    socket.socket.connect = try_only  # type: ignore[assignment,method-assign]
    try:
        yield reached
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
