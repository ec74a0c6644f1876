"""Metrics of what was measured while experiences were trained: functions of within.csv and the accuracy matrix.

`evaluation.every: N` measures, every N training steps, the accuracy on the experiences trained so far, and on all of
them once before anything has been trained. The row of the matrix is the evaluation after an experience. What a strategy
without steps learns, it learns at once: its evaluations are those rows alone.
"""

from __future__ import annotations

from collections import defaultdict

from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import Matrix, UndefinedMetricError

TABLES = {"within": ("experience", "step", "test_experience", "accuracy")}
"""The table, and the columns of it that count; step 0 of experience 0 is before training."""
NOT_MEASURED = "nothing was measured within experiences (evaluation.every)"


def average_anytime(run: RunRecord) -> float | None:
    """Mean over all evaluations, those after an experience included, of the mean accuracy on the experiences so far."""
    if run.matrix is None:
        return None
    within, matrix = _within(run), _whole(run)
    means = [sum(matrix[k, : k + 1]) / (k + 1) for k in range(len(matrix))]
    for (experience, _), accuracies in within.items():
        means.append(sum(accuracies[j] for j in range(experience + 1)) / (experience + 1))
    return float(sum(means) / len(means))


def min_accuracy(run: RunRecord) -> float | None:
    """Mean over j < T-1 of the lowest accuracy on j in any evaluation after experience j has been trained."""
    if run.matrix is None:
        return None
    within, matrix = _within(run), _whole(run)
    last = len(matrix) - 1
    if last < 1:
        raise UndefinedMetricError("needs at least two experiences")
    lowest = []
    for j in range(last):
        later = [accuracies[j] for (experience, _), accuracies in within.items() if experience > j]
        lowest.append(min([*later, *matrix[j + 1 :, j]]))
    return float(sum(lowest) / last)


def worst_case_accuracy(run: RunRecord) -> float | None:
    """R[T-1, T-1] / T + (1 - 1 / T) · min-ACC."""
    lowest = min_accuracy(run)
    if lowest is None or run.matrix is None:
        return None
    share = 1 / len(run.matrix)
    return float(share * run.matrix[-1, -1] + (1 - share) * lowest)


def stability_gap(run: RunRecord) -> float | None:
    """Mean over k > j of what is lost on j in passing while k is trained: min(R[k-1, j], R[k, j]) less the lowest
    accuracy on j measured within k, 0 if that is not below."""
    if run.matrix is None:
        return None
    within, matrix = _within(run), _whole(run)
    if len(matrix) < 2:
        raise UndefinedMetricError("needs at least two experiences")
    gaps = []
    for k in range(1, len(matrix)):
        of_k = [accuracies for (experience, _), accuracies in within.items() if experience == k]
        for j in range(k):
            stays = min(matrix[k - 1, j], matrix[k, j])
            gaps.append(max(0.0, stays - min((accuracies[j] for accuracies in of_k), default=stays)))
    return float(sum(gaps) / len(gaps))


def fwt_gem(run: RunRecord) -> float | None:
    """Mean over j > 0 of R[j-1, j] less the accuracy on j before anything had been trained."""
    if run.matrix is None:
        return None
    matrix, before = _whole(run), _cells(run).get((0, 0), {})
    if len(matrix) < 2:
        raise UndefinedMetricError("needs at least two experiences")
    if not all(j in before for j in range(1, len(matrix))):
        measured = "the model could not answer then" if run.evaluation.get("every") else "evaluation.every"
        raise UndefinedMetricError(f"no accuracy before training is stored ({measured})")
    return float(sum(matrix[j - 1, j] - before[j] for j in range(1, len(matrix))) / (len(matrix) - 1))


def _whole(run: RunRecord) -> Matrix:
    """The matrix, of which no cell may be missing."""
    import numpy as np

    assert run.matrix is not None
    if missing := int(np.isnan(run.matrix).sum()):
        raise UndefinedMetricError(f"{missing} of {run.matrix.size} cells of the whole matrix were not measured")
    return run.matrix


def _within(run: RunRecord) -> dict[tuple[int, int], dict[int, float]]:
    """The evaluations within experiences. Undefined if none was asked for, if the training steps of an experience were
    too few for one, or if one lacks an experience so far."""
    if not run.evaluation.get("every"):
        raise UndefinedMetricError(NOT_MEASURED)
    found = {place: accuracies for place, accuracies in _cells(run).items() if place != (0, 0)}
    measured = {experience for experience, _ in found}
    for k, entry in enumerate(run.entries):
        if entry.get("train_steps") and k not in measured:
            raise UndefinedMetricError(f"experience {k} took fewer steps than evaluation.every")
    if not all(j in accuracies for (experience, _), accuracies in found.items() for j in range(experience + 1)):
        raise UndefinedMetricError("within.csv lacks an experience")
    return found


def _cells(run: RunRecord) -> dict[tuple[int, int], dict[int, float]]:
    """Accuracies by (experience, step) and test experience."""
    found: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    try:
        for experience, step, test, accuracy in run.tables.get("within", ()):
            value = float(accuracy)
            if not 0 <= value <= 1:
                raise ValueError(accuracy)
            found[int(experience), int(step)][int(test)] = value
    except ValueError as error:
        raise UndefinedMetricError("within.csv has a number that cannot be right") from error
    return dict(found)
