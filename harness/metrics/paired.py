"""Paired tests of two models, and what many of them together allow: Holm, permutations, McNemar, improvement.

SciPy is imported where it is needed: `scipy.special` has the distributions, and `scipy.stats` takes a second to import.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT = 20  # pairs, up to which all assignments of signs are gone through
DRAWN = 20_000  # assignments of signs that are drawn for more pairs
LEVEL = 0.05


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p values of a family of tests, shape as given: what is below a level is significant there.

    Holm 1979, A simple sequentially rejective multiple test procedure: the k-th smallest of m is multiplied by
    m − k + 1, and none is smaller than one before it. NaN, of a test that could not be made, counts as no test.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


def permutation_p(differences: ArrayLike) -> float:
    """Two-sided p of the paired permutation test: how many assignments of signs give a mean as far from 0.

    Exact up to 20 pairs, and then of 20,000 assignments drawn from a fixed seed. n pairs cannot give less than
    2 / 2ⁿ: of five, 0.0625. NaN without a pair.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan")
    observed = abs(values.sum()) * (1 - 1e-12) - 1e-15  # sums of the same numbers in another sequence round otherwise
    if len(values) <= EXACT:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed))
    sums = (_signs(len(values)) @ values.astype(np.float32)).astype(np.float64)
    return float((1 + np.count_nonzero(np.abs(sums) >= observed)) / (1 + DRAWN))


@functools.lru_cache(maxsize=4)
def _signs(pairs: int) -> NDArray[np.float32]:
    """Assignments of signs, 1 or -1, float32 (DRAWN, pairs)."""
    drawn = np.random.default_rng(0).integers(0, 2, (DRAWN, pairs), dtype=np.int8)
    return 2 * drawn.astype(np.float32) - 1


def paired_t_p(differences: ArrayLike) -> float:
    """Two-sided p of Student's paired t test: that the mean of the differences is 0. NaN for fewer than two of them."""
    from scipy.special import stdtr

    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return float("nan")
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    if error <= 1e-12 * abs(mean):  # equal differences, but for rounding
        return float(mean == 0)
    return float(2 * stdtr(len(values) - 1, -abs(mean) / error)) if error else 1.0


def pairs_needed(level: float = LEVEL) -> int:
    """How many pairs an exact two-sided permutation test needs for a p below `level`: 6 for 0.05."""
    return int(np.floor(1 - np.log2(level))) + 1


class McNemar(NamedTuple):
    """McNemar's test (1947) of two models on the same images.

    gained, lost : images that only the first, and only the second, answers rightly. exact : two-sided p of the binomial
    test of the two counts. chi2 : p of (|gained − lost| − 1)² / (gained + lost) with one degree of freedom (Edwards
    1948). Both take images as independent of each other.
    """

    gained: int
    lost: int
    exact: float
    chi2: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """The test of which images two models answer rightly, bool (images,) each. Raises ValueError for other shapes."""
    from scipy.special import bdtr, chdtrc

    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"answers to the same images were expected, not of shapes {a.shape} and {b.shape}")
    gained, lost = int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a))
    if not gained + lost:
        return McNemar(0, 0, 1.0, 1.0)
    exact = min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))
    statistic = max(abs(gained - lost) - 1, 0) ** 2 / (gained + lost)
    return McNemar(gained, lost, exact, float(chdtrc(1, statistic)))


def improvement(first: ArrayLike, second: ArrayLike) -> float:
    """Probability that a run of the first is better than one of the second, on a task drawn at random; ties count half.

    first, second : scores (runs, tasks), of as many tasks each. Agarwal et al. 2021, Deep reinforcement learning at the
    edge of the statistical precipice (arXiv:2108.13264): the mean over tasks of the Mann–Whitney
    statistic over the product of the numbers of runs. NaN without a run or a task.
    """
    a, b = np.atleast_2d(np.asarray(first, float)), np.atleast_2d(np.asarray(second, float))
    if not a.size or not b.size:
        return float("nan")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"scores on the same tasks were expected, not on {a.shape[1]} and {b.shape[1]}")
    above = a[:, None, :] - b[None, :, :]
    return float(np.mean(np.where(above > 0, 1.0, np.where(above < 0, 0.0, 0.5))))


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all scores, whatever their shape: a quarter is cut off at each end, rounded down.

    Agarwal et al. 2021 (arXiv:2108.13264). NaN without a score, or with one that is not finite.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(values) or not np.isfinite(values).all():
        return float("nan")
    cut = len(values) // 4
    return float(values[cut : len(values) - cut].mean())


@dataclass(frozen=True)
class Ranking:
    """Friedman's test of strategies over streams, and Nemenyi's critical difference of their mean ranks.

    ranks : mean rank of each, 1 for the best. chi2, p : Friedman's statistic, corrected for ties, and its p. f, f_p :
    Iman and Davenport's, which is less conservative. critical : two whose mean ranks differ by less cannot be told
    apart. streams : over how many.
    """

    ranks: NDArray[np.float64]
    chi2: float
    p: float
    f: float
    f_p: float
    critical: float
    streams: int


def friedman(scores: ArrayLike, level: float = LEVEL) -> Ranking:
    """Rank strategies by scores (streams, strategies), higher being better; equal scores share the mean of their ranks.

    Demšar 2006, Statistical comparisons of classifiers over multiple data sets (JMLR 7), section 3.2.2: Friedman's χ²,
    Iman and Davenport's F, and CD = q √(k (k + 1) / (6 N)), q the studentised range's quantile over √2.

    Raises ValueError for fewer than two streams or strategies, or a score that is not finite.
    """
    from scipy.special import chdtrc, fdtrc
    from scipy.stats import rankdata, studentized_range

    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ValueError("finite scores of at least two strategies on at least two streams were expected")
    streams, count = values.shape
    ranks = rankdata(-values, axis=1)
    means = ranks.mean(axis=0)
    spread = float(((ranks - (count + 1) / 2) ** 2).sum())  # with ties less than streams · k (k² − 1) / 12
    chi2 = (count - 1) * streams**2 * float(((means - (count + 1) / 2) ** 2).sum()) / spread if spread else 0.0
    most = streams * (count - 1)
    f = (streams - 1) * chi2 / (most - chi2) if chi2 < most * (1 - 1e-12) else float("inf")
    f_p = float(fdtrc(count - 1, (count - 1) * (streams - 1), f)) if np.isfinite(f) else 0.0
    q = float(studentized_range.ppf(1 - level, count, np.inf)) / np.sqrt(2)
    critical = float(q * np.sqrt(count * (count + 1) / (6 * streams)))
    return Ranking(means, chi2, float(chdtrc(count - 1, chi2)), f, f_p, critical, streams)


def joined(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """First and last place of each longest stretch of ascending mean ranks that differ by less than `critical`.

    Stretches of one are left out, and those that lie within another.
    """
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(place for place in range(first, len(ranks)) if ranks[place] - rank < critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
