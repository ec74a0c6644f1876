"""What was found: ratios, exponents and amounts, as a line, in a file, and beside an earlier file."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorisbench.bench.timing import in_turn, repeated, timed
from lorisbench.common.errors import InputError
from lorisbench.common.files import write_json
from lorisbench.common.reading import parse_json, read_text

PAIRS = 9  # comparisons of a benchmark, unless it says otherwise
MACHINE = ("cpu", "cores", "gpu", "system")  # what has to agree before times are compared


class _Repeated:
    """What was measured several times: the median stands for it."""

    values: tuple[float, ...]

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def range(self) -> tuple[float, float]:
        return min(self.values), max(self.values)


@dataclass(frozen=True)
class Ratio(_Repeated):
    """How long one thing takes as a multiple of another, both measured in turn.

    what : names the comparison, the same each time that the benchmark is run. values : one ratio for each pair.
    milliseconds : the median time of the first. limit : what the median should not exceed, if anything.
    """

    what: str
    values: tuple[float, ...]
    milliseconds: float
    limit: float | None = None

    @classmethod
    def of(cls, what: str, ours: Sequence[float], other: Sequence[float], limit: float | None = None) -> Ratio:
        """From the seconds of each pair."""
        return cls(
            what, tuple(a / b for a, b in zip(ours, other, strict=True)), 1e3 * statistics.median(ours), limit
        )  # fmt: skip

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.value:.3g} x ({_told(self.range)} in {len(self.values)} pairs{_aim(self)}; "
            f"{self.milliseconds:.3g} ms)"
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what, "median": self.value, "values": list(self.values), "milliseconds": self.milliseconds,
            "limit": self.limit, "kept": _kept(self),
        }  # fmt: skip


@dataclass(frozen=True)
class Growth:
    """How the cost of something grows: a power of its size, fitted to the logarithms of both by least squares.

    what : names what is measured and against what. sizes : ascending. seconds : for each size, those of each round.
    limit : what the exponent should not exceed, if anything.
    """

    what: str
    sizes: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]
    limit: float | None = None

    @classmethod
    def of(cls, what: str, taken: Mapping[int, Sequence[float]], limit: float | None = None) -> Growth:
        return cls(what, tuple(taken), tuple(tuple(each) for each in taken.values()), limit)

    @property
    def value(self) -> float:
        """The exponent."""
        return self._line()[0]

    @property
    def range(self) -> tuple[float, float]:
        """The 95 % Student-t interval of the exponent, by the scatter of all rounds about the line."""
        slope, half = self._line()
        return slope - half, slope + half

    def _line(self) -> tuple[float, float]:
        """Slope and half the width of its interval."""
        import numpy as np
        from scipy.special import stdtrit

        x = np.log(np.repeat(self.sizes, [len(each) for each in self.seconds]))
        y = np.log(np.concatenate(self.seconds))
        x, y, freedom = x - x.mean(), y - y.mean(), len(x) - 2
        slope = float(x @ y / (x @ x))
        scatter = float(((y - slope * x) ** 2).sum())
        return slope, float(stdtrit(freedom, 0.975) * np.sqrt(scatter / freedom / (x @ x)))

    @property
    def medians(self) -> tuple[float, ...]:
        """Seconds at each size."""
        return tuple(statistics.median(each) for each in self.seconds)

    def __str__(self) -> str:
        taken = ", ".join(f"{size:,}: {1e3 * s:.3g}" for size, s in zip(self.sizes, self.medians, strict=True))
        return f"{self.what}: exponent {self.value:.3f} ({_told(self.range)}{_aim(self)}; ms at {taken})"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what, "exponent": self.value, "interval": list(self.range), "sizes": list(self.sizes),
            "seconds": [list(each) for each in self.seconds], "limit": self.limit, "kept": _kept(self),
        }  # fmt: skip


@dataclass(frozen=True)
class Amount(_Repeated):
    """So much of a unit, in each of several rounds. limit : what the median should not exceed, if anything."""

    what: str
    values: tuple[float, ...]
    unit: str
    limit: float | None = None

    def __str__(self) -> str:
        spread = f"{_told(self.range)} in {len(self.values)} rounds" if len(self.values) > 1 else "once"
        return f"{self.what}: {self.value:.3g} {self.unit} ({spread}{_aim(self)})"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what, "unit": self.unit, "median": self.value, "values": list(self.values),
            "limit": self.limit, "kept": _kept(self),
        }  # fmt: skip


Measured = Ratio | Growth | Amount
Finding = Measured | str
"""Something measured, or a sentence."""


def _told(span: tuple[float, float]) -> str:
    return f"{span[0]:.3g} to {span[1]:.3g}"


def _kept(found: Measured) -> bool | None:
    return None if found.limit is None else found.value <= found.limit


def _aim(found: Measured) -> str:
    return "" if found.limit is None else f"; at most {found.limit:g}{'' if _kept(found) else ': MISSED'}"


def limits(findings: dict[str, list[Finding]]) -> tuple[int, int]:
    """How many limits were kept, and how many there are."""
    kept = [_kept(one) for each in findings.values() for one in each if not isinstance(one, str)]
    return kept.count(True), len(kept) - kept.count(None)


def paired(
    what: str, ours: Callable[[], Any], other: Callable[[], Any], limit: float | None = None, pairs: int = PAIRS,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:  # fmt: skip
    """Time two functions in turn, each first in every other pair, after one pair to warm up; clock as of `timed`."""
    taken = in_turn({"ours": timed(ours, clock), "other": timed(other, clock)}, pairs)
    return Ratio.of(what, taken["ours"], taken["other"], limit)


def in_blocks(
    what: str, ours: Callable[[], Any], other: Callable[[], Any], calls: int, limit: float | None, pairs: int,
    clock: Callable[[], float],
) -> Ratio:  # fmt: skip
    """As `paired`, but blocks of so many calls, as a clock says little of one; the milliseconds are those of a call."""
    found = paired(what, repeated(ours, calls), repeated(other, calls), limit, pairs, clock)
    return replace(found, milliseconds=found.milliseconds / calls)


def write_findings(path: Path, environment: dict[str, Any], findings: dict[str, list[Finding]]) -> None:
    """Write the findings of benchmarks, by name, with machine, versions and how busy it was before, as JSON."""
    found = {name: [f if isinstance(f, str) else f.as_json() for f in each] for name, each in findings.items()}
    write_json(path, {**environment, "benchmarks": found})


class Earlier:
    """What a file of findings says was measured. Raises InputError, naming the file, where it is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = parse_json(read_text(path), str(path))
        try:
            self.machine = {key: whole["machine"].get(key) for key in MACHINE}
            self.software = _software(whole)
            self.found = {
                (name, found["what"]): _value_and_range(found)
                for name, each in whole["benchmarks"].items()
                for found in each
                if not isinstance(found, str)
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

    def other_software(self, environment: dict[str, Any]) -> Iterator[str]:
        """A line with the versions, and the number of torch's threads, that are others now; none if all are alike."""
        now = _software(environment)
        others = [
            f"{key} {then} then, {now.get(key)} now" for key, then in self.software.items() if now.get(key) != then
        ]
        if others:
            yield f"{self.path}: measured with other software: {'; '.join(others)}"

    def beside(self, name: str, finding: Measured) -> str:
        """What the same measurement gave then, and whether the two can be told apart."""
        then = self.found.get((name, finding.what))
        if then is None:
            return "not measured then"
        value, (low, high) = then
        apart = finding.range[0] > high or finding.range[1] < low
        if isinstance(finding, Growth):
            told = f"{value:.3f} then, {finding.value - value:+.3f}"
        else:
            unit = "x" if isinstance(finding, Ratio) else finding.unit
            told = f"{value:.3g} {unit} then, {100 * (finding.value / value - 1):+.1f} %"
        return f"{told}{'' if apart else ' (their ranges overlap)'}"

    def missing(self, measured: dict[str, list[Finding]]) -> Iterator[str]:
        """What is only in the file, of the benchmarks measured now."""
        now = {(name, f.what) for name, each in measured.items() for f in each if not isinstance(f, str)}
        for name, what in self.found:
            if name in measured and (name, what) not in now:
                yield f"{name}: {what}: only in {self.path.name}"


def _software(environment: dict[str, Any]) -> dict[str, str]:
    """Versions by name, and how many threads torch has where it is left alone."""
    return {**environment["versions"], "threads of torch": str(environment["threads"])}


def _value_and_range(found: dict[str, Any]) -> tuple[float, tuple[float, float]]:
    if "exponent" in found:
        value, low, high = (float(value) for value in (found["exponent"], *found["interval"]))
        if not all(map(math.isfinite, (value, low, high))):
            raise ValueError("an exponent that is not finite")
        return value, (low, high)
    values = [float(value) for value in (found["median"], *found["values"])]
    if not values[0] or not all(map(math.isfinite, values)):
        raise ValueError("nothing that could be compared")
    return values[0], (min(values[1:]), max(values[1:]))
