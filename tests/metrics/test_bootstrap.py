"""The bootstrap over seeds, orders and recordings against closed forms, brute force and simulated truths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lorisbench.metrics.bootstrap import Bootstrap, Cells, scores_of, strata_of

TESTED = Cells(np.repeat([0, 1, 2], 8), np.arange(24), np.full(24, 6))


def drawn(seeds: int, effect: float = 0.0, rng: int | np.random.Generator = 0, spread: float = 0.03) -> Bootstrap:
    """Two strategies on 24 recordings of 6 images, of unlike difficulty as seeds are; a is better by `effect`."""
    generator = np.random.default_rng(rng)
    hard = generator.normal(0, 0.12, (2, 24))  # what each makes of a recording
    right = []
    for label in range(2):
        for _ in range(seeds):
            chance = 0.7 + effect * (1 - label) + generator.normal(0, spread) + hard[label]
            right.append(generator.binomial(6, np.clip(chance, 0, 1)))
    scores = scores_of(np.array(right), TESTED)
    runs = {"a": {(0, s): s for s in range(seeds)}, "b": {(0, s): seeds + s for s in range(seeds)}}
    return Bootstrap(runs, scores.means, scores.parts, strata_of(TESTED), resamples=1000)


def test_parts_are_what_a_recording_moves_the_mean_by() -> None:
    """Of equal recordings exactly: each drawn again, in place of another of its test set, gives the mean itself."""
    right = np.random.default_rng(1).integers(0, 7, (2, 24))
    scores = scores_of(right, TESTED)
    assert scores.means == pytest.approx([np.mean(row.reshape(3, 8).sum(axis=1) / 48) for row in right])
    times = np.ones(24)
    times[[3, 5]] = 2, 0
    again = scores_of(np.stack([right[0, np.repeat(np.arange(24), times.astype(int))]]), TESTED)
    assert again.means[0] == pytest.approx(scores.means[0] + scores.parts[0] @ (times - 1))


def test_recordings_of_several_test_sets_are_drawn_together() -> None:
    experience, unit = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 3, 4])
    strata = strata_of(Cells(experience, unit, np.ones(6, int)))
    assert len({*strata[:3]}) == 1 and len({*strata[3:]}) == 1 and strata[0] != strata[3]


@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_seeds_alone_come_to_students_t(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(0.8, 0.02, seeds)
    found = Bootstrap({"a": {(0, s): s for s in range(seeds)}}, values, resamples=40_000).mean("a")
    t = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.together == found.by_source["seeds"] and found.varied == ("seeds",)
    width = t.high - t.low
    assert np.ptp(found.together) == pytest.approx(width, rel=0.08)
    assert found.together.low == pytest.approx(t.low, abs=0.12 * width)


def test_the_spread_of_each_source_is_its_closed_form_and_together_they_add_up() -> None:
    rng = np.random.default_rng(5)
    seeds, orders = 30, 12
    right = rng.integers(2, 7, (seeds * orders, 24))
    scores = scores_of(right, TESTED)
    means = scores.means + np.repeat(rng.normal(0, 0.05, seeds), orders) + np.tile(rng.normal(0, 0.04, orders), seeds)
    runs = {"a": {(o, s): s * orders + o for s in range(seeds) for o in range(orders)}}
    found = Bootstrap(runs, means, scores.parts, strata_of(TESTED), resamples=40_000).mean("a")
    table = means.reshape(seeds, orders)
    influence = scores.parts.mean(axis=0).reshape(3, 8) * 8
    errors = {
        "seeds": (table.mean(axis=1).std(ddof=1) / np.sqrt(seeds), seeds - 1),
        "orders": (table.mean(axis=0).std(ddof=1) / np.sqrt(orders), orders - 1),
        "recordings": (np.sqrt((influence.var(axis=1, ddof=1) / 8).sum()), 21),
    }
    for source, (error, free) in errors.items():
        half = stats.t.ppf(0.975, free) * error
        low, high = found.by_source[source]
        assert (high - low) / 2 == pytest.approx(half, rel=0.08), source
    whole = np.sqrt(sum((np.subtract(*found.by_source[source]) / 2) ** 2 for source in errors))
    assert (found.together.high - found.together.low) / 2 == pytest.approx(whole, rel=0.05)


def test_what_strategies_share_falls_out_of_their_difference() -> None:
    boot = drawn(4)
    shifted = Bootstrap(
        {"a": boot.runs["a"], "b": {run: row + 4 for run, row in boot.runs["a"].items()}},
        np.concatenate([boot.means[:4], boot.means[:4] - 0.01]),
        np.concatenate([boot.parts[:4]] * 2) if boot.parts is not None else None,
        boot.strata,
    )
    difference = shifted.difference("a", "b")
    assert difference.together == pytest.approx((0.01, 0.01)) and difference.p < 0.001
    assert np.ptp(shifted.mean("a").together) > 0.05


def test_only_runs_that_both_have_are_compared() -> None:
    boot = Bootstrap({"a": {(0, 0): 0, (0, 1): 1, (0, 2): 2}, "b": {(0, 1): 3, (0, 2): 4, (0, 7): 5}}, np.arange(6.0))
    difference = boot.difference("a", "b")
    assert difference.runs == ((0, 1), (0, 2)) and difference.mean == -2
    assert boot.p_values("a", ["b"])[0] == difference.p
    nothing = Bootstrap({"a": {(0, 0): 0}, "b": {(0, 1): 1}}, np.ones(2)).difference("a", "b")
    assert np.isnan(nothing.mean) and np.isnan(nothing.p) and nothing.runs == ()


def test_the_same_files_give_the_same_figures_and_all_p_agree() -> None:
    first, second = drawn(3, 0.02), drawn(3, 0.02)
    assert repr(first.difference("a", "b")) == repr(second.difference("a", "b"))
    assert first.p_values("a", ["b"])[0] == pytest.approx(first.difference("a", "b").p, abs=0.005)


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.93), (10, 0.92)])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds: int, least: float) -> None:
    """Of 300 comparisons in which nothing is true, drawn with recordings and seeds of their own, 95 % cover 0."""
    generator = np.random.default_rng(seeds)
    covered = []
    for _ in range(300):
        low, high = drawn(seeds, rng=generator).difference("a", "b").together
        covered.append(low <= 0 <= high)
    assert least <= np.mean(covered) <= 0.995
