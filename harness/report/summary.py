"""What is reported of a strategy: columns, their definitions, and means over seeds."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lorisbench.metrics.intervals import Interval, mean_interval
from lorisbench.report.frame import Stored

DASH = "—"
MINUS = "−"

Group = Literal["Accuracy (%)", "Time", "Size"]
Summary = dict[str, dict[str, Interval]]


@dataclass(frozen=True)
class Column:
    """How a column of results.csv is shown; `scale` turns what is stored into that (100 for per cent)."""

    key: str
    header: str
    group: Group
    better: Literal["higher", "lower", ""]
    definition: str
    scale: float = 1.0


def _accuracy(key: str, header: str, definition: str, better: Literal["higher", "lower"] = "higher") -> Column:
    return Column(key, header, "Accuracy (%)", better, definition, 100.0)


COLUMNS = (
    _accuracy("accuracy_last", "Last row", "mean accuracy on all experiences after the last one: mean of R[T−1, j]."),
    _accuracy("accuracy_seen", "Seen", "mean of R[i, j] over i ≥ j, “Accuracy” of She et al. 2020."),
    _accuracy(
        "square",
        "Square",
        "mean of the whole matrix R, future experiences included: “square performance” of Ma et al. 2019, "
        "“over-all accuracy” of She et al. 2020.",
    ),
    _accuracy("bwt_mean", "BWT", "mean of R[i, j] over i > j (She et al. 2020); not the difference of GEM."),
    _accuracy("fwt_mean", "FWT", "mean of R[i, j] over i < j (She et al. 2020); not the difference of GEM."),
    _accuracy(
        "forgetting_max",
        "Forgetting",
        "mean over j < T−1 of (max of R[i, j] over j ≤ i < T−1) − R[T−1, j] (Chaudhry et al. 2018), in "
        "points; lower is better, and below 0 the last accuracy is the best.",
        "lower",
    ),
    _accuracy("plasticity", "Plasticity", "mean of the diagonal R[j, j]: accuracy just after training."),
    Column("latency_p50_ms", "Latency p50, ms", "Time", "lower", "median time of one prediction call."),
    Column("latency_ratio", "Latency ratio", "Time", "lower", "to the bare backbone with one head, same machine."),
    Column("train_seconds", "Training, s", "Time", "lower", "wall-clock time of training on all experiences."),
    Column(
        "adapt_ratio",
        "Adapt ratio",
        "Time",
        "lower",
        "features and training of a new experience over its features alone: (training time of the experiences after "
        "the first + one forward pass over their images) / that pass; images decoded beforehand.",
    ),
    Column("state_mb", "State, MB", "Size", "lower", "what the strategy keeps between experiences."),
    Column("model_mb", "Model, MB", "Size", "lower", "parameters and buffers of the final model."),
    Column("replay_samples", "Replay, images", "Size", "", "images of earlier experiences that are kept."),
    Column("heads", "Heads", "Size", "", "classification heads of the final model."),
)

_METRIC = re.compile(r";\s*(?=[a-z0-9_]+:\s)")


def summarise(stored: Stored) -> Summary:
    """Mean and 95 % interval over the finished runs: label → column → Interval, in the unit shown."""
    summary: Summary = {}
    for label in stored.labels:
        done = stored.done(label)
        summary[label] = {
            column.key: mean_interval(done[column.key].to_numpy(dtype=float) * column.scale) for column in COLUMNS
        }
    return summary


def replay(summary: Summary, label: str) -> int:
    """Images of earlier experiences that a strategy keeps (mean over seeds, rounded up); 0 if unknown."""
    kept = summary[label]["replay_samples"].mean
    return 0 if np.isnan(kept) else int(np.ceil(kept))


def of_type(stored: Stored, strategy: str) -> list[str]:
    """Labels whose settings name this strategy."""
    return [label for label, settings in stored.settings.items() if settings.get("strategy") == strategy]


def by_seed(stored: Stored, label: str, column: str) -> dict[int, float]:
    """A column of the finished runs by seed (as stored), the mean where a seed was run more than once."""
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
    # One measurement gives every latency figure; the store explains its absence once.
    key = "latency_p50_ms" if column.startswith("latency_") else column
    reasons = {parse_undefined(text).get(key, "") for text in done["undefined"]} - {""}
    return "; ".join(sorted(reasons)) or "not measured"


def count_states(states: Iterable[str]) -> str:
    """States of runs in words: "2 failed, 1 pending"."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def number(value: float, decimals: int) -> str:
    """A number with a true minus sign and thousands apart; no negative zero."""
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS).replace(",", "\N{NARROW NO-BREAK SPACE}")
