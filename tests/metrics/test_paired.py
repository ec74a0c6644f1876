"""Paired tests against scipy's own and against closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lorisbench.metrics import paired

EXACT = st.integers(-64, 64).map(lambda value: value / 64)  # sums are not rounded, by which scipy tells ties apart
FRACTIONS = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 6))


def test_holm_by_hand() -> None:
    """Of 0.01, 0.04, 0.03 and 0.005: 4 × 0.005, 3 × 0.01, 2 × 0.03, and 0.04, which is not below the one before it."""
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = paired.holm([0.01, float("nan"), 0.6])
    assert found[[0, 2]] == pytest.approx([0.02, 0.6]) and math.isnan(found[1])
    assert paired.holm([0.9, 0.8]).tolist() == [1, 1] and paired.holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferronis(p: list[float]) -> None:
    found = paired.holm(p)
    assert (found >= p).all() and (found <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    assert (np.diff(found[np.argsort(p)]) >= 0).all()


@given(st.lists(EXACT, min_size=2, max_size=8).filter(lambda values: len(set(values)) > 1))
def test_exact_permutations_agree_with_scipy(values: list[float]) -> None:
    found = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    every = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=len(values))]
    assert paired.permutation_p(values) == pytest.approx(
        np.mean([each >= abs(sum(values)) - 1e-12 for each in every]), abs=1e-12
    )
    assert paired.permutation_p(values) == pytest.approx(min(1.0, float(found.pvalue)), abs=1e-9)


def test_five_pairs_cannot_conclude_and_six_can() -> None:
    assert paired.permutation_p([0.1, 0.2, 0.3, 0.4, 0.5]) == 0.0625
    assert paired.permutation_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == 0.03125
    assert paired.pairs_needed() == 6 and paired.pairs_needed(0.01) == 8
    assert math.isnan(paired.permutation_p([]))


def test_many_pairs_are_drawn_and_agree_with_the_t_test() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 60)
    assert paired.permutation_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)


@given(st.lists(FRACTIONS, min_size=2, max_size=9).filter(lambda values: np.std(values) > 1e-6))
def test_t_agrees_with_scipy(values: list[float]) -> None:
    assert paired.paired_t_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-9)


def test_t_of_equal_differences() -> None:
    assert paired.paired_t_p([0.1, 0.1, 0.1]) == 0 and paired.paired_t_p([0.0, 0.0]) == 1
    assert math.isnan(paired.paired_t_p([0.3]))


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_agrees_with_scipy(gained: int, lost: int) -> None:
    first = np.array([True] * gained + [False] * lost + [True] * 5)
    second = np.array([False] * gained + [True] * lost + [True] * 5)
    found = paired.mcnemar(first, second)
    assert (found.gained, found.lost) == (gained, lost)
    if gained + lost:
        assert found.exact == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
        assert found.chi2 == pytest.approx(stats.chi2.sf(max(abs(gained - lost) - 1, 0) ** 2 / (gained + lost), 1))
    else:
        assert found.exact == found.chi2 == 1


def test_mcnemar_needs_the_same_images() -> None:
    with pytest.raises(ValueError, match="same images"):
        paired.mcnemar([True], [True, False])


@given(st.lists(FRACTIONS, min_size=1, max_size=6), st.lists(FRACTIONS, min_size=1, max_size=6))
def test_improvement_is_mann_whitneys_statistic(first: list[float], second: list[float]) -> None:
    u = stats.mannwhitneyu(first, second).statistic / (len(first) * len(second))
    assert paired.improvement(np.array(first)[:, None], np.array(second)[:, None]) == pytest.approx(u)


def test_improvement_is_a_mean_over_tasks() -> None:
    assert paired.improvement([[1, 0]], [[0, 1]]) == 0.5 and paired.improvement([[1, 1]], [[0, 1]]) == 0.75
    assert math.isnan(paired.improvement(np.empty((0, 2)), [[0, 1]]))
    with pytest.raises(ValueError, match="same tasks"):
        paired.improvement([[1, 0]], [[1]])


@given(st.lists(FRACTIONS, min_size=1, max_size=30))
def test_interquartile_mean_is_scipys_trimmed_mean(values: list[float]) -> None:
    assert paired.interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-9)


def test_friedman_agrees_with_scipy_and_the_critical_difference_with_demsar() -> None:
    """Table 5 of Demšar 2006: q is 2.343 for three and 2.728 for five classifiers at 0.05."""
    scores = np.random.default_rng(3).normal(size=(12, 5))
    scores[0, :2] = 0.3  # a tie
    found = paired.friedman(scores)
    expected = stats.friedmanchisquare(*scores.T)
    assert (found.chi2, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.ranks == pytest.approx(stats.rankdata(-scores, axis=1).mean(axis=0))
    assert found.critical == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 12)), rel=1e-3)
    assert paired.friedman(scores[:, :3]).critical == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 12)), rel=1e-3)
    f = 11 * found.chi2 / (12 * 4 - found.chi2)
    assert (found.f, found.f_p) == pytest.approx((f, stats.f.sf(f, 4, 44)))


def test_friedman_at_its_ends() -> None:
    same = paired.friedman([[1, 2, 3]] * 4)
    assert same.ranks.tolist() == [3, 2, 1] and same.f_p == 0 and same.chi2 == pytest.approx(8)
    assert paired.friedman([[1, 1], [2, 2]]).p == 1
    for wrong in ([[1, 2]], [[1], [2]], [[1, np.nan], [1, 2]]):
        with pytest.raises(ValueError, match="at least two"):
            paired.friedman(wrong)


def test_stretches_that_are_joined() -> None:
    assert paired.joined([1.0, 1.5, 2.2, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert paired.joined([1, 2, 3], 5) == [(0, 2)] and paired.joined([1, 3], 1) == []
