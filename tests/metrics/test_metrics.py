"""Metrics against the published matrices and against slow definitions in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lorisbench.metrics import matrix as metrics
from lorisbench.metrics import table

NAN = float("nan")

# Ma et al. 2019, slides, per cent: Finetune, and DynamicNN V2' (worst branch distilled, expanded at 1 and 3).
FINETUNE = """
99.71
85.61 99.91
97.93 80.92 99.88
76.87 68.28 79.01 99.99
87.40 91.02 86.81 96.93 99.95
88.29 89.33 84.16 81.67 82.71 99.90
99.00 95.62 99.07 98.75 94.97 95.81 99.72
92.01 97.01 89.40 87.62 93.58 99.30 91.21 99.91
98.54 96.09 99.53 92.72 92.69 93.54 95.57 91.31 99.82
"""
WORST_BRANCH = """
99.30
97.13 98.42
99.25 95.92 97.88
96.74 95.74 94.69 99.21
94.50 97.08 93.12 99.31 97.10
93.63 97.25 92.08 99.26 96.82 90.89
96.77 98.01 96.15 99.35 97.58 93.41 98.26
96.82 98.96 96.08 97.83 97.84 96.43 97.85 96.09
97.98 99.10 98.00 98.17 97.94 95.33 98.38 94.97 97.97
"""


def published(text: str) -> np.ndarray:
    rows = [[float(cell) / 100 for cell in line.split()] for line in text.split("\n") if line]
    matrix = np.full((len(rows), len(rows)), NAN)
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FINETUNE, (92.65, 90.84, 99.87, 95.53, 4.87, 4.87)),
        (WORST_BRANCH, (96.90, 96.82, 97.24, 97.54, -0.34, 0.53)),
    ],
    ids=["finetune", "worst branch"],
)
def test_published_matrices(text: str, expected: tuple[float, ...]) -> None:
    """The six figures derived from the slides by hand, to their two decimals."""
    names = ("accuracy_seen", "bwt_mean", "plasticity", "accuracy_last", "forgetting_first", "forgetting_max")
    values, reasons = table.compute(published(text))
    assert [round(100 * values[name], 2) for name in names] == list(expected)
    # Nobody published the future cells, so what needs them is undefined and says so.
    assert set(reasons) == {"square", "fwt_mean"}
    assert math.isnan(values["square"]) and math.isnan(values["fwt_mean"])
    assert reasons["fwt_mean"] == "36 of 36 cells with i < j were not measured"
    assert reasons["square"] == "36 of 81 cells of the whole matrix were not measured"


def slow(matrix: list[list[float]]) -> dict[str, float]:
    """The definitions as She et al. (arXiv 1911.06487), Chaudhry et al. (arXiv 1801.10112) and Avalanche have them."""

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values)

    size = len(matrix)
    cells = [(i, j) for i in range(size) for j in range(size)]
    last = matrix[-1]
    result = {
        "square": mean([matrix[i][j] for i, j in cells]),
        "accuracy_last": mean(last),
        "accuracy_seen": mean([matrix[i][j] for i, j in cells if i >= j]),
        "plasticity": mean([matrix[j][j] for j in range(size)]),
        "average_incremental": mean([mean(matrix[i][: i + 1]) for i in range(size)]),
    }
    if size > 1:
        earlier = range(size - 1)
        result["bwt_mean"] = mean([matrix[i][j] for i, j in cells if i > j])
        result["fwt_mean"] = mean([matrix[i][j] for i, j in cells if i < j])
        best = [max(matrix[i][j] for i in range(j, size - 1)) for j in earlier]
        result["forgetting_max"] = mean([best[j] - last[j] for j in earlier])
        result["forgetting_first"] = mean([matrix[j][j] - last[j] for j in earlier])
        result["bwt_gem"] = mean([last[j] - matrix[j][j] for j in earlier])
    return result


square_matrices = st.integers(1, 7).flatmap(
    lambda size: hnp.arrays(np.float64, (size, size), elements=st.floats(0, 1, allow_subnormal=False))
)


@given(square_matrices)
def test_agrees_with_slow_definitions(matrix: np.ndarray) -> None:
    values, reasons = table.compute(matrix)
    expected = slow(matrix.tolist())
    assert set(values) == {metric.name for metric in table.of_matrices() if metric.in_results}
    assert set(reasons) == set(values) - set(expected)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-12), name


@given(square_matrices, st.data())
def test_a_missing_cell_undefines_just_what_needs_it(matrix: np.ndarray, data: st.DataObject) -> None:
    """No metric is guessed from the rest of its cells, and none is dropped that does not need the cell."""
    size = len(matrix)
    i, j = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    whole, undefined = table.compute(matrix)
    holed = matrix.copy()
    holed[i, j] = NAN
    values, reasons = table.compute(holed)
    last = size - 1
    needs = {
        "square": True,
        "accuracy_last": i == last,
        "accuracy_seen": i >= j,
        "bwt_mean": i > j,
        "fwt_mean": i < j,
        "plasticity": i == j,
        "forgetting_max": j < last and i >= j,
        "forgetting_first": j < last and i in (j, last),
    }
    for name, needed in needs.items():
        if needed or name in undefined:
            assert math.isnan(values[name]) and reasons[name], name
        else:
            assert values[name] == whole[name] and name not in reasons, name


def test_one_experience() -> None:
    values, reasons = table.compute(np.array([[0.75]]))
    assert {name: value for name, value in values.items() if not math.isnan(value)} == {
        "square": 0.75,
        "average_incremental": 0.75,
        "accuracy_last": 0.75,
        "accuracy_seen": 0.75,
        "plasticity": 0.75,
    }
    assert set(reasons.values()) == {"needs at least two experiences"}
    assert set(reasons) == {"bwt_mean", "bwt_gem", "fwt_mean", "forgetting_max", "forgetting_first"}


def test_no_experience() -> None:
    values, reasons = table.compute(np.empty((0, 0)))
    assert all(math.isnan(value) for value in values.values())
    assert set(reasons.values()) == {"there is no experience"}


def test_run_that_stopped_early() -> None:
    """The last row is missing: nothing that speaks of the end of training has a value."""
    values, reasons = table.compute(np.array([[0.9, 0.3], [NAN, NAN]]))
    assert values["fwt_mean"] == 0.3
    assert {name for name, value in values.items() if math.isnan(value)} == set(reasons)
    assert reasons["accuracy_last"] == "2 of 2 cells of the last row were not measured"
    assert "forgetting_max" in reasons and "plasticity" in reasons


def test_cells_without_test_images_have_no_accuracy() -> None:
    matrix = np.array([[0.9, 0.0], [0.8, 0.0]])
    for counts in (np.array([10, 0]), np.array([[10, 0], [10, 0]])):
        values, reasons = table.compute(matrix, counts)
        assert values["bwt_mean"] == 0.8
        assert reasons["accuracy_last"] == "1 of 2 cells of the last row were not measured"
    assert matrix[0, 1] == 0.0, "the caller's matrix was changed"


def test_n_is_not_a_weight() -> None:
    matrix = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert table.compute(matrix, np.array([999, 1]))[0]["square"] == 0.5


def test_forgetting_by_experience() -> None:
    """Column 0 peaks after experience 1; column 1 ends better than it ever was; the last cannot be lost."""
    matrix = np.array([[0.5, 0.9, 0.9], [0.8, 0.6, 0.9], [0.4, 0.7, 0.9]])
    assert metrics.forgetting_max_by_experience(matrix) == pytest.approx([0.4, -0.1])
    assert metrics.forgetting_first_by_experience(matrix) == pytest.approx([0.1, -0.1])


@pytest.mark.parametrize("matrix", [np.ones((2, 3)), np.ones(4), np.array([[np.inf]])])
def test_what_is_no_accuracy_matrix_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an accuracy matrix must be"):
        table.compute(matrix)


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="n has shape"):
        table.compute(np.ones((2, 2)), np.ones(3, dtype=int))
