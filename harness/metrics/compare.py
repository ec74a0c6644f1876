"""`lorisbench compare A B`: differences between two outputs, paired by strategy and seed, and a test of them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json
from lorisbench.common.registry import select
from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.results import read_results
from lorisbench.metrics.table import compared

METRICS = tuple(metric.name for metric in compared())
RUN = ("strategy", "seed", "status", "benchmark")
OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Condition:
    """One part of a `--fail-on` expression: `metric symbol number`."""

    metric: str
    symbol: str
    number: float

    def holds(self, difference: float) -> bool:
        return bool(OPERATORS[self.symbol](difference, self.number))


def compare_outputs(before: Path, after: Path) -> pd.DataFrame:
    """Mean of B - A over the seeds finished in both, for each strategy and metric.

    Columns: strategy, metric, a, b (means over the shared seeds, in the units of results.csv), difference, low, high
    (95 % Student-t interval of the paired differences; NaN for one seed), seeds. Raises InputError if an output is
    missing or they share no finished run.
    """
    a_runs, b_runs = _finished(before), _finished(after)
    names = set(a_runs.benchmark) | set(b_runs.benchmark)
    hashes = {str((read_json(out / "data.json") or {}).get("content_hash")) for out in (before, after)}
    if len(names) > 1 or len(hashes) > 1:
        raise InputError(f"{before} and {after} come from different images or benchmarks ({', '.join(sorted(names))})")
    merged = _merged(before, after)
    rows = []
    for strategy, group in merged.groupby("strategy", sort=False):
        for metric in METRICS:
            a, b = group[f"{metric}_a"].to_numpy(float), group[f"{metric}_b"].to_numpy(float)
            both = ~(np.isnan(a) | np.isnan(b))
            if not both.any():
                continue
            interval = mean_interval(b[both] - a[both])
            means = a[both].mean(), b[both].mean()
            rows.append((strategy, metric, *means, interval.mean, interval.low, interval.high, interval.n))
    return pd.DataFrame(rows, columns=["strategy", "metric", "a", "b", "difference", "low", "high", "seeds"])


def missing(before: Path, after: Path) -> list[str]:
    """Runs finished in A but not in B, where B tried them or lacks their strategy altogether."""
    a, b = _finished(before), _table(after)
    done = set(zip(*(b[b.status == "done"][key] for key in ("strategy", "seed")), strict=True))
    tried, strategies = set(zip(b.strategy, b.seed, strict=True)), set(b.strategy)
    return [
        f"{strategy} seed {seed}: finished in {before}, not in {after}"
        for strategy, seed in zip(a.strategy, a.seed, strict=True)
        if (strategy, seed) not in done and ((strategy, seed) in tried or strategy not in strategies)
    ]


def conditions(expression: str) -> list[Condition]:
    """The parts of an expression `metric < number` (or <=, >, >=; commas join several).

    Raises InputError if there is none, or one cannot be read, names no metric or could never be true.
    """
    found = []
    for part in expression.split(","):
        match = re.fullmatch(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:e[-+]?\d+)?)\s*", part)
        if match is None:
            raise InputError(f"--fail-on {part.strip()!r}: expected METRIC < NUMBER, e.g. accuracy_last < -0.02")
        metric, symbol, number = match.groups()
        try:
            value = float(number)
        except ValueError:
            raise InputError(f"--fail-on {part.strip()!r}: {number} is not a number") from None
        if not math.isfinite(value):
            raise InputError(f"--fail-on {part.strip()!r}: {number} is too large a number to be compared with")
        select("metric", [metric], METRICS)
        found.append(Condition(metric, symbol, value))
    return found


def untested(before: Path, after: Path, wanted: Sequence[Condition]) -> tuple[list[str], list[str]]:
    """Why the conditions cannot be tested, and, less grave, for which strategies there is nothing to test.

    A metric must have been measured in a pair of runs for some strategy, and for each strategy that has it in one of
    the outputs: a gate that looks at no number would pass whatever happened.
    """
    merged = _merged(before, after)
    faults, notes = [], []
    for metric in dict.fromkeys(condition.metric for condition in wanted):
        a, b = merged[f"{metric}_a"].notna(), merged[f"{metric}_b"].notna()
        if not (a & b).any():
            nowhere = " and ".join(str(out) for out, there in ((before, a), (after, b)) if not there.any())
            where = f"has no value in {nowhere}" if nowhere else "has no value in the same run of both"
            faults.append(f"{metric} {where}: there is nothing to test")
            continue
        for strategy, group in merged.groupby("strategy", sort=False):
            in_a, in_b = a[group.index], b[group.index]
            if (in_a & in_b).any():
                continue
            if in_a.any() or in_b.any():
                faults.append(f"{metric} of {strategy} was measured in {before if in_a.any() else after} only")
            else:
                notes.append(f"{strategy} has no {metric} in either output: not tested")
    return faults, notes


def violations(frame: pd.DataFrame, wanted: Sequence[Condition]) -> list[str]:
    """A line for each strategy and condition that its mean difference (of `compare_outputs`) fulfils."""
    found = []
    for condition in wanted:
        chosen = frame[frame.metric == condition.metric]
        for strategy, difference in zip(chosen.strategy, chosen.difference.astype(float), strict=True):
            if condition.holds(difference):
                told = f"{condition.metric} B - A = {difference:+.4f} {condition.symbol} {condition.number:g}"
                found.append(f"{strategy}: {told}")
    return found


def _merged(before: Path, after: Path) -> pd.DataFrame:
    """The runs finished in both outputs, side by side. Raises InputError if there is none."""
    merged = _finished(before).merge(_finished(after), on=["strategy", "seed"], suffixes=("_a", "_b"))
    if merged.empty:
        raise InputError(f"{before} and {after} have no finished run in common (same strategy label and seed)")
    return merged


def _finished(out: Path) -> pd.DataFrame:
    frame = _table(out)
    return frame[frame.status == "done"]


def _table(out: Path) -> pd.DataFrame:
    frame, _ = read_results(out)
    if not set(RUN) <= set(frame.columns) or not set(METRICS) & set(frame.columns):
        raise InputError(f"{out / 'results.csv'}: not a table written by lorisbench")
    return frame.reindex(columns=[*METRICS, *RUN])  # a table of an older version has fewer metrics
