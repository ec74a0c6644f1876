"""Metrics of what is measured within experiences and of single images, against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorisbench.metrics import single_images, within
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import (
    UndefinedMetricError,
    average_incremental,
    bwt_gem,
    intransigence,
)
from lorisbench.metrics.predictions import NOT_TESTED, Stored
from lorisbench.metrics.table import compute, compute_costs

MATRIX = np.array([[0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.6, 0.5, 1.0]])
WITHIN = [
    (0, 0, 0, 0.1), (0, 0, 1, 0.2), (0, 0, 2, 0.1),
    (0, 5, 0, 0.05),
    (1, 5, 0, 0.4), (1, 5, 1, 0.6), (1, 10, 0, 0.75), (1, 10, 1, 0.7),
    (2, 5, 0, 0.55), (2, 5, 1, 0.1), (2, 5, 2, 0.9),
]  # fmt: skip


def record(matrix: Any = MATRIX, rows: Any = WITHIN, every: int | None = 5, **more: Any) -> RunRecord:
    tables = {"within": [tuple(str(value) for value in row) for row in rows]}
    return RunRecord([], {}, {}, tables, np.asarray(matrix), evaluation={"every": every}, **more)


def test_within_by_hand() -> None:
    assert within.min_accuracy(record()) == pytest.approx((0.4 + 0.1) / 2)
    assert within.worst_case_accuracy(record()) == pytest.approx(1 / 3 + 2 / 3 * 0.25)
    # rows 0.9, 0.75, 0.7; within 0.05, 0.5, 0.725, and (0.55 + 0.1 + 0.9) / 3
    assert within.average_anytime(record()) == pytest.approx(np.mean([0.9, 0.75, 0.7, 0.05, 0.5, 0.725, 1.55 / 3]))
    # in passing: on 0 within 1 from 0.7 to 0.4; on 0 within 2 from 0.6 to 0.55; on 1 within 2 from 0.5 to 0.1
    assert within.stability_gap(record()) == pytest.approx((0.3 + 0.05 + 0.4) / 3)
    assert within.fwt_gem(record()) == pytest.approx(((0.3 - 0.2) + (0.4 - 0.1)) / 2)


def test_a_strategy_without_steps_is_measured_after_its_experiences() -> None:
    run = record(rows=[])
    assert within.min_accuracy(run) == pytest.approx((0.6 + 0.5) / 2) and within.stability_gap(run) == 0
    assert within.average_anytime(run) == pytest.approx(average_incremental(MATRIX))
    with pytest.raises(UndefinedMetricError, match="could not answer then"):
        within.fwt_gem(run)


@pytest.mark.parametrize("metric", [within.min_accuracy, within.average_anytime, within.stability_gap, within.fwt_gem])
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"every": None, "rows": []}, r"evaluation\.every"),
        ({"rows": [*WITHIN, (2, 9, 0, 1.5)]}, "cannot be right"),
        ({"rows": [*WITHIN, ("x", 9, 0, 0.5)]}, "cannot be right"),
        ({"matrix": np.where(np.eye(3) > 0, np.nan, MATRIX)}, "were not measured"),
    ],
)
def test_what_cannot_be_known_is_undefined(metric: Any, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(UndefinedMetricError, match=why):
        metric(record(**changed))


def test_an_experience_of_too_few_steps_is_not_taken_for_one_without_a_gap() -> None:
    run = replace(record(rows=WITHIN[:8]), entries=[{"train_steps": 9}, {"train_steps": 12}, {"train_steps": 4}])
    for metric in (within.min_accuracy, within.average_anytime, within.stability_gap):
        with pytest.raises(UndefinedMetricError, match="experience 2 took fewer steps"):
            metric(run)
    without_steps = replace(run, entries=[{"train_steps": 9}, {"train_steps": 12}, {"train_steps": 0}])
    assert within.stability_gap(without_steps) is not None


def test_of_the_matrix_by_hand() -> None:
    assert average_incremental(MATRIX) == pytest.approx((0.9 + 0.75 + 0.7) / 3)
    assert bwt_gem(MATRIX) == pytest.approx(((0.6 - 0.9) + (0.5 - 0.8)) / 2)
    joint = np.full((3, 3), 0.95)
    assert intransigence(MATRIX, joint) == pytest.approx((0.05 + 0.15 - 0.05) / 3)
    with pytest.raises(UndefinedMetricError, match="of joint training"):
        intransigence(MATRIX, np.full((3, 3), np.nan))


LABEL, EXPERIENCE = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])


def answered(predicted: Any, scores: Any = None) -> RunRecord:
    answers = Stored(np.asarray(predicted), LABEL, EXPERIENCE, scores=None if scores is None else np.asarray(scores))
    return RunRecord([{}], {}, {}, answers=answers)


def test_negative_flips_by_hand() -> None:
    """Of experience 0 one of two images is lost; what is lost of experience 1 before it was trained does not count."""
    assert single_images.negative_flips(answered([[0, 0, 1, 1], [0, 1, 0, 0]])) == 0.5
    assert single_images.negative_flips(answered([[1, 1, 0, 0], [0, 0, 1, 1]])) == 0
    for predicted in ([[0, 0, 0, 0]], [[NOT_TESTED] * 4, [0, 0, 1, 1]]):
        with pytest.raises(UndefinedMetricError):
            single_images.negative_flips(answered(predicted))


def test_calibration_error_by_hand() -> None:
    """Two images at 0.9, one of them right, and two at 0.6, both right: (2 · 0.4 + 2 · 0.4) / 4."""
    scores = np.array([[[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.4, 0.6]]])
    run = answered([[0, 1, 1, 1]], scores)
    assert single_images.calibration_error(run) == pytest.approx(0.4)
    with pytest.raises(UndefinedMetricError, match=r"evaluation\.scores"):
        single_images.calibration_error(answered([[0, 1, 1, 1]]))


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_agrees_with_a_loop_over_bins(images: list[tuple[float, bool]]) -> None:
    sure = np.array([each for each, _ in images])
    right = np.array([each for _, each in images])
    label = np.zeros(len(sure), dtype=int)
    predicted = np.where(right, 0, 1)[None]
    scores = np.where(predicted[..., None] == np.arange(2), sure[None, :, None], 1 - sure[None, :, None])
    run = RunRecord([{}], {}, {}, answers=Stored(predicted, label, label, scores=scores))
    expected = 0.0
    for k in range(15):
        inside = (sure > k / 15) & (sure <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert single_images.calibration_error(run) == pytest.approx(expected)


def test_what_is_undefined_says_why() -> None:
    values, reasons = compute_costs(record(every=None, rows=[]))
    assert {"average_anytime", "min_accuracy", "stability_gap", "fwt_gem"} <= set(reasons)
    assert not set(values) & set(reasons)
    assert compute(np.array([[0.5]]))[1]["bwt_gem"] == "needs at least two experiences"
