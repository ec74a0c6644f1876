"""`lorisbench compare A B`: differences between two outputs, paired run by run, and a test of them.

A run is a stream, an order of its experiences, a strategy and a seed. Nothing is averaged over streams.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json
from lorisbench.common.registry import select
from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.records import images_by_stream
from lorisbench.metrics.results import RUN, read_results
from lorisbench.metrics.table import compared

METRICS = tuple(metric.name for metric in compared())
COLUMNS = (*RUN, "status", "benchmark")
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
    """Mean of B - A over the seeds finished in both, for each strategy and metric of each stream.

    Columns: stream (only if there are several), strategy, metric, a, b (means over the shared seeds, in the units of
    results.csv), difference, low, high (95 % Student-t interval of the paired differences; NaN for one seed), seeds.
    Where a seed was run in several orders, its values are means over the orders finished in both. Raises InputError if
    an output is missing, they share no finished run, or a stream of both has other images in one of them.
    """
    _check_images(before, after)
    rows = []
    for (stream, strategy), group in _merged(before, after).groupby(["stream", "strategy"], sort=False):
        for metric in METRICS:
            both = group[["seed", f"{metric}_a", f"{metric}_b"]].astype(float).dropna()
            if both.empty:
                continue
            seeds = both.groupby("seed", sort=False).mean()
            a, b = seeds[f"{metric}_a"].to_numpy(), seeds[f"{metric}_b"].to_numpy()
            interval = mean_interval(b - a)
            means = a.mean(), b.mean()
            rows.append((stream, strategy, metric, *means, interval.mean, interval.low, interval.high, interval.n))
    columns = ["stream", "strategy", "metric", "a", "b", "difference", "low", "high", "seeds"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame if _several(before, after) else frame.drop(columns="stream")


def _check_images(before: Path, after: Path) -> None:
    """Raise InputError if the outputs share no stream, or one that has other images or another benchmark in one."""
    outputs = (before, after)
    tables = [_finished(out) for out in outputs]
    images = [
        images_by_stream(read_json(out / "data.json") or {}, set(runs.stream))
        for out, runs in zip(outputs, tables, strict=True)
    ]
    shared = [stream for stream in dict.fromkeys(tables[0].stream) if stream in set(tables[1].stream)]
    for stream in shared or [None]:
        parts = [runs if stream is None else runs[runs.stream == stream] for runs in tables]
        names = {*parts[0].benchmark, *parts[1].benchmark}
        hashes = {str(each.get(str(stream), {}).get("content_hash")) for each in images}
        if len(names) > 1 or len(hashes) > 1:
            where = f" in stream {stream!r}" if stream and len(shared) > 1 else ""
            told = ", ".join(sorted(names))
            raise InputError(f"{before} and {after} come from different images or benchmarks ({told}){where}")


def _several(before: Path, after: Path) -> bool:
    return len({*_table(before).stream, *_table(after).stream}) > 1


def _which(stream: object, strategy: object, several: bool) -> str:
    """A strategy's name for a line, with its stream's if there are several."""
    return f"{stream}: {strategy}" if several else str(strategy)


def missing(before: Path, after: Path) -> list[str]:
    """Runs finished in A but not in B, where B tried them or lacks their strategy on their stream altogether."""
    a, b = _finished(before), _table(after)
    several = _several(before, after)
    done, tried = _runs(b[b.status == "done"]), _runs(b)
    strategies = set(zip(b.stream, b.strategy, strict=True))
    return [
        f"{_which(stream, strategy, several)}{f' order {order:g}' if order else ''} seed {seed}: "
        f"finished in {before}, not in {after}"
        for stream, order, strategy, seed in a[list(RUN)].itertuples(index=False, name=None)
        if (stream, order, strategy, seed) not in done
        and ((stream, order, strategy, seed) in tried or (stream, strategy) not in strategies)
    ]


def _runs(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    return set(table[list(RUN)].itertuples(index=False, name=None))


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
    merged, several = _merged(before, after), _several(before, after)
    faults, notes = [], []
    for metric in dict.fromkeys(condition.metric for condition in wanted):
        a, b = merged[f"{metric}_a"].notna(), merged[f"{metric}_b"].notna()
        if not (a & b).any():
            nowhere = " and ".join(str(out) for out, there in ((before, a), (after, b)) if not there.any())
            where = f"has no value in {nowhere}" if nowhere else "has no value in the same run of both"
            faults.append(f"{metric} {where}: there is nothing to test")
            continue
        for (stream, label), group in merged.groupby(["stream", "strategy"], sort=False):
            strategy = _which(stream, label, several)
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
        several = "stream" in chosen
        streams = chosen.stream if several else chosen.strategy
        differences = chosen.difference.astype(float)
        for stream, strategy, difference in zip(streams, chosen.strategy, differences, strict=True):
            if condition.holds(difference):
                told = f"{condition.metric} B - A = {difference:+.4f} {condition.symbol} {condition.number:g}"
                found.append(f"{_which(stream, strategy, several)}: {told}")
    return found


def _merged(before: Path, after: Path) -> pd.DataFrame:
    """The runs finished in both outputs, side by side. Raises InputError if there is none."""
    merged = _finished(before).merge(_finished(after), on=list(RUN), suffixes=("_a", "_b"))
    if merged.empty:
        raise InputError(f"{before} and {after} have no finished run in common (same strategy, seed and order)")
    return merged


def _finished(out: Path) -> pd.DataFrame:
    frame = _table(out)
    return frame[frame.status == "done"]


def _table(out: Path) -> pd.DataFrame:
    frame, _ = read_results(out)
    if not set(COLUMNS) <= set(frame.columns) or not set(METRICS) & set(frame.columns):
        raise InputError(f"{out / 'results.csv'}: not a table written by lorisbench")
    return frame.reindex(columns=[*METRICS, *COLUMNS])  # a table of an older version has fewer metrics
