"""What a person sees in the terminal: one rich console on standard error and progress bars on it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


def say(message: str) -> None:
    """One plain line on standard error (progress and notices; results go to standard output)."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def track(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, two plain lines elsewhere; the block calls the yielded function with increments."""
    if not sys.stderr.isatty():
        say(f"{label}: {total} …")
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.advance(task, count)
