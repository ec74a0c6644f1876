"""Intervals over seeds against scipy's own and against hand-worked figures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lorisbench.metrics.intervals import Interval, mean_interval

FRACTIONS = st.floats(0, 1, allow_nan=False)


def test_three_seeds_by_hand() -> None:
    """s = 0.01, t(0.975, 2) = 4.3027, so ± 4.3027 · 0.01 / √3 = 0.02484."""
    interval = mean_interval([0.80, 0.81, 0.82])
    assert interval.mean == pytest.approx(0.81)
    assert interval.half_width == pytest.approx(0.0248414, abs=1e-6)
    assert interval.n == 3
    assert (interval.low, interval.high) == pytest.approx((0.7851586, 0.8348414), abs=1e-6)


@given(st.lists(FRACTIONS, min_size=2, max_size=12).filter(lambda values: np.std(values) > 1e-9))
def test_agrees_with_scipy(values: list[float]) -> None:
    interval = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_one_value_has_no_interval() -> None:
    interval = mean_interval([0.5])
    assert (interval.mean, interval.n) == (0.5, 1)
    assert math.isnan(interval.half_width)


def test_nothing_has_no_mean() -> None:
    interval = mean_interval([float("nan")])
    assert interval.n == 0
    assert math.isnan(interval.mean)
    assert math.isnan(interval.half_width)


def test_values_that_are_not_finite_are_missing() -> None:
    assert mean_interval([0.2, float("nan"), 0.4, float("inf")]) == mean_interval([0.2, 0.4])


def test_equal_values_have_exactly_no_spread() -> None:
    assert mean_interval([0.1, 0.1, 0.1]) == Interval(0.1, 0.0, 3)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_fraction(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], confidence)
