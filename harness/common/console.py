"""What the user sees in the terminal: one rich console on standard error, with progress bars."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_relay: list[Callable[[str], None]] = []


def say(message: str) -> None:
    """One plain line on standard error (progress and notices; results go to standard output)."""
    if _relay:
        _relay[-1](message)
    else:
        print(message, file=sys.stderr, flush=True)


def relay_to(tell: Callable[[str], None]) -> None:
    """From now on, give the lines of `say` to a function: to the process that shows them to the user."""
    _relay[:] = [tell]


def printable(text: str) -> str:
    """Text for a terminal, whatever a file is called: control characters are shown, not obeyed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def hide_warnings() -> None:
    """Hide library warnings that mean nothing to someone running a suite; for the command and its processes."""
    # From Avalanche: about a solver that only GEM needs, and about loggers, as the harness does its own recording
    warnings.filterwarnings("ignore", message="no QP solver found")
    warnings.filterwarnings("ignore", message="No loggers specified")
    # From tqdm, which libraries import: that it draws no bar of its own in this notebook
    warnings.filterwarnings("ignore", message="IProgress not found")
    # From loky: a worker process whose memory has grown a lot is replaced by a fresh one
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
    # From Pillow: about damaged EXIF tags, without the file's name, in images that are readable all the same
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


@contextlib.contextmanager
def relayed(tell: Callable[[str], None]) -> Iterator[None]:
    """Give the lines of `say` to a function while the block runs."""
    before = list(_relay)
    _relay[:] = [tell]
    try:
        yield
    finally:
        _relay[:] = before


def bars() -> Any:
    """A `rich` display of several bars for a terminal or notebook; None if standard error is neither."""
    from rich.console import Console

    console = Console(stderr=True)
    if not _shows_bars(console):
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _shows_bars(console: Any) -> bool:
    in_notebook = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None  # rich's bars need them
    return bool(console.is_terminal or in_notebook)


@contextlib.contextmanager
def track(label: str, total: int, show: bool = True, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Progress on standard error: a bar in a terminal or notebook (with ipywidgets), elsewhere a line per quarter.

    The block calls the function it is given with increments that add up to `total`; with the unit `bytes`, they are
    shown as megabytes and so on.
    """
    if not show:
        yield lambda _: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not _shows_bars(console):
        yield _quarters(label, total)
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    done = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done, TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.advance(task, count)


def _quarters(label: str, total: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        if total and done * 4 // total > before * 4 // total:
            say(f"{label}: {100 * done // total} %")

    return advance
