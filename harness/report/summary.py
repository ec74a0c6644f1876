"""What is reported about a strategy: its metrics, as means over seeds with intervals, and why any is missing."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lorisbench.metrics import table
from lorisbench.metrics.intervals import Interval, mean_interval
from lorisbench.metrics.paired import LEVEL, holm, paired_t_p
from lorisbench.report.stored import Stored

DASH = "—"
MINUS = "−"

Summary = dict[str, dict[str, Interval]]
COLUMNS = tuple(table.in_tables())

_METRIC = re.compile(r";\s*(?=[a-z0-9_]+:\s)")


def summarise(stored: Stored) -> Summary:
    """Mean and 95 % interval over the seeds that have finished: label → column → Interval, in the unit shown.

    With several orders, those of each seed's mean over the orders.
    """
    return {
        label: {column.name: mean_interval(stored.per_seed(label, column.name) * column.scale) for column in COLUMNS}
        for label in stored.labels
    }


def replay(summary: Summary, label: str) -> int:
    """Images of earlier experiences that a strategy keeps (mean over seeds, rounded up); 0 if unknown."""
    kept = summary[label]["replay_samples"].mean
    return 0 if np.isnan(kept) else int(np.ceil(kept))


def by_seed(stored: Stored, label: str, column: str) -> dict[tuple[int, int], float]:
    """A column of the finished runs by order and seed (as stored)."""
    done = stored.done(label)
    found = np.stack([done[key].to_numpy(dtype=float) for key in ("order", "seed", column)], axis=1)
    known = found[np.isfinite(found).all(axis=1)]
    return {(int(order), int(seed)): value for order, seed, value in known.tolist()}


def paired(
    first: Mapping[tuple[int, int], float], second: Mapping[tuple[int, int], float]
) -> tuple[dict[int, float], dict[int, float]]:
    """Values (of `by_seed`) of two strategies by seed: means over the orders in which both finished under the seed."""
    shared: dict[int, list[tuple[int, int]]] = {}
    for key in sorted(first.keys() & second.keys()):
        shared.setdefault(key[1], []).append(key)

    def means(values: Mapping[tuple[int, int], float]) -> dict[int, float]:
        return {seed: float(np.mean([values[key] for key in keys])) for seed, keys in shared.items()}

    return means(first), means(second)


def near_by_seeds(stored: Stored, column: str, label: str) -> frozenset[str]:
    """The strategies that a column cannot tell from one, by paired t tests over seeds with Holm's correction."""
    own = by_seed(stored, label, column)
    others = [other for other in stored.labels if other != label and not stored.done(other).empty]
    p = []
    for other in others:
        first, second = paired(own, by_seed(stored, other, column))
        p.append(paired_t_p([first[seed] - second[seed] for seed in first]))
    return frozenset(other for other, each in zip(others, holm(p), strict=True) if not each < LEVEL)


@dataclass(frozen=True)
class OverOrders:
    """Accuracy on the last row, in per cent, by the order of the experiences.

    intervals : of each order, over its seeds. over_orders : standard deviation of their means, NaN for fewer than two.
    worst, best : the lowest of them, in order `worst_order`, and the highest, in `best_order`. over_seeds : standard
    deviation over seeds within an order, pooled; NaN if no order has two.
    """

    intervals: dict[int, Interval]
    mean: float
    over_orders: float
    worst: float
    worst_order: int | None
    best: float
    best_order: int | None
    over_seeds: float


def over_orders(stored: Stored, label: str) -> OverOrders:
    """How much a strategy's accuracy on the last row depends on the order, and how much on the seed."""
    done = stored.done(label)
    values = {
        order: 100 * done[done["order"] == order]["accuracy_last"].dropna().to_numpy(dtype=float)
        for order in stored.orders
    }
    means = {order: float(each.mean()) for order, each in values.items() if len(each)}
    variances = [float(each.var(ddof=1)) for each in values.values() if len(each) > 1]
    # Means of the same values in another sequence differ in their last digit: of those the first order is named
    worst = min(means, key=lambda order: round(means[order], 9)) if means else None
    best = max(means, key=lambda order: round(means[order], 9)) if means else None
    return OverOrders(
        {order: mean_interval(each) for order, each in values.items()},
        float(np.mean(list(means.values()))) if means else np.nan,
        float(np.std(list(means.values()), ddof=1)) if len(means) > 1 else np.nan,
        np.nan if worst is None else means[worst],
        worst,
        np.nan if best is None else means[best],
        best,
        float(np.sqrt(np.mean(variances))) if variances else np.nan,
    )


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
    reasons = {table.reason_for(column, parse_undefined(text)) for text in done["undefined"]} - {""}
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


def signed(value: float, decimals: int = 2) -> str:
    """A difference with its sign."""
    text = number(value, decimals)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"
