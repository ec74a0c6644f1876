"""Continual-learning metrics: pure functions of the accuracy matrix.

R[i, j] is the accuracy (a fraction, 0..1) on experience j's test set after training experience i; both
count from 0 and T is the number of experiences. All means are unweighted. A cell that was not measured is
NaN, and a metric that would need it is undefined: the functions then raise `UndefinedMetricError` with the
reason, and `table.compute` turns that into NaN plus the reason.

Sources: She et al. 2020 (OpenLORIS-Object, arXiv:1911.06487) for accuracy, BWT, FWT and over-all accuracy;
the slides of Ma et al. 2019 (IROS lifelong robotic vision challenge) for "square performance", the same
mean; Chaudhry et al. 2018 (arXiv:1801.10112) and FACIL for forgetting from the maximum; Avalanche for
forgetting from the first value.

NumPy is imported where it is needed, because `lorisbench ls` lists the metrics and should respond at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Matrix: TypeAlias = "NDArray[np.float64]"


class UndefinedMetricError(ValueError):
    """What is stored about a run does not determine the metric; the message says why."""


def _known(cells: Matrix, which: str) -> Matrix:
    """These cells, shape (cells,); undefined if there are none, or if one was not measured."""
    import numpy as np

    if cells.size == 0:
        raise UndefinedMetricError("needs at least two experiences")
    missing = int(np.isnan(cells).sum())
    if missing:
        raise UndefinedMetricError(f"{missing} of {cells.size} cells {which} were not measured")
    return cells


def _mean(cells: Matrix, which: str) -> float:
    return float(_known(cells, which).mean())


def _seen(matrix: Matrix) -> Matrix:
    """The cells with i ≥ j, shape (T (T + 1) / 2,)."""
    import numpy as np

    return matrix[np.tril_indices(len(matrix))]


def square(matrix: Matrix) -> float:
    """Mean of all T×T cells, future experiences included ("square performance", "over-all accuracy")."""
    return _mean(matrix.flatten(), "of the whole matrix")


def accuracy_last(matrix: Matrix) -> float:
    """Mean of the last row: accuracy on every experience once all training is over."""
    return _mean(matrix[-1], "of the last row")


def accuracy_seen(matrix: Matrix) -> float:
    """Mean over i ≥ j: accuracy on the experiences trained so far ("Accuracy" of She et al.)."""
    return _mean(_seen(matrix), "with i ≥ j")


def worst_seen(matrix: Matrix) -> float:
    """The lowest cell with i ≥ j: the worst accuracy on an experience that has been trained."""
    return float(_known(_seen(matrix), "with i ≥ j").min())


def average_incremental(matrix: Matrix) -> float:
    """Mean over i of the mean of R[i, j] over j ≤ i: the average accuracy on the experiences seen so far."""
    import numpy as np

    _known(_seen(matrix), "with i ≥ j")
    return float(np.mean([matrix[i, : i + 1].mean() for i in range(len(matrix))]))


def bwt_gem(matrix: Matrix) -> float:
    """Mean over j < T-1 of R[T-1, j] − R[j, j] (Lopez-Paz & Ranzato 2017)."""
    return -forgetting_first(matrix)


def intransigence(matrix: Matrix, joint: Matrix) -> float:
    """Mean over k of R'[k, k] − R[k, k], with R' of training on all data up to k (Chaudhry et al. 2018)."""
    return _mean((joint.diagonal() - matrix.diagonal()).copy(), "of the diagonal, here or of joint training,")


def bwt_mean(matrix: Matrix) -> float:
    """Mean over i > j: accuracy on earlier experiences (She et al.'s BWT; not GEM's difference)."""
    import numpy as np

    return _mean(matrix[np.tril_indices(len(matrix), -1)], "with i > j")


def fwt_mean(matrix: Matrix) -> float:
    """Mean over i < j: accuracy on experiences still to come (She et al.'s FWT; not GEM's difference)."""
    import numpy as np

    return _mean(matrix[np.triu_indices(len(matrix), 1)], "with i < j")


def plasticity(matrix: Matrix) -> float:
    """Mean of the diagonal: accuracy on an experience just trained."""
    return _mean(matrix.diagonal().copy(), "of the diagonal")


def forgetting_max_by_experience(matrix: Matrix) -> Matrix:
    """For each j < T-1: the best of R[j..T-2, j] minus R[T-1, j]; shape (T-1,), NaN where a cell is missing.

    Negative if an experience ends better than it ever was.
    """
    import numpy as np

    count = max(len(matrix) - 1, 0)
    lost = [np.max(matrix[j:count, j]) - matrix[count, j] for j in range(count)]  # np.max keeps NaN
    return np.asarray(lost, dtype=np.float64)


def forgetting_first_by_experience(matrix: Matrix) -> Matrix:
    """For each j < T-1: R[j, j] minus R[T-1, j]; shape (T-1,), NaN where a cell is missing."""
    return (matrix.diagonal() - matrix[-1])[:-1]


def forgetting_max(matrix: Matrix) -> float:
    """Mean over j < T-1 of (max over j ≤ i < T-1 of R[i, j]) − R[T-1, j] (Chaudhry et al., FACIL)."""
    return _mean(forgetting_max_by_experience(matrix), "(columns with i ≥ j)")


def forgetting_first(matrix: Matrix) -> float:
    """Mean over j < T-1 of R[j, j] − R[T-1, j] (Avalanche's forgetting)."""
    return _mean(forgetting_first_by_experience(matrix), "(own or last accuracy of an experience)")
