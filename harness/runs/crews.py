"""Who trains runs: what every crew does, what it tells, and the crew that trains in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lorisbench.common.errors import InputError, Stopped
from lorisbench.runs.claims import Claim, Lost
from lorisbench.runs.directory import RunDirectory

if TYPE_CHECKING:
    from lorisbench.runs.workbench import Workbench
    from lorisbench.suite.resolve import ResolvedConfig
    from lorisbench.suite.spec import RunSpec


@dataclass(frozen=True)
class Ended:
    """A run has ended by itself: its status says how. `lost`: another process has taken it over meanwhile."""

    run_id: str
    lost: bool = False


@dataclass(frozen=True)
class Died:
    """The process that trained a run is gone. `signal` is the name of what killed it, or empty."""

    run_id: str
    reason: str
    signal: str = ""


@dataclass(frozen=True)
class Vanished:
    """The machine that trained a run is gone, or Ray's own process on it: nothing that the run has done."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class Refused:
    """What the runs need cannot be used (an InputError), so that none of them can be trained."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """A run begins or goes on: `done` of `of` experiences are behind it.

    epoch, epochs, loss : where it is in the present one, 0 and None if that is not told.
    """

    run_id: str
    done: int
    of: int
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None


@dataclass(frozen=True)
class Said:
    """A line for the user from a process that trains runs."""

    line: str


Event = Ended | Died | Vanished | Refused | Progress | Said


class Crew(Protocol):
    """Trains runs that the caller has claimed, several at a time."""

    @property
    def size(self) -> int:
        """How many runs it trains at a time, at present."""

    def start(self, spec: RunSpec, claim: Claim) -> None:
        """Begin a run. Call it only if fewer than `size` runs are being trained."""

    def events(self, seconds: float) -> list[Event]:
        """What has happened since the last call; waits up to `seconds` for the first event."""

    def kill(self, run_id: str) -> None:
        """End a run at once; it is told as `Died`."""

    def close(self) -> None:
        """Let the runs that are being trained stop after their present step, and end all that trains."""


class Here:
    """Trains in this process, one run at a time: for debuggers and profilers. A run that crashes ends the process."""

    size = 1

    def __init__(self, bench_of: Callable[[str], Workbench], out: Path, logs: Sequence[str]) -> None:
        self._bench_of, self._out, self._logs = bench_of, out, logs
        self._events: list[Event] = []

    def start(self, spec: RunSpec, claim: Claim) -> None:
        ended = train_claimed(
            self._bench_of(spec.stream), spec, self._out, claim.number, self._logs, lambda: False, self._tell
        )
        self._tell(ended)

    def _tell(self, event: Event) -> None:
        self._events.append(event)

    def events(self, seconds: float) -> list[Event]:
        if not self._events:
            time.sleep(seconds)
        told, self._events = self._events, []
        return told

    def kill(self, run_id: str) -> None:
        """A run that is over when `start` returns cannot be ended early."""

    def close(self) -> None:
        """Nothing is left to end."""


def train_claimed(
    bench: Workbench,
    spec: RunSpec,
    out: Path,
    number: int,
    logs: Sequence[str],
    stop: Callable[[], bool],
    tell: Callable[[Event], None],
) -> Ended | Refused:
    """Train a run under the claim `number` on its folder, in this process; returns how it ended.

    logs : which tools its progress is logged for, names of `loggers.LOGGERS`. stop : asked between steps of training;
    once it says so, the run stops, to be continued. tell : is given `Progress`.
    """
    from lorisbench.runs.observers import observers_of
    from lorisbench.runs.one_run import train

    directory = RunDirectory(out / "runs" / spec.run_id, number)
    try:
        train(bench, spec, directory, stop, observers_of(logs, out, tell))
    except Stopped:
        return Ended(spec.run_id)  # as pending
    except Lost:
        return Ended(spec.run_id, lost=True)
    except InputError as error:
        return Refused(spec.run_id, str(error))
    return Ended(spec.run_id)


def from_data(config: ResolvedConfig) -> Workbench:
    """What the runs of a stream share, from its data."""
    from lorisbench.runs.workbench import prepare

    return prepare(config, config.benchmark.usable(config.evaluation.split))


def prepared(
    resolved: str, make: Callable[[ResolvedConfig], Workbench] = from_data
) -> tuple[Callable[[str], Workbench], dict[str, RunSpec]]:
    """What the runs of a suite's stream share in this process, by the stream's name, and the suite's runs by id.

    resolved : the suite, as JSON. make : what makes it, from the stream's settings.
    """
    from lorisbench.suite.config import SuiteConfig
    from lorisbench.suite.parsing import parse
    from lorisbench.suite.resolve import resolve

    suite = resolve(parse(SuiteConfig, json.loads(resolved)))
    return one_at_a_time(lambda stream: make(suite.streams[stream])), {spec.run_id: spec for spec in suite.runs}


def one_at_a_time(make: Callable[[str], Workbench]) -> Callable[[str], Workbench]:
    """`make`, but what it made last is kept for the next call, and let go before something else is made."""
    kept: dict[str, Workbench] = {}

    def get(stream: str) -> Workbench:
        if stream not in kept:
            kept.clear()
            kept[stream] = make(stream)
        return kept[stream]

    return get
