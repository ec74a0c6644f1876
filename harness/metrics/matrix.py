"""Continual-learning metrics: pure functions of the accuracy matrix.

R[i, j] is the accuracy (a fraction, 0..1) on experience j's test set after training experience i; both
count from 0 and T is the number of experiences. All means are unweighted. A cell that was not measured is
NaN, and a metric that would need it is undefined: the functions then raise `UndefinedMetricError` with the
reason, and `compute` turns that into NaN plus the reason.

Sources: She et al. 2020 (OpenLORIS-Object, arXiv:1911.06487) for accuracy, BWT, FWT and over-all accuracy;
the slides of Ma et al. 2019 (IROS lifelong robotic vision challenge) for "square performance", the same
mean; Chaudhry et al. 2018 (arXiv:1801.10112) and FACIL for forgetting by the maximum; Avalanche for
forgetting by the first value.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class UndefinedMetricError(ValueError):
    """The matrix does not determine the metric; the message says why."""


def _mean(matrix: Matrix, cells: NDArray[np.bool_], which: str) -> float:
    """Mean of the chosen cells; undefined where there are none, or where one was not measured."""
    values = matrix[cells]
    if values.size == 0:
        raise UndefinedMetricError("needs at least two experiences")
    missing = int(np.isnan(values).sum())
    if missing:
        raise UndefinedMetricError(f"{missing} of {values.size} cells {which} were not measured")
    return float(values.mean())


def _triangle(matrix: Matrix, below: bool, diagonal: bool) -> NDArray[np.bool_]:
    row, column = np.indices(matrix.shape)
    off = np.asarray(row > column if below else row < column)
    return np.asarray(off | (row == column)) if diagonal else off


def square(matrix: Matrix) -> float:
    """Mean of all T×T cells, future experiences included ("square performance", "over-all accuracy")."""
    return _mean(matrix, np.ones(matrix.shape, dtype=bool), "of the whole matrix")


def accuracy_last(matrix: Matrix) -> float:
    """Mean of the last row: accuracy on every experience when all training is over."""
    cells = np.zeros(matrix.shape, dtype=bool)
    cells[-1:] = True
    return _mean(matrix, cells, "of the last row")


def accuracy_seen(matrix: Matrix) -> float:
    """Mean over i ≥ j: accuracy on the experiences trained so far ("Accuracy" of She et al.)."""
    return _mean(matrix, _triangle(matrix, below=True, diagonal=True), "with i ≥ j")


def bwt_mean(matrix: Matrix) -> float:
    """Mean over i > j: accuracy on earlier experiences (She et al.'s BWT; not GEM's difference)."""
    return _mean(matrix, _triangle(matrix, below=True, diagonal=False), "with i > j")


def fwt_mean(matrix: Matrix) -> float:
    """Mean over i < j: accuracy on experiences still to come (She et al.'s FWT; not GEM's difference)."""
    return _mean(matrix, _triangle(matrix, below=False, diagonal=False), "with i < j")


def plasticity(matrix: Matrix) -> float:
    """Mean of the diagonal: accuracy on an experience just trained."""
    return _mean(matrix, np.eye(len(matrix), dtype=bool), "of the diagonal")


def forgetting_max_by_experience(matrix: Matrix) -> Matrix:
    """For each j < T-1: the best of R[j..T-2, j] minus R[T-1, j]; shape (T-1,), NaN where a cell is missing.

    Negative where an experience ends better than it ever was.
    """
    count = max(len(matrix) - 1, 0)
    lost = [np.max(matrix[j:count, j]) - matrix[count, j] for j in range(count)]  # np.max keeps NaN
    return np.asarray(lost, dtype=np.float64)


def forgetting_first_by_experience(matrix: Matrix) -> Matrix:
    """For each j < T-1: R[j, j] minus R[T-1, j]; shape (T-1,), NaN where a cell is missing."""
    return (np.diagonal(matrix) - matrix[-1])[:-1].astype(np.float64)


def forgetting_max(matrix: Matrix) -> float:
    """Mean over j < T-1 of (max over j ≤ i < T-1 of R[i, j]) − R[T-1, j] (Chaudhry et al., FACIL)."""
    lost = forgetting_max_by_experience(matrix)
    return _mean(lost, np.ones(lost.shape, dtype=bool), "(columns with i ≥ j)")


def forgetting_first(matrix: Matrix) -> float:
    """Mean over j < T-1 of R[j, j] − R[T-1, j] (Avalanche's forgetting)."""
    lost = forgetting_first_by_experience(matrix)
    return _mean(lost, np.ones(lost.shape, dtype=bool), "(own or last accuracy of an experience)")


METRICS: dict[str, Callable[[Matrix], float]] = {
    "square": square,
    "accuracy_last": accuracy_last,
    "accuracy_seen": accuracy_seen,
    "bwt_mean": bwt_mean,
    "fwt_mean": fwt_mean,
    "forgetting_max": forgetting_max,
    "forgetting_first": forgetting_first,
    "plasticity": plasticity,
}
"""Every metric of this module by the name of its column in results.csv."""


def compute(
    matrix: NDArray[np.floating], n: NDArray[np.integer] | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """All metrics of one accuracy matrix, and the reason for each that is undefined.

    `matrix`: shape (T, T), fractions; NaN marks a cell that was not measured (a run that failed, a future
    that nobody published). `n`: test images behind each cell, shape (T, T), or per test experience, shape
    (T,); a cell with none has no accuracy, whatever `matrix` says. It is not a weight. Returns ({name:
    value, NaN where undefined}, {name: reason}). Raises ValueError for a matrix that is not square or is
    infinite somewhere, and for an `n` of another shape.
    """
    values = np.array(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"an accuracy matrix is square, this one has shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError("an accuracy matrix is finite, or NaN where not measured")
    if n is not None:
        counts = np.asarray(n)
        if counts.shape not in (values.shape, values.shape[1:]):
            raise ValueError(f"n has shape {counts.shape}, the matrix {values.shape}")
        values[np.broadcast_to(counts, values.shape) == 0] = np.nan

    results: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for name, metric in METRICS.items():
        try:
            results[name] = metric(values) if len(values) else _none()
        except UndefinedMetricError as undefined:
            results[name] = float("nan")
            reasons[name] = str(undefined)
    return results, reasons


def _none() -> float:
    raise UndefinedMetricError("there is no experience")
