"""A published number beside ours: what was measured, on which data, and its status by a single rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorisbench.metrics.records import features_in
from lorisbench.metrics.table import compute
from lorisbench.report.facts import split
from lorisbench.report.stored import Matrix, Stored
from lorisbench.reproduce.published import Number, Part

REPRODUCED = "reproduced"
DIFFERS = "differs"
ELSEWHERE = "not run on OpenLORIS"
OTHER = "other data"
UNKNOWN = "published value unknown"
INCOMPARABLE = "not comparable"
ABSENT = "not implemented"
MISSING = "not measured"
MARKS = {
    REPRODUCED: "r", DIFFERS: "d", ELSEWHERE: "s", OTHER: "o", UNKNOWN: "u", INCOMPARABLE: "c", ABSENT: "n",
    MISSING: "m",
}  # fmt: skip
"""Each status and the letter that stands for it in a table."""

RULE = (
    "Reproduced where |measured − published| ≤ tolerance, else differs. Tolerance: uncertainty of the published number "
    "+ 2 × its standard deviation where one is printed + 2 × standard error of our mean (standard deviation over seeds "
    "by the root of their number; 0 with one seed, which has none)."
)
ROUNDING = 1e-9  # error of binary fractions: 95.76 − 95.75 is a little more than 0.01


@dataclass(frozen=True)
class Measured:
    """Mean and sample standard deviation over seeds, in per cent; NaN where there are too few values."""

    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class Ground:
    """The data that numbers were measured on, and (`faults`) why that is not what the paper used.

    `wanted` names the paper's data if they differ from these and are not OpenLORIS-Object.
    """

    data: str
    synthetic: bool
    faults: list[str]
    wanted: str = ""

    @property
    def head(self) -> str:
        """What a table's caption must say about it; empty on the paper's own stream."""
        if self.wanted:
            kind = "synthetic, " if self.synthetic else ""
            return (
                f"Other data ({kind}{self.data}), not {self.wanted}: no value can be compared, only the order of the "
                "methods"
            )
        if self.synthetic:
            return (
                f"Synthetic data ({self.data}), not OpenLORIS: no value can be compared, only the order of the methods"
            )
        return f"Not comparable: {'; '.join(self.faults)}" if self.faults else ""


@dataclass(frozen=True)
class Claim:
    """One published number (None: nobody published it) and the corresponding measurement."""

    published: Number | None
    measured: Measured
    status: str

    @property
    def compared(self) -> bool:
        """Whether the status comes from the two numbers; otherwise their difference would mean nothing."""
        return self.status in (REPRODUCED, DIFFERS)

    @property
    def difference(self) -> float:
        """Measured − published, in points; NaN if they are not compared."""
        return self.measured.mean - self.published.value if self.published and self.compared else math.nan

    @property
    def tolerance(self) -> float:
        """In points; NaN if nothing is compared."""
        return tolerance(self.published, self.measured) if self.published and self.compared else math.nan

    def values(self) -> dict[str, Any]:
        """The columns of a CSV file."""
        number = self.published
        return {
            "published": number.value if number else None,
            "published_std": number.std if number else None,
            "uncertainty": number.uncertainty if number else None,
            "measured": self.measured.mean,
            "measured_std": self.measured.std,
            "seeds": self.measured.n,
            "difference": self.difference,
            "tolerance": self.tolerance,
            "status": self.status,
        }


def over_seeds(values: Iterable[float]) -> Measured:
    """Mean and standard deviation (n − 1) of fractions, one value per seed; non-finite ones count as missing."""
    numbers = 100 * np.asarray(list(values), dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    mean = float(numbers.mean()) if len(numbers) else math.nan
    return Measured(mean, float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan, len(numbers))


def tolerance(published: Number, measured: Measured) -> float:
    """How far ours may be off, in points: see `RULE`."""
    error = measured.std / math.sqrt(measured.n) if measured.n > 1 else 0.0
    return published.uncertainty + 2 * (published.std or 0.0) + 2 * error


def claim(published: Number | None, measured: Measured, ground: Ground, implemented: bool = True) -> Claim:
    """The claim with its status. Whatever rules out a comparison is checked before any number is looked at."""
    return Claim(published, measured, _status(published, measured, ground, implemented))


def _status(published: Number | None, measured: Measured, ground: Ground, implemented: bool) -> str:
    if not implemented:
        return ABSENT
    if published is None:
        return UNKNOWN
    if ground.wanted:
        return OTHER
    if ground.synthetic:
        return ELSEWHERE
    if ground.faults:
        return INCOMPARABLE
    if not measured.n:
        return MISSING
    near = abs(measured.mean - published.value) <= tolerance(published, measured) + ROUNDING
    return REPRODUCED if near else DIFFERS


def ground_of(stored: Stored, part: Part) -> Ground:
    """What the runs in a folder were made on, compared with the paper's stream.

    Only what the files say counts: data not marked as real are taken to be synthetic.
    """
    name = str(stored.data.get("name") or "unnamed data")
    synthetic = stored.data.get("synthetic") is not False
    if part.data and (synthetic or name != part.data):
        return Ground(name, synthetic, [], part.data)
    if synthetic:
        return Ground(name, True, [])
    return Ground(name, False, list(_faults(stored, part)))


def _faults(stored: Stored, part: Part) -> Iterable[str]:
    settings, names = stored.suite.get("benchmark"), stored.data.get("classes")
    benchmark: dict[str, Any] = settings if isinstance(settings, dict) else {}
    classes, tasks = len(names) if isinstance(names, list) else 0, len(stored.names)
    protocol, factor = benchmark.get("protocol"), benchmark.get("factor")
    if part.features is not None:
        yield from _other_features(stored, part)
    else:
        if benchmark.get("name") != part.benchmark:
            yield f"the benchmark is {benchmark.get('name')}, not {part.benchmark}"
        if (protocol or "", factor) != (part.protocol, part.factor):
            yield f"protocol {factor or protocol}, not {part.factor or part.protocol}"
    if tasks != part.experiences:
        kind = "batches" if part.protocol == "challenge" else "tasks"
        which = f"{part.protocol} protocol with {tasks} tasks" if part.protocol else f"{tasks} tasks"
        yield f"{which}, not the {part.experiences} {kind} of the paper"
    if classes != part.classes:
        yield f"{classes} objects, not {part.classes}"
    for key, wanted in part.settings.items():
        of, _, name = key.partition(".")
        if of == "benchmark" and name != "name" and _undrawn(benchmark.get(name)) != _undrawn(wanted):
            yield f"{key}: {benchmark.get(name)}, not {wanted}"
    if benchmark.get("order") is not None:
        yield "another order of the tasks"
    if benchmark.get("fraction", 1.0) != 1.0:
        yield f"only {benchmark['fraction']} of the images"
    if benchmark.get("val_as_replay"):
        yield "validation images of earlier tasks were trained on"
    if split(stored) not in ("", "test"):
        yield "measured on validation images"


def _undrawn(value: Any) -> Any:
    """A setting without the seed by which it draws: another draw is as good."""
    return {key: each for key, each in value.items() if key != "seed"} if isinstance(value, Mapping) else value


def _other_features(stored: Stored, part: Part) -> Iterable[str]:
    """Why the features of a stream are not those of the authors."""
    width = features_in(stored.data)
    if not width:
        yield "features made here of images, not those that the authors published"
    elif width != part.features:
        yield f"{width} features of each image, not {part.features}"


def by_seed(stored: Stored, label: str | None, metric: str) -> dict[int, float]:
    """A metric (a fraction) of a strategy's finished runs by seed, from their matrices; NaN where undefined."""
    if label is None:
        return {}
    done = stored.done(label)
    runs = zip(done["seed"].tolist(), done["run_id"].tolist(), strict=True)
    return {int(seed): measure(stored.matrices[run], metric) for seed, run in runs if run in stored.matrices}


def measure(matrix: Matrix, metric: str) -> float:
    """One of `published.MEASURES` for an accuracy matrix; NaN if the matrix does not determine it."""
    return compute(matrix, names=[metric])[0][metric]


def changes(suite: Mapping[str, Any], run: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Settings under `keys` in which a stream's runs differ from the shipped suite, as `a.b: 1 (suite: 130)`.

    A strategy's training is what is its own: what it has of the stream's is told once, as that.
    """
    before, now = _leaves({k: suite.get(k) for k in keys}), _leaves({k: run.get(k) for k in keys})
    labels = run.get("strategies")
    for label in labels if isinstance(labels, Mapping) else ():
        own = f"strategies.{label}.training."
        shared = {own + key: value for key, value in _leaves(suite.get("training") or {}).items()}
        before |= {key: value for key, value in shared.items() if key in now and key not in before}
    found = [key for key in now if key in before and now[key] != before[key]]
    return [f"{key}: {now[key]} (suite: {before[key]})" for key in found]


def _leaves(value: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {place: value}
    return {k: leaf for key, inner in value.items() for k, leaf in _leaves(inner, f"{place}.{key}".lstrip(".")).items()}
