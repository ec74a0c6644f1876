"""What is reported about a strategy: its metrics, as means over seeds with intervals, and why any is missing."""

import re
from collections.abc import Iterable

import numpy as np

from lorisbench.metrics import table
from lorisbench.metrics.intervals import Interval, mean_interval
from lorisbench.report.frame import Stored

DASH = "—"
MINUS = "−"

Summary = dict[str, dict[str, Interval]]
COLUMNS = tuple(table.in_tables())

_METRIC = re.compile(r";\s*(?=[a-z0-9_]+:\s)")


def summarise(stored: Stored) -> Summary:
    """Mean and 95 % interval over the finished runs: label → column → Interval, in the unit shown."""
    summary: Summary = {}
    for label in stored.labels:
        done = stored.done(label)
        summary[label] = {
            column.name: mean_interval(done[column.name].to_numpy(dtype=float) * column.scale) for column in COLUMNS
        }
    return summary


def replay(summary: Summary, label: str) -> int:
    """Images of earlier experiences that a strategy keeps (mean over seeds, rounded up); 0 if unknown."""
    kept = summary[label]["replay_samples"].mean
    return 0 if np.isnan(kept) else int(np.ceil(kept))


def by_seed(stored: Stored, label: str, column: str) -> dict[int, float]:
    """A column of the finished runs by seed (as stored); the mean if a seed was run more than once."""
    done = stored.done(label).dropna(subset=["seed", column])
    return {int(seed): float(mean) for seed, mean in done.groupby("seed")[column].mean().items()}  # type: ignore[call-overload]


def parse_undefined(text: str) -> dict[str, str]:
    """The `undefined` column, "metric: reason; metric: reason", as a mapping; a reason may hold ";"."""
    pairs = (part.partition(":") for part in _METRIC.split(text) if part.strip())
    return {metric.strip(): reason.strip() for metric, _, reason in pairs}


def why_empty(stored: Stored, label: str, column: str) -> str:
    """Why a strategy has no value in a column."""
    mine = stored.runs[stored.runs["strategy"] == label]
    done = stored.done(label)
    if done.empty:
        return f"no finished run ({count_states(mine['status'])})" if len(mine) else "no run"
    # One measurement yields several figures, and its absence is explained only once in the stored files.
    key = next((metric.reason_of for metric in COLUMNS if metric.name == column), "") or column
    reasons = {parse_undefined(text).get(key, "") for text in done["undefined"]} - {""}
    return "; ".join(sorted(reasons)) or "not measured"


def count_states(states: Iterable[str]) -> str:
    """States of runs in words: "2 failed, 1 pending"."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def number(value: float, decimals: int) -> str:
    """A number with a true minus sign and separated thousands; no negative zero."""
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS).replace(",", "\N{NARROW NO-BREAK SPACE}")
