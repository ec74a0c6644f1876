"""Options that several commands share, and how a command ends if a run failed."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorisbench.common.errors import InputError
from lorisbench.common.processes import stop_signals

if TYPE_CHECKING:
    from lorisbench.runs.policy import Policy
    from lorisbench.suite.resolve import Suite

PluginOption = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file with strategies or benchmarks")]


WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        envvar="LORISBENCH_WORKERS",
        help="Processes that train runs; 0 trains in this one  [default: one for each core where heads are trained on "
        "features on the CPU, or 1; on Ray, as many as its CPUs allow]",
    ),
]
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_stopped_by: list[str] = []


def tell_faults(frame: Any) -> None:
    """Print a line for each run (of results.csv) that is not done; exit with code 1 if there is one."""
    faulty = frame[frame.status != "done"]
    for row in faulty.itertuples():
        print(f"{row.run_id}: {row.status}: {row.reason}", file=sys.stderr)
    if len(faulty):
        raise typer.Exit(1)


def tell_plan(suite: Suite, out: Path, workers: int | None, policy: Policy | None = None) -> None:
    """What `--dry-run` prints: a line `run_id<TAB>status` for each run, and on standard error what would be done."""
    from lorisbench.runs.plan import plan
    from lorisbench.runs.policy import POLICY
    from lorisbench.runs.store import Output
    from lorisbench.runs.worker_count import usual_workers

    planned = plan(suite, Output(out), policy or POLICY)
    for run_id, state in planned.states.items():
        print(f"{run_id}\t{state}")
    for line in [*planned.notes, *planned.lines(workers or usual_workers(suite) or 1)]:
        print(line, file=sys.stderr)


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def integers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in split(text)]
    except ValueError:
        raise InputError(f"{option} {text!r}: integers separated by commas were expected") from None


def inches(text: str, option: str) -> float:
    """A length such as `3.3in`, `84mm`, `17cm` or `240pt` (points of TeX) in inches, 2 to 40; 0 for an empty text."""
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+) *(in|cm|mm|pt)", text.strip())
    if not found:
        raise InputError(f"{option} {text!r}: a length such as 3.3in, 84mm, 17cm or 240pt was expected")
    length = float(found[1]) / {"in": 1, "cm": 2.54, "mm": 25.4, "pt": 72.27}[found[2]]
    if not 2 <= length <= 40:
        raise InputError(f"{option} {text!r}: 2in to 40in were expected")
    return length


def existing(root: Path | None) -> Path | None:
    """What --data-root gives, if it is there: a folder, or a file of features."""
    if root is not None and not root.is_dir() and not root.is_file():
        raise InputError(f"--data-root {root}: no such folder or file")
    return root


def seconds(text: str, option: str) -> float | None:
    """A duration such as `90s`, `30m`, `1.5h` or `2d` (`90` is in seconds) in seconds; None for an empty text."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise InputError(f"{option} {text!r}: a duration was expected, such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


@contextlib.contextmanager
def signals_told() -> Iterator[None]:
    """Let a scheduler's signals (SIGTERM, SIGUSR1) end the block like Ctrl-C; `stopped_by` then tells which it was.

    The block is a whole command: its imports and its report take long enough to be stopped in, too.
    """

    def end(number: int, frame: object) -> None:
        if not _stopped_by:  # what is sent again must not interrupt what the first one has begun
            _stopped_by.append(signal.Signals(number).name)
            raise KeyboardInterrupt

    _stopped_by.clear()
    before = {number: signal.signal(number, end) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped_by() -> str:
    """The signal that has ended this command, or an empty text."""
    return _stopped_by[0] if _stopped_by else ""
