"""`lorisbench compare A B`: differences between two outputs, paired by strategy and seed, and a test of them."""

from __future__ import annotations

import operator
import re
from pathlib import Path

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.files import read_json
from lorisbench.common.registry import select
from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.table import compared

METRICS = tuple(metric.name for metric in compared())
RUN = ("strategy", "seed", "status", "benchmark")
OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


def compare_outputs(before: Path, after: Path) -> pd.DataFrame:
    """Mean of B - A over the seeds finished in both, for each strategy and metric.

    Columns: strategy, metric, a, b (means over the shared seeds, in the units of results.csv), difference, low, high
    (95 % Student-t interval of the paired differences; NaN for one seed), seeds. Raises InputError if an output is
    missing or they share no finished run.
    """
    a_runs, b_runs = _finished(before), _finished(after)
    names = set(a_runs.benchmark) | set(b_runs.benchmark)
    hashes = {(read_json(out / "data.json") or {}).get("content_hash") for out in (before, after)}
    if len(names) > 1 or len(hashes) > 1:
        raise InputError(f"{before} and {after} come from different images or benchmarks ({', '.join(sorted(names))})")
    merged = a_runs.merge(b_runs, on=["strategy", "seed"], suffixes=("_a", "_b"))
    if merged.empty:
        raise InputError(f"{before} and {after} have no finished run in common (same strategy label and seed)")
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


def violations(frame: pd.DataFrame, expression: str) -> list[str]:
    """Strategies whose mean difference fulfils the expression `metric < number` (or <=, >, >=; commas join several).

    Raises InputError if the expression cannot be read.
    """
    found = []
    for part in expression.split(","):
        match = re.fullmatch(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:e[-+]?\d+)?)\s*", part)
        if match is None:
            raise InputError(f"--fail-on {part.strip()!r}: expected METRIC < NUMBER, e.g. accuracy_last < -0.02")
        metric, symbol, number = match.groups()
        try:
            float(number)
        except ValueError:
            raise InputError(f"--fail-on {part.strip()!r}: {number} is not a number") from None
        select("metric", [metric], METRICS)
        chosen = frame[frame.metric == metric]
        for strategy, difference in zip(chosen.strategy, chosen.difference.astype(float), strict=True):
            if OPERATORS[symbol](difference, float(number)):
                found.append(f"{strategy}: {metric} B - A = {difference:+.4f} {symbol} {number}")
    return found


def _finished(out: Path) -> pd.DataFrame:
    frame = _table(out)
    return frame[frame.status == "done"]


def _table(out: Path) -> pd.DataFrame:
    if not (out / "results.csv").is_file():
        raise InputError(f"{out} holds no results.csv; run `lorisbench run SUITE --out {out}` first")
    try:
        frame = pd.read_csv(out / "results.csv", keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise InputError(f"{out / 'results.csv'}: not a table written by lorisbench") from error
    if not set(RUN) <= set(frame.columns) or not set(METRICS) & set(frame.columns):
        raise InputError(f"{out / 'results.csv'}: not a table written by lorisbench")
    return frame.reindex(columns=[*METRICS, *RUN])  # a table of an older version has fewer metrics
