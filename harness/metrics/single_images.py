"""Metrics of the answers to single images: functions of predictions.npz."""

from __future__ import annotations

from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import UndefinedMetricError

BINS = 15


def negative_flips(run: RunRecord) -> float | None:
    """Mean over i > 0, and over the experiences j < i, of the share of j's test images that were answered rightly after
    experience i-1 and are answered wrongly after i."""
    import numpy as np

    if run.answers is None:
        return None
    predicted, label, experience = run.answers[:3]
    if len(predicted) < 2:
        raise UndefinedMetricError("needs at least two experiences")
    if len(run.answers.tested) < len(predicted):
        raise UndefinedMetricError("not every experience was followed by a test")
    right = predicted == label
    images = np.bincount(experience)
    if not images[: len(predicted) - 1].all():
        raise UndefinedMetricError("an experience has no test images")
    shares = []
    for i in range(1, len(predicted)):
        lost = np.bincount(experience, weights=right[i - 1] & ~right[i])
        shares.append((lost[:i] / images[:i]).mean())
    return float(np.mean(shares))


def calibration_error(run: RunRecord) -> float | None:
    """Expected calibration error of the final model: the sum, over 15 bins of equal width of the probability of the
    class that is answered, of the share of test images in it times |accuracy − mean probability|."""
    import numpy as np

    if run.answers is None:
        return None
    scores = run.answers.scores
    if scores is None:
        raise UndefinedMetricError("no probabilities are stored (evaluation.scores)")
    last = run.answers.tested[-1:]
    if not len(last):
        raise UndefinedMetricError("no experience was followed by a test")
    row = int(last[0])
    predicted, label = run.answers.predicted[row], run.answers.label
    if predicted.max(initial=0) >= scores.shape[2]:
        raise UndefinedMetricError("a class is answered of which no probability is stored")
    sure = scores[row, np.arange(len(label)), predicted].astype(np.float64)
    if not np.isfinite(sure).all():
        raise UndefinedMetricError("a probability is missing")
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)  # (0, 1/15], (1/15, 2/15] …
    gaps = np.bincount(bins, weights=(predicted == label) - sure, minlength=BINS)
    return float(np.abs(gaps).sum() / len(label))
