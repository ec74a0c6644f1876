"""The one table of metrics, from which results.csv, reports, comparisons and printed lists take theirs.

To add a metric, add an entry to `METRICS`: it becomes a column of results.csv and of the report's full table, a line
of `lorisbench compare`, a name for `--fail-on` and for published results, and a line of `lorisbench ls metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lorisbench.metrics import costs, matrix, routing, single_images, within
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import UndefinedMetricError
from lorisbench.metrics.metric import Metric, accuracy, at_the_end, of_answers, of_compute, of_prediction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TABLES = {**routing.TABLES, **within.TABLES}
"""The tables of a run that metrics are computed from, by name, and the columns of them that count."""

METRICS = (
    accuracy(
        "square", "Square", matrix.square,
        "mean of the whole matrix R, future experiences included: “square performance” of Ma et al. 2019, "
        "“over-all accuracy” of She et al. 2020.",
    ),
    accuracy(
        "accuracy_last", "Last row", matrix.accuracy_last,
        "mean accuracy on all experiences after the last one: mean of R[T−1, j].", leads=True,
    ),
    accuracy(
        "accuracy_seen", "Seen", matrix.accuracy_seen,
        "mean of R[i, j] over i ≥ j, “Accuracy” of She et al. 2020.", spelt_out="Mean i ≥ j", leads=True,
    ),
    accuracy(
        "bwt_mean", "BWT", matrix.bwt_mean,
        "mean of R[i, j] over i > j (She et al. 2020); not the difference of GEM.", spelt_out="Mean i > j (BWT)",
    ),
    accuracy(
        "fwt_mean", "FWT", matrix.fwt_mean,
        "mean of R[i, j] over i < j (She et al. 2020); not the difference of GEM.", spelt_out="Mean i < j (FWT)",
    ),
    accuracy(
        "forgetting_max", "Forgetting", matrix.forgetting_max,
        "mean over j < T−1 of (max of R[i, j] over j ≤ i < T−1) − R[T−1, j] (Chaudhry et al. 2018), in points; lower "
        "is better, and below 0 the last accuracy is the best.",
        unit="points", better="lower", spelt_out="Forgetting (max − last)",
    ),
    accuracy(
        "forgetting_first", "Forgetting, first value", matrix.forgetting_first,
        "mean over j < T−1 of R[j, j] − R[T−1, j], as Avalanche prints it.",
        unit="points", better="lower", spelt_out="Forgetting (own − last)", in_tables=False,
    ),
    accuracy(
        "plasticity", "Plasticity", matrix.plasticity,
        "mean of the diagonal R[j, j]: accuracy just after training.", spelt_out="Diagonal",
    ),
    accuracy(
        "worst_seen", "Worst cell", matrix.worst_seen,
        "the lowest R[i, j] with i ≥ j.", in_results=False, in_tables=False,
    ),
    Metric(
        name="routing_accuracy", header="Own head", unit="%", better="higher", group="Accuracy (%)",
        formula="how often the own domain's head answers (routing accuracy): mean over j of the share of experience "
        "j's test images that the head trained in experience j answers after the last one.",
        source="decisions.csv and answers.csv", of_run=routing.routing_accuracy, decimals=2,
    ),
    Metric(
        name="train_seconds", header="Training", unit="s", better="lower", group="Time",
        formula="wall-clock time of training on all experiences.", source="journal.jsonl", of_run=costs.train_seconds,
    ),
    Metric(
        name="latency_p50_ms", header="Latency p50", unit="ms", better="lower", group="Time",
        formula="median time of one prediction call.", source="latency.json", of_run=costs.latency_p50_ms, leads=True,
    ),
    of_prediction(
        "latency_p95_ms", "Latency p95", "ms", "95th percentile of the time of one prediction call.",
        costs.latency_p95_ms, reason_of="latency_p50_ms",
    ),
    of_prediction(
        "latency_p99_ms", "Latency p99", "ms", "99th percentile of the time of one prediction call.",
        costs.latency_p99_ms, reason_of="latency_p50_ms",
    ),
    Metric(
        name="latency_ratio", header="Latency ratio", unit="", better="lower", group="Time",
        formula="to the bare backbone with one head, same machine.", source="latency.json",
        of_run=costs.latency_ratio, reason_of="latency_p50_ms", leads=True,
    ),
    of_prediction(
        "throughput", "Throughput", "images/s",
        "images a second in the largest batches of `latency.batch` (32): their size over the median time of a call.",
        costs.throughput, better="higher", reason_of="latency_p50_ms",
    ),
    Metric(
        name="adapt_ratio", header="Adapt ratio", unit="", better="lower", group="Time",
        formula="features and training of a new experience over its features alone: (training time of the experiences "
        "after the first + one forward pass over their images) / that pass; images decoded beforehand.",
        source="journal.jsonl and latency.json", of_run=costs.adapt_ratio,
    ),
    at_the_end("model_mb", "Model", "MB", "lower", "parameters and buffers of the final model."),
    at_the_end("state_mb", "State", "MB", "lower", "what the strategy keeps between experiences.", leads=True),
    of_prediction(
        "parameters", "Parameters", "million",
        "numbers in the parameters of the final model with its backbone; buffers, such as running statistics and what "
        "chooses a head, are not among them.",
        costs.parameters, group="Size", reason_of="latency_p50_ms",
    ),
    of_prediction(
        "macs", "MACs", "million",
        "multiplications, each with its addition, of one prediction of one image, backbone included: convolutions and "
        "matrix products, without what is done element by element.",
        costs.of_prediction("macs"), group="Size", reason_of="parameters",
    ),
    of_prediction(
        "inference_mb", "Inference", "MB",
        "the most memory that tensors take at a time in one prediction of one image: parameters, buffers, the image, "
        "what lies between layers, and what the model keeps from call to call; without libraries.",
        costs.of_prediction("inference_mb"), group="Size", reason_of="parameters",
    ),
    at_the_end("replay_samples", "Replay", "images", "", "images of earlier experiences that are kept."),
    at_the_end("heads", "Heads", "", "", "classification heads of the final model."),
    of_compute(
        "train_flops", "Operations", "GFLOP",
        "floating-point operations of all that a strategy did to train on all experiences, with forward and backward "
        "passes, memories, teachers, importances and closed forms, a multiplication and an addition being two; without "
        "what is done element by element, and without the features of a frozen backbone that are extracted once.",
        costs.summed("train_flops", costs.NOT_RECORDED),
    ),
    of_compute(
        "feature_flops", "Features", "GFLOP",
        "operations of extracting the features that were trained on, each once (and once for each augmented version), "
        "whether or not the cache had them: the same for all strategies; 0 where the backbone runs in training steps, "
        "and so is in the operations of training.",
        costs.summed("feature_flops", "features were given, or the version that trained the run did not record it"),
        better="",
    ),
    of_compute(
        "train_samples", "Samples", "",
        "samples that the model was given in training steps, or a closed form in its pass, each as often as it was, "
        "replayed and generated ones included.",
        costs.summed("train_samples"), reason_of="train_flops",
    ),
    of_compute(
        "train_steps", "Steps", "", "training steps.", costs.summed("train_steps"), better="", reason_of="train_flops",
    ),
    of_compute(
        "peak_memory_mb", "Peak memory", "MB",
        "the most memory that was in use at a time in training: of the GPU, what torch had allocated; on a CPU, what "
        "of the process was resident, its libraries and shared data included.",
        costs.peak_memory_mb, better="",
    ),
    of_compute(
        "budget_used", "Budget used", "%",
        "of the budgets of all experiences (`training.budget`), what was used.",
        costs.budget_used, better="", decimals=1,
    ),
    accuracy(
        "average_incremental", "Average incremental", matrix.average_incremental,
        "mean over i of the mean of R[i, j] over j ≤ i: average incremental accuracy (Rebuffi et al. 2017), with "
        "experiences in place of images as weights.",
        in_tables=False,
    ),
    accuracy(
        "bwt_gem", "BWT (GEM)", matrix.bwt_gem,
        "mean over j < T−1 of R[T−1, j] − R[j, j] (backward transfer of Lopez-Paz & Ranzato 2017), in points.",
        unit="points", spelt_out="BWT (last − own)", in_tables=False,
    ),
    of_answers(
        "fwt_gem", "FWT (GEM)",
        "mean over j > 0 of R[j−1, j] − b[j], b[j] being the accuracy on j before anything has been trained "
        "(forward transfer of Lopez-Paz & Ranzato 2017), in points; needs `evaluation.every`.",
        within.fwt_gem, source="within.csv and matrix.csv", unit="points",
    ),
    of_answers(
        "average_anytime", "Average anytime",
        "mean over all evaluations, every N training steps and after each experience, of the mean accuracy on the "
        "experiences so far: average anytime accuracy (Caccia et al. 2022); needs `evaluation.every`.",
        within.average_anytime, source="within.csv and matrix.csv",
    ),
    of_answers(
        "min_accuracy", "Min-ACC",
        "mean over j < T−1 of the lowest accuracy on j in any evaluation after experience j (De Lange et al. 2023, "
        "arXiv:2205.13452); needs `evaluation.every`.",
        within.min_accuracy, source="within.csv and matrix.csv", reason_of="average_anytime",
    ),
    of_answers(
        "worst_case_accuracy", "Worst case",
        "R[T−1, T−1] / T + (1 − 1/T) · min-ACC: worst-case accuracy (De Lange et al. 2023); needs `evaluation.every`.",
        within.worst_case_accuracy, source="within.csv and matrix.csv", reason_of="average_anytime",
    ),
    of_answers(
        "stability_gap", "Stability gap",
        "mean over k > j of what is lost on j in passing while k is trained: min(R[k−1, j], R[k, j]) − the lowest "
        "accuracy on j measured within k, or 0 (our figure of the gap of De Lange et al. 2023), in points; needs "
        "`evaluation.every`.",
        within.stability_gap, source="within.csv and matrix.csv", unit="points", better="lower",
        reason_of="average_anytime",
    ),
    of_answers(
        "negative_flips", "Negative flips",
        "mean over i > 0 and j < i of the share of j's test images answered rightly after i−1 and wrongly after i "
        "(negative flips: Yan et al. 2021, arXiv:2011.09161).",
        single_images.negative_flips, source="predictions.npz", better="lower",
    ),
    of_answers(
        "calibration_error", "Calibration error",
        "expected calibration error of the final model on all test images, 15 bins of equal width (Guo et al. 2017, "
        "arXiv:1706.04599), in points; needs `evaluation.scores`.",
        single_images.calibration_error, source="predictions.npz", unit="points", better="lower",
    ),
    Metric(
        name="intransigence", header="Intransigence", unit="points", better="lower", group="Accuracy (%)",
        formula="mean over k of R'[k, k] − R[k, k], R' being of the strategy that keeps all images of earlier "
        "experiences (joint training) in the same order and under the same seed (Chaudhry et al. 2018), in points.",
        source="matrix.csv", beside_joint=matrix.intransigence, decimals=2, in_results=False, in_tables=False,
    ),
)  # fmt: skip
"""Every metric; those in results.csv are in the order of its columns."""
SOURCES = (
    "Caccia et al., New Insights on Reducing Abrupt Representation Change in Online Continual Learning, ICLR 2022 "
    "(arXiv:2104.05025).",
    "Chaudhry et al., Riemannian Walk for Incremental Learning, ECCV 2018 (arXiv:1801.10112).",
    "De Lange et al., Continual Evaluation for Lifelong Learning: Identifying the Stability Gap, ICLR 2023 "
    "(arXiv:2205.13452).",
    "Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv:1706.04599).",
    "Lopez-Paz & Ranzato, Gradient Episodic Memory for Continual Learning, NeurIPS 2017 (arXiv:1706.08840).",
    "Ma et al., Dynamic Neural Network for Incremental Learning, IROS 2019 Lifelong Robotic Vision Challenge (slides).",
    "Rebuffi et al., iCaRL: Incremental Classifier and Representation Learning, CVPR 2017 (arXiv:1611.07725).",
    "She et al., OpenLORIS-Object, ICRA 2020 (arXiv:1911.06487).",
    "Yan et al., Positive-Congruent Training: Towards Regression-Free Model Updates, CVPR 2021 (arXiv:2011.09161).",
)
"""What the formulas above cite, by the first author's name."""


def named(name: str) -> Metric:
    """The metric with this name. Raises KeyError if there is none."""
    return {metric.name: metric for metric in METRICS}[name]


def in_results() -> list[Metric]:
    """The columns of results.csv that are metrics."""
    return [metric for metric in METRICS if metric.in_results]


def in_tables() -> list[Metric]:
    """The columns of the report's full table: group by group, those that lead first."""
    groups: list[str] = list(dict.fromkeys(metric.group for metric in METRICS))
    shown = [metric for metric in METRICS if metric.in_tables]
    return sorted(shown, key=lambda metric: (groups.index(metric.group), not metric.leads))


def compared() -> list[Metric]:
    """The metrics by which two outputs are compared: columns of results.csv of which one direction is better."""
    found = [metric for metric in METRICS if metric.in_results and metric.better]
    accuracies = [metric for metric in found if metric.of_matrix]
    return [*sorted(accuracies, key=lambda metric: not metric.leads), *(each for each in found if each.of_run)]


def of_matrices() -> list[Metric]:
    """The metrics that can be computed from an accuracy matrix, and so from a published one."""
    return [metric for metric in METRICS if metric.of_matrix is not None]


def compute(
    accuracies: NDArray[np.floating], n: NDArray[np.integer] | None = None, names: Iterable[str] | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """Metrics of one accuracy matrix, and the reason why any is undefined.

    Parameters
    ----------
    accuracies : shape (T, T), fractions; NaN marks a cell that was not measured (a run that failed, a future that
        nobody published).
    n : test images behind each cell, shape (T, T), or per test experience, shape (T,); a cell with none has no
        accuracy, whatever the matrix says. It is not a weight.
    names : names of the metrics; those of results.csv if not given.

    Returns
    -------
    {name: value, NaN where undefined}, {name: reason}

    Raises
    ------
    ValueError : the matrix is not square or not finite (NaN aside), or `n` has another shape.
    """
    import numpy as np

    values = np.array(accuracies, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"an accuracy matrix must be square, this one has shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError("an accuracy matrix must be finite, or NaN where not measured")
    if n is not None:
        counts = np.asarray(n)
        if counts.shape not in (values.shape, values.shape[1:]):
            raise ValueError(f"n has shape {counts.shape}, the matrix {values.shape}")
        values[np.broadcast_to(counts, values.shape) == 0] = np.nan

    results: dict[str, float] = {}
    reasons: dict[str, str] = {}
    wanted = [metric.name for metric in in_results()] if names is None else list(names)
    for metric in of_matrices():
        if metric.name not in wanted or metric.of_matrix is None:
            continue
        try:
            if not len(values):
                raise UndefinedMetricError("there is no experience")
            results[metric.name] = metric.of_matrix(values)
        except UndefinedMetricError as undefined:
            results[metric.name] = float("nan")
            reasons[metric.name] = str(undefined)
    return results, reasons


def compute_costs(run: RunRecord) -> tuple[dict[str, float], dict[str, str]]:
    """The other columns of results.csv: {name: value} for what was measured, {name: reason} for what is undefined."""
    results: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for metric in in_results():
        try:
            value = metric.of_run(run) if metric.of_run else None
        except UndefinedMetricError as undefined:
            reasons[metric.name] = str(undefined)
            continue
        if value is not None:
            results[metric.name] = value
    return results, reasons


def reason_for(name: str, reasons: Mapping[str, str]) -> str:
    """Why a metric is undefined, from the reasons by name that are stored; empty if none says so.

    One measurement yields several figures, and its absence is explained only once: see `Metric.reason_of`.
    """
    sources = {metric.name: metric.reason_of for metric in METRICS}
    while name and not reasons.get(name):
        name = sources.get(name, "")
    return reasons.get(name, "")


def describe(metric: Metric) -> dict[str, Any]:
    """A metric as shown by `lorisbench ls --json`."""
    return {
        "name": metric.name,
        "header": metric.header,
        "unit": metric.unit,
        "better": metric.better,
        "formula": metric.formula,
        "source": metric.source,
        "in_results": metric.in_results,
    }


def markdown_table() -> str:
    """The table for a README: a line per metric, without a line break at the end."""
    heads = ("metric", "header", "unit", "better", "formula", "from")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for metric in METRICS:
        aside = "" if metric.in_results else " Beside published numbers only, no column of results.csv."
        cells = (f"`{metric.name}`", metric.header, metric.unit, metric.better, metric.formula + aside, metric.source)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
