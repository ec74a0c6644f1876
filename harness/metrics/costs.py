"""What a run cost in time and memory: functions of its journal and its latency.json.

Each returns None if the file that it reads is missing, and raises `UndefinedMetricError` if the file exists but does
not determine the metric. NumPy is imported where it is needed, as in `matrix`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lorisbench.metrics.matrix import Matrix, UndefinedMetricError

if TYPE_CHECKING:
    from lorisbench.metrics.predictions import Stored


@dataclass(frozen=True)
class RunRecord:
    """What is stored of a run.

    Attributes
    ----------
    entries : the journal, one mapping per experience; empty before the first has ended.
    latency : latency.json; empty if it was not measured.
    backbone : the suite's backbone settings.
    tables : those that a plugin of its strategy kept, by name: the columns in `table.TABLES`, a tuple for each row.
    matrix : the accuracy matrix (T, T), NaN where not measured; None if there are no predictions.
    answers : the predictions themselves; None if there are none. evaluation : the suite's settings of it.
    """

    entries: Sequence[Mapping[str, Any]]
    latency: Mapping[str, Any]
    backbone: Mapping[str, Any]
    tables: Mapping[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)
    matrix: Matrix | None = None
    answers: Stored | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def train_seconds(run: RunRecord) -> float | None:
    """Seconds of training, all experiences together."""
    return round(sum(entry["train_seconds"] for entry in run.entries), 4) if run.entries else None


NOT_RECORDED = "the version that trained the run did not record it"


def summed(key: str, absent: str = "") -> Callable[[RunRecord], float | None]:
    """The function that adds up a key of all journal entries. `absent` says why one may lack it, unless another metric
    does so already."""

    def total(run: RunRecord) -> float | None:
        if not run.entries or (not absent and any(entry.get(key) is None for entry in run.entries)):
            return None
        return sum(_of_all(run, key, absent))

    return total


def peak_memory_mb(run: RunRecord) -> float | None:
    """10^6 bytes: the largest of all experiences."""
    if not run.entries:
        return None
    if any("peak_memory_mb" in entry and entry["peak_memory_mb"] is None for entry in run.entries):
        raise UndefinedMetricError("the system does not tell the peak of an experience")
    return round(max(_of_all(run, "peak_memory_mb", NOT_RECORDED)), 3)


def budget_used(run: RunRecord) -> float | None:
    """The share of the budgets of all experiences that was used."""
    if not run.entries:
        return None
    used = _of_all(run, "budget_used", "no budget was set (training.budget)")
    return round(sum(used) / len(used), 6)


def _of_all(run: RunRecord, key: str, absent: str) -> list[Any]:
    values = [entry.get(key) for entry in run.entries]
    if any(value is None for value in values):
        raise UndefinedMetricError(absent)
    return values


def in_the_end(key: str) -> Callable[[RunRecord], float | None]:
    """The function that reads a key of the journal's last entry."""

    def read(run: RunRecord) -> float | None:
        return run.entries[-1].get(key) if run.entries else None

    return read


def latency_p50_ms(run: RunRecord) -> float | None:
    """Median milliseconds of a prediction call. Its reason, if undefined, covers all that latency.json lacks."""
    if run.latency.get("error"):
        raise UndefinedMetricError(run.latency["error"])
    return _percentile(run, 50)


def latency_p95_ms(run: RunRecord) -> float | None:
    """95th percentile of a prediction call's milliseconds."""
    return _percentile(run, 95)


def latency_p99_ms(run: RunRecord) -> float | None:
    """99th percentile of a prediction call's milliseconds."""
    return _percentile(run, 99)


def latency_ratio(run: RunRecord) -> float | None:
    """Median time of a prediction call over that of the bare backbone with one head."""
    return ratio_of(run.latency)


def ratio_of(calls: Mapping[str, Any]) -> float | None:
    """Median of `ms` over median of `bare_ms`, as latency.json has them for one size of batches; None without them."""
    import numpy as np

    if not (calls.get("ms") and calls.get("bare_ms")) or not any(calls["bare_ms"]):
        return None
    return float(np.median(calls["ms"]) / np.median(calls["bare_ms"]))


def ratio_quartiles(calls: Mapping[str, Any]) -> tuple[float, float] | None:
    """Quartiles of the ratios of the pairs of calls, which came one after the other; None without pairs."""
    import numpy as np

    ms, bare = calls.get("ms") or [], calls.get("bare_ms") or []
    if not ms or len(ms) != len(bare) or not all(bare):
        return None
    low, high = np.percentile(np.array(ms) / np.array(bare), (25, 75))
    return float(low), float(high)


def in_batches(latency: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The calls with the largest batches, of more than one sample, as latency.json has them; None if there are none."""
    sizes = {each["batch"]: each for each in (latency, *latency.get("batches", [])) if each.get("batch", 0) > 1}
    return sizes[max(sizes)] if sizes else None


def per_second(calls: Mapping[str, Any]) -> float | None:
    """Samples a second: the size of the batches over the median time of a call; None without times."""
    import numpy as np

    middle = float(np.median(calls["ms"])) if calls.get("ms") else 0.0
    return 1000 * calls["batch"] / middle if middle else None


def throughput(run: RunRecord) -> float | None:
    """Images a second in the largest batches that were timed."""
    if not run.latency.get("ms"):
        return None
    calls = in_batches(run.latency)
    if calls is None:
        raise UndefinedMetricError("no batch of more than one image was timed (latency.batch)")
    return per_second(calls)


def parameters(run: RunRecord) -> float | None:
    """Numbers in the model's parameters. Its reason, if undefined, covers what else is counted of a prediction."""
    if run.latency.get("ms") and run.latency.get("parameters") is None:
        raise UndefinedMetricError("the version that measured the latency did not count what a prediction takes")
    return run.latency.get("parameters")


def of_prediction(key: str) -> Callable[[RunRecord], float | None]:
    """The function that reads a key of latency.json."""

    def read(run: RunRecord) -> float | None:
        return run.latency.get(key)

    return read


def percentile(calls: Mapping[str, Any], percent: int) -> float:
    """Of `ms`, the milliseconds of each call, as latency.json has them for one size of batches."""
    import numpy as np

    return float(np.percentile(calls["ms"], percent))


def _percentile(run: RunRecord, percent: int) -> float | None:
    return percentile(run.latency, percent) if run.latency.get("ms") else None


def on_features(backbone: Mapping[str, Any]) -> bool:
    """Whether experiences after the first are trained on features extracted once (by the suite's `backbone:`)."""
    return backbone.get("train") in ("never", "first") and backbone.get("cache") is True


def adapt_ratio(run: RunRecord) -> float | None:
    """(sum of training seconds + forward seconds) / forward seconds, over the experiences after the first.

    Training seconds are what an experience took once its features were there: all that the strategy does before
    (measuring what it knows already), during and after training (statistics, importances). Forward seconds are one
    pass of the bare backbone over the images of those experiences, as in feature extraction, without decoding.
    So 1 means an adaptation that costs nothing beyond the pass that every method needs.

    It reads experience, train_seconds and train_images (new images of that experience) from the journal, and
    `forward_ms_per_image`, which was measured on images of the set, from latency.json.

    Raises
    ------
    UndefinedMetricError : the run does not train on features, has no later experience, or forward passes were not
        measured.
    """
    if not run.entries:
        return None
    if not on_features(run.backbone):
        raise UndefinedMetricError("training is not on features that are extracted once")
    if run.latency.get("error"):
        raise UndefinedMetricError(run.latency["error"])
    if run.latency.get("features"):
        raise UndefinedMetricError("features were given: there are no images for a forward pass")
    if not run.latency.get("forward_ms_per_image"):
        raise UndefinedMetricError("forward passes over a batch were not measured")
    later = [entry for entry in run.entries if entry["experience"] > 0]
    images = sum(entry.get("train_images", 0) for entry in later)
    if not images:
        raise UndefinedMetricError("no experience after the first, or its images were not counted")
    forward = run.latency["forward_ms_per_image"] / 1000 * images
    return float(1 + sum(entry["train_seconds"] for entry in later) / forward)
