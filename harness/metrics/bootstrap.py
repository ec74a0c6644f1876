"""How sure a mean accuracy, or a difference of two, is: a bootstrap over seeds, orders and test recordings.

A run's accuracy on the last row depends on its seed, on the order of the experiences, and on which images it was
tested on. Images of one recording are alike, so that whole recordings are drawn. Every strategy is trained under the
same seeds and orders and tested on the same recordings: the three are crossed, and what one strategy draws the others
draw, too.

Each source is drawn by itself, with replacement, as many units as there are, recordings within the test sets that they
belong to. What a draw moves a mean by is worked out to the first order, which is exact for seeds and orders, and for
recordings of equal size; then the sources apart are products of weights and influences, and together they are the sum.
(Drawing all at once by products of the weights counts what two sources do to each other three times: Owen 2007, The
pigeonhole bootstrap, Annals of Applied Statistics 1. Here it counts once in each source.)

Few units say little of their own spread, and a plain bootstrap of three seeds finds too little of it (Hesterberg 2015,
What teachers should know about the bootstrap, The American Statistician 69, section 3). So what a source does is
multiplied by √(n / (n − 1)) and, in each draw, by √(ν / χ²), with χ² drawn of ν degrees of freedom: units that were
normal would give Student's t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 20_000
SOURCES = ("seeds", "orders", "recordings")
Floats = NDArray[np.float64]
Draws = dict[tuple[str, int | bytes], NDArray[Any]]  # by source, and how many units, or which are drawn together
Run = tuple[int, int]  # order, seed


class Cells(NamedTuple):
    """Cells that test images fall into: those of one recording in one test set.

    experience, unit, n : int (cells,), the test set, the recording (numbered from 0), and how many images.
    """

    experience: NDArray[np.integer]
    unit: NDArray[np.integer]
    n: NDArray[np.integer]

    @property
    def units(self) -> int:
        return int(self.unit.max()) + 1 if len(self.unit) else 0


class Scores(NamedTuple):
    """Accuracies on the last row, and what each recording adds to them.

    by_test : (runs, test sets), fractions. parts : (runs, units), how far the mean over test sets would move for each
    further time that a recording is drawn: the ratio estimator's linear part, 0 in sum over a test set.
    """

    by_test: Floats
    parts: Floats

    @property
    def means(self) -> Floats:
        """Mean over the test sets, (runs,)."""
        return self.by_test.mean(axis=1)


def scores_of(right: NDArray[np.integer], tested: Cells) -> Scores:
    """Scores from how many images of each cell runs answer rightly, (runs, cells)."""
    experiences = np.unique(tested.experience)
    member = (tested.experience[:, None] == experiences).astype(np.float64)  # (cells, test sets)
    n = tested.n.astype(np.float64)
    images = n @ member
    by_test = (right @ member) / images
    residual = (right - (by_test @ member.T) * n) / ((member @ images) * len(experiences))
    of_unit = np.zeros((len(tested.unit), tested.units))
    of_unit[np.arange(len(tested.unit)), tested.unit] = 1
    return Scores(by_test, residual @ of_unit)


def strata_of(tested: Cells) -> NDArray[np.int64]:
    """For each unit the stratum that it is drawn in, (units,): its test set, or those that share recordings with it."""
    parent = list(range(int(tested.experience.max()) + 1)) if len(tested.experience) else []

    def root(of: int) -> int:
        while parent[of] != of:
            of = parent[of]
        return of

    first: dict[int, int] = {}
    for experience, unit in zip(tested.experience.tolist(), tested.unit.tolist(), strict=True):
        at = root(experience)
        parent[at] = root(first.setdefault(unit, at))
    return np.array([root(first[unit]) for unit in range(tested.units)], dtype=np.int64)


class Spread(NamedTuple):
    """95 % interval of a mean from one source, or from all. NaN where the source has fewer than two units."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two; its interval by each source and by all together.

    runs : the (order, seed) that it is of. p : two-sided, of no difference from 0, by all sources that have two units;
    NaN without one. varied : those sources.
    """

    mean: float
    by_source: Mapping[str, Spread]
    together: Spread
    p: float
    runs: tuple[Run, ...]
    varied: tuple[str, ...]


@dataclass(frozen=True)
class Bootstrap:
    """Draws of seeds, orders and recordings, the same for all strategies.

    runs : of each strategy, by (order, seed), the row of `means` and `parts`. means : (rows,). parts : (rows, units),
    as in `Scores`; None where nothing is known of the answers to single images. strata : as `strata_of` gives them.
    level : of what the intervals leave out. Deterministic: what is drawn depends on `seed` and on how many units there
    are. kept : what was drawn, for whoever draws as many again; another bootstrap's may be given. Everything is in the
    unit of `means` and `parts`.
    """

    runs: Mapping[str, Mapping[Run, int]]
    means: Floats
    parts: Floats | None = None
    strata: NDArray[np.integer] | None = None
    resamples: int = RESAMPLES
    level: float = 0.05
    seed: int = 0
    kept: Draws = field(default_factory=dict, repr=False)

    def mean(self, label: str) -> Estimate:
        """A strategy's mean over its runs: over orders within a seed, then over seeds."""
        return self._estimate(self._of(label))

    def difference(self, first: str, second: str) -> Estimate:
        """First − second, over the runs that both have."""
        return self._estimate(self._difference(first, second))

    def p_values(self, first: str, others: Sequence[str]) -> Floats:
        """The p of the difference of `first` and each of `others`, (others,), for which no interval is worked out."""
        found = np.full(len(others), np.nan)
        alike = [place for place, other in enumerate(others) if self.runs[other].keys() == self.runs[first].keys()]
        if alike and self._totals:
            draws = self._totals[first][:, None] - np.stack([self._totals[others[place]] for place in alike], axis=1)
            found[alike] = self._p_of(draws)
        for place in sorted(set(range(len(others))) - set(alike)):
            column = self._difference(first, others[place])
            moves = self._moves(column)
            if moves:
                found[place] = self._p_of((_mean(column.values) + _together(moves))[:, None])[0]
        return found

    @cached_property
    def _totals(self) -> dict[str, NDArray[np.float32]]:
        """Each strategy's mean in each draw of all sources; empty if nothing can be drawn for one of them."""
        alike = len({frozenset(own) for own in self.runs.values()}) == 1
        if alike and (runs := tuple(sorted(next(iter(self.runs.values()))))):
            return self._totals_of(runs)
        columns = {label: self._of(label) for label in self.runs}
        moves = {label: self._moves(column) for label, column in columns.items()}
        if not all(moves.values()):
            return {}
        return {label: _mean(columns[label].values) + _together(moves[label]) for label in self.runs}

    def _totals_of(self, runs: tuple[Run, ...]) -> dict[str, NDArray[np.float32]]:
        """The same where all strategies have these runs: one product for all of them in place of one for each."""
        values = np.array([[self.means[own[run]] for run in runs] for own in self.runs.values()])
        weights = _weights_of(runs)
        means = values @ np.array([weights[run] for run in runs])
        moves = list(self._moves_of(values, runs).values())
        if self._drawn is not None:
            moves.append(np.stack([self._moved[label] for label in self.runs], axis=1))
        if not moves:
            return {}
        totals = np.ascontiguousarray((means.astype(np.float32) + np.sum(moves, axis=0)).T)
        return dict(zip(self.runs, totals, strict=True))

    def _difference(self, first: str, second: str) -> _Column:
        shared = self._shared(first, second)
        ours, theirs = self._of(first, shared), self._of(second, shared)
        values = {run: ours.values[run] - theirs.values[run] for run in shared}
        return _Column(values, ours.moved - theirs.moved)

    def _shared(self, first: str, second: str) -> tuple[Run, ...]:
        return tuple(sorted(self.runs[first].keys() & self.runs[second].keys()))

    def _of(self, label: str, runs: Sequence[Run] | None = None) -> _Column:
        own = self.runs[label]
        chosen = tuple(sorted(own)) if runs is None else tuple(runs)
        values = {run: float(self.means[own[run]]) for run in chosen}
        whole = len(chosen) == len(own)
        moved = self._moved[label] if whole and label in self._moved else self._move(label, chosen)
        return _Column(values, moved)

    @cached_property
    def _moved(self) -> dict[str, NDArray[np.float32]]:
        """How far each draw of recordings moves each strategy's mean over all of its runs."""
        if self._drawn is None:
            return {}
        influence = np.array([self._influence(label, tuple(own)) for label, own in self.runs.items()]).reshape(
            len(self.runs), -1
        )
        moved = self._drawn_times(influence)
        return {label: moved[:, place] for place, label in enumerate(self.runs)}

    def _move(self, label: str, runs: Sequence[Run]) -> NDArray[np.float32]:
        if self._drawn is None or not runs:
            return np.zeros(self.resamples, dtype=np.float32)
        return self._drawn_times(self._influence(label, runs)[None])[:, 0]

    def _influence(self, label: str, runs: Sequence[Run]) -> Floats:
        assert self.parts is not None
        weights = _weights_of(runs)
        return sum((weights[run] * self.parts[self.runs[label][run]] for run in runs), np.zeros(self.parts.shape[1]))

    def _drawn_times(self, influence: Floats) -> NDArray[np.float32]:
        """(resamples, columns): the draws of recordings times influences (columns, units), with the factors above."""
        assert self._drawn is not None and self.strata is not None
        counts = np.bincount(self.strata)[self.strata]
        scaled = (influence * np.sqrt(counts / np.maximum(counts - 1, 1))).astype(np.float32).T
        free = int((np.bincount(self.strata) - 1).clip(0).sum())
        found = np.empty((self.resamples, scaled.shape[1]), dtype=np.float32)
        for first in range(0, self.resamples, 4096):
            part = self._drawn[first : first + 4096].astype(np.float32) - 1
            found[first : first + 4096] = part @ scaled
        return found * _factor(self._generator("recordings' spread"), free, self.resamples)[:, None]

    @cached_property
    def _drawn(self) -> NDArray[np.uint16] | None:
        """How often each draw has each recording, (resamples, units); None if there is nothing to draw from."""
        if self.parts is None or self.strata is None or not self.parts.shape[1]:
            return None
        if np.bincount(self.strata).max() < 2:
            return None
        numbers, strata = np.unique(self.strata, return_inverse=True)
        key = "recordings", strata.astype(np.int64).tobytes()
        if key not in self.kept:
            self.kept[key] = self._draw_within(strata, len(numbers))
        return self.kept[key]

    def _draw_within(self, strata: NDArray[np.integer], count: int) -> NDArray[np.uint16]:
        """(resamples, units): how often each is drawn within its stratum, of those from 0 to `count` - 1."""
        generator = self._generator("recordings")
        drawn = np.ones((self.resamples, len(strata)), dtype=np.uint16)
        for stratum in range(count):
            places = np.flatnonzero(strata == stratum)
            if len(places) < 2:
                continue
            step = max(1, 2_000_000 // len(places))
            for first in range(0, self.resamples, step):
                rows = min(step, self.resamples - first)
                drawn[first : first + rows, places] = _counts(generator, rows, len(places))
        return drawn

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose.encode("utf-8")])

    def _weights_over(self, source: str, count: int) -> NDArray[np.float32]:
        """(resamples, count): how much more often than once each unit is drawn, with the factors above."""
        key = source, count
        if key not in self.kept:
            generator = self._generator(f"{source} {count}")
            weights = (_counts(generator, self.resamples, count) - 1.0) * np.sqrt(count / (count - 1))
            weights *= _factor(generator, count - 1, self.resamples)[:, None]
            self.kept[key] = weights.astype(np.float32)
        return self.kept[key]

    def _moves(self, column: _Column) -> dict[str, NDArray[np.float32]]:
        """How far each draw of each source moves the mean, (resamples,), of the sources that have two units."""
        runs = tuple(column.values)
        values = np.array([list(column.values.values())])
        moves = {source: moved[:, 0] for source, moved in self._moves_of(values, runs).items()}
        if self._drawn is not None and runs:
            moves["recordings"] = column.moved
        return moves

    def _moves_of(self, values: Floats, runs: Sequence[Run]) -> dict[str, NDArray[np.float32]]:
        """The same of seeds and orders alone, (resamples, columns), for values (columns, runs)."""
        return {
            source: self._weights_over(source, len(units)) @ _influence_of(values, runs, place, units).T
            for source, place in (("seeds", 1), ("orders", 0))
            if len(units := sorted({run[place] for run in runs})) > 1
        }

    def _estimate(self, column: _Column) -> Estimate:
        mean, moves = _mean(column.values), self._moves(column)
        by_source = {source: self._spread(mean, moves.get(source)) for source in SOURCES}
        together, p = self._spread(mean, None), float("nan")
        if moves:
            total = _together(moves)
            together, p = self._spread(mean, total), float(self._p_of((mean + total)[:, None])[0])
        return Estimate(mean, by_source, together, p, tuple(column.values), tuple(moves))

    def _p_of(self, draws: NDArray[np.floating]) -> Floats:
        """Two-sided p of no difference from 0, of each column of (resamples, columns)."""
        below, above = np.count_nonzero(draws <= 0, axis=0), np.count_nonzero(draws >= 0, axis=0)
        return np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (1 + self.resamples))

    def _spread(self, mean: float, moved: NDArray[np.floating] | None) -> Spread:
        if moved is None:
            return Spread(float("nan"), float("nan"))
        low, high = np.quantile(moved, [self.level / 2, 1 - self.level / 2])
        return Spread(mean + float(low), mean + float(high))


class _Column(NamedTuple):
    """What is estimated: a value of each run, and how far each draw of recordings moves its mean."""

    values: dict[Run, float]
    moved: NDArray[np.float32]


def _weights_of(runs: Sequence[Run]) -> dict[Run, float]:
    """The weight of each run in the mean over orders within a seed, then over seeds."""
    seeds = [seed for _, seed in runs]
    return {run: 1 / (seeds.count(run[1]) * len(set(seeds))) for run in runs}


def _influence_of(values: Floats, runs: Sequence[Run], place: int, units: Sequence[int]) -> NDArray[np.float32]:
    """How far each unit of a source moves the means when it is drawn once more, (columns, units).

    values : of each run, (columns, runs). place : of the source in a run. units : its seeds, or its orders.
    """
    shares = np.zeros((len(runs), len(units)))
    for number, unit in enumerate(units):
        own = [at for at, run in enumerate(runs) if run[place] == unit]
        weights = _weights_of([runs[at] for at in own])
        shares[own, number] = [weights[runs[at]] for at in own]
    of_units = values @ shares
    return ((of_units - of_units.mean(axis=1, keepdims=True)) / len(units)).astype(np.float32)


def _mean(values: Mapping[Run, float]) -> float:
    if not values:
        return float("nan")
    weights = _weights_of(tuple(values))
    return float(sum(weights[run] * value for run, value in values.items()))


def _together(moves: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.sum(list(moves.values()), axis=0)


def _counts(generator: np.random.Generator, rows: int, count: int) -> NDArray[np.int64]:
    """How often each of `count` units is among `count` drawn with replacement, int (rows, count)."""
    drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)


def _factor(generator: np.random.Generator, free: int, rows: int) -> NDArray[np.float32]:
    """√(ν / χ²) for χ² drawn of ν = `free` degrees of freedom, (rows,)."""
    return np.sqrt(free / generator.chisquare(free, rows)).astype(np.float32)
