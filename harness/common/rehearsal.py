"""A rehearsal of what a command would do: what is slow or downloaded is noted, and not done."""

from __future__ import annotations

import contextlib
import contextvars
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_NOTES: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("notes", default=None)
CONNECTING = 5.0  # seconds
Made = TypeVar("Made")


@contextlib.contextmanager
def rehearsal() -> Iterator[list[str]]:
    """A block in which `only_noted` is true; gives the list that it notes in."""
    notes: list[str] = []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def only_noted(what: str) -> bool:
    """Whether this is a rehearsal, which notes `what` (a sentence in the conditional) in place of doing it."""
    if _NOTES.get() is None:
        return False
    note(what)
    return True


def note(what: str) -> None:
    """Note a sentence, once, if this is a rehearsal."""
    notes = _NOTES.get()
    if notes is not None and what not in notes:
        notes.append(what)


def noted() -> bool:
    """Whether this is a rehearsal that has noted something."""
    return bool(_NOTES.get())


def or_noted(make: Callable[[], Made], what: str) -> Made | None:
    """What `make` makes; None in a rehearsal if it would download, which is noted as `what`.

    Raises what `make` raises otherwise, as where nothing can be reached.
    """
    if _NOTES.get() is None:
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
