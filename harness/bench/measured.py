"""What a comparison found: ratios of paired measurements, as a line, in a file, and beside an earlier file."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.files import write_json
from lorisbench.common.reading import parse_json, read_text

PAIRS = 9  # comparisons of a benchmark, unless it says otherwise
MACHINE = ("cpu", "cores", "gpu", "system")  # what has to agree before times are compared


@dataclass(frozen=True)
class Ratio:
    """How long one thing takes as a multiple of another, both measured in turn.

    what : names the comparison, the same each time that the benchmark is run. values : one ratio for each pair.
    milliseconds : the median time of the first. limit : what the median should not exceed, if anything.
    """

    what: str
    values: tuple[float, ...]
    milliseconds: float
    limit: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        aim = "" if self.limit is None else f"; at most {self.limit:g}{'' if self.median <= self.limit else ': MISSED'}"
        return (
            f"{self.what}: {self.median:.3g} x ({min(self.values):.3g} to {max(self.values):.3g} in {len(self.values)} "
            f"pairs{aim}; {self.milliseconds:.3g} ms)"
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what, "median": self.median, "values": list(self.values), "milliseconds": self.milliseconds,
            "limit": self.limit, "kept": None if self.limit is None else self.median <= self.limit,
        }  # fmt: skip


Finding = Ratio | str
"""A comparison, or a sentence."""


def paired(
    what: str, ours: Callable[[], Any], other: Callable[[], Any], limit: float | None = None, pairs: int = PAIRS,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:  # fmt: skip
    """Time two functions in turn, each first in every other pair, after one pair to warm up.

    clock : `time.process_time` for what uses one thread: other load on the machine then counts less.
    """
    ratios, taken = [], []
    for number in range(-1, pairs):
        seconds = {}
        for function in (ours, other) if number % 2 else (other, ours):
            start = clock()
            function()
            seconds[function is ours] = clock() - start
        if number >= 0:
            ratios.append(seconds[True] / seconds[False])
            taken.append(seconds[True])
    return Ratio(what, tuple(ratios), 1e3 * statistics.median(taken), limit)


def write_findings(path: Path, environment: dict[str, Any], findings: dict[str, list[Finding]]) -> None:
    """Write the findings of benchmarks, by name, with machine and versions, as JSON."""
    found = {name: [f if isinstance(f, str) else f.as_json() for f in each] for name, each in findings.items()}
    write_json(path, {**environment, "benchmarks": found})


class Earlier:
    """The ratios that a file of findings holds. Raises InputError, naming the file, where it is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = parse_json(read_text(path), str(path))
        try:
            self.machine = {key: whole["machine"].get(key) for key in MACHINE}
            self.medians = {
                (name, found["what"]): (float(found["median"]), [float(value) for value in found["values"]])
                for name, each in whole["benchmarks"].items()
                for found in each
                if isinstance(found, dict)
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: no file that `lorisbench bench --out` wrote") from error

    def check_machine(self, machine: dict[str, Any]) -> None:
        """Raise InputError if the file is of another machine, with what differs."""
        differing = [
            f"{key} {self.machine[key]!r} there, {machine.get(key)!r} here"
            for key in MACHINE
            if self.machine[key] != machine.get(key)
        ]
        if differing:
            raise InputError(
                f"{self.path}: of another machine ({'; '.join(differing)}); --any-machine compares all the same"
            )

    def beside(self, name: str, finding: Ratio) -> str:
        """What the same comparison gave then, and whether the two can be told apart."""
        then = self.medians.get((name, finding.what))
        if then is None:
            return "not measured then"
        median, values = then
        apart = min(finding.values) > max(values) or max(finding.values) < min(values)
        change = 100 * (finding.median / median - 1)
        return f"{median:.3g} x then, {change:+.1f} %{'' if apart else ' (their ranges overlap)'}"

    def missing(self, measured: dict[str, list[Finding]]) -> Iterator[str]:
        """Comparisons of the benchmarks measured now that are only in the file."""
        now = {(name, f.what) for name, each in measured.items() for f in each if isinstance(f, Ratio)}
        for name, what in self.medians:
            if name in measured and (name, what) not in now:
                yield f"{name}: {what}: only in {self.path.name}"
