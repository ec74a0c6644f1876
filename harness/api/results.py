"""The results of a comparison as tables, arrays and figures, read from its output folder alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lorisbench.api import restored, tallies
from lorisbench.api.answers import After, Images, Wanted, runs_of, tidy
from lorisbench.common.console import say
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest, select
from lorisbench.data.image_table import IMAGES
from lorisbench.report import frame, summary, tables
from lorisbench.report.stored import Stored
from lorisbench.runs.directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from lorisbench.export.trained import TrainedRun
    from lorisbench.report.drawings import Plans


class Predictions(NamedTuple):
    """What a run answered for every test image after each experience.

    predicted : int32 (experiences trained, images), classes; rows of -1 where no test followed (`evaluation.rows:
        last`). label : int32 (images,), the true classes.
    experience : int32 (images,), the experience to whose test set each image belongs.
    """

    predicted: np.ndarray
    label: np.ndarray
    experience: np.ndarray


class Results:
    """The results of an output folder, or of one of its streams, as they were when it was read.

    Attributes
    ----------
    out : the folder.
    streams : names of the streams that are in it, or of the one that this is about (see `on`).
    table : one row per run, the columns of results.csv (accuracies are fractions).
    experiences : one row per experience, the columns of experiences.csv.
    suite : the settings, with all defaults filled in. data : what data.json says about the images; by stream, if there
        are several.
    warnings : what the report warns of, such as folders of runs and damaged files that are left out.
    """

    def __init__(self, out: Path, stream: str | None = None) -> None:
        self.out = out
        self._all = frame.read_each(out) if stream is None else {stream: frame.read(out, stream)}
        self.streams: list[str] = list(self._all)
        each = list(self._all.values())
        several = len(each) > 1
        self.table: pd.DataFrame = pd.concat([one.runs for one in each], ignore_index=True) if several else each[0].runs
        self.experiences: pd.DataFrame = (
            pd.concat([one.experiences for one in each], ignore_index=True) if several else each[0].experiences
        )
        self.suite: dict[str, Any] = frame.read_suite(out) if several else each[0].suite
        self.data: dict[str, Any] = {name: one.data for name, one in self._all.items()} if several else each[0].data
        self.warnings: list[str] = list(dict.fromkeys(line for one in each for line in one.warnings))

    def on(self, stream: str) -> Results:
        """The results on one stream alone. Raises InputError for a name that is none."""
        return Results(self.out, *select("stream", [stream], self.streams))

    @property
    def _stored(self) -> Stored:
        """What is stored of the only stream. Raises InputError if there are several: nothing is averaged over them."""
        if len(self._all) > 1:
            raise InputError(f"{self.out} holds the streams {', '.join(self.streams)}: choose one by .on(stream)")
        return next(iter(self._all.values()))

    @property
    def strategies(self) -> list[str]:
        """Labels, in the suite's order."""
        return list(dict.fromkeys(label for each in self._all.values() for label in each.labels))

    @property
    def failed(self) -> pd.DataFrame:
        """The table's rows for runs that are not done, with the reason for each."""
        return self.table[self.table["status"] != "done"]

    @property
    def summary(self) -> pd.DataFrame:
        """The report's comparison: mean and 95 % interval of each strategy over seeds, accuracies in per cent.

        With several streams a row for each stream and strategy, the first column says which stream.
        """
        found = {name: tables.comparison(each, summary.summarise(each)).values for name, each in self._all.items()}
        if len(found) == 1:
            return next(iter(found.values()))
        told = []
        for name, values in found.items():
            values.insert(0, "stream", name)
            told.append(values)
        return pd.concat(told, ignore_index=True)

    def matrix(self, strategy: str, seed: int | None = None, order: int | None = None) -> np.ndarray:
        """Accuracy matrix R, float64 (T, T): R[i, j] is the fraction correct on test set j after training on i.

        Experiences are numbered by their position in the order. The mean over finished runs if no seed or order is
        given; NaN where a cell was not measured. Raises InputError for a strategy, seed or order that has no finished
        run, or if there are several streams: choose one by `on`.
        """
        found = [self._stored.matrices.get(run) for run in self._runs(strategy, seed, order)["run_id"]]
        matrices = [matrix for matrix in found if matrix is not None]
        if not matrices:
            raise InputError(f"{self.out / 'matrix.csv'}: holds no accuracies for {strategy!r}")
        return np.mean(matrices, axis=0)

    def predictions(self, strategy: str, seed: int | None = None, order: int | None = None) -> Predictions:
        """What one run answered. Raises InputError if there is none, or more than one with what is given."""
        runs = self._runs(strategy, seed, order)
        if len(runs) > 1:
            several = [key for key in ("seed", "order") if runs[key].nunique() > 1]
            told = " and ".join(f"the {key}s {_listed(runs[key].drop_duplicates())}" for key in several)
            raise InputError(f"{strategy!r} has {told}: give one of them")
        return Predictions(*RunDirectory(self.out / "runs" / str(runs["run_id"].iloc[0])).predictions())

    @cached_property
    def _images(self) -> Images:
        return Images(self.out, self._all)

    @property
    def images(self) -> pd.DataFrame:
        """A row for each image of the only stream: path, label, class_name, experience (in the stream's own order),
        split, factor, level, recording. Row i is the image with the number `image` i in `answers`.

        Raises InputError if there are several streams, or if the output says nothing of its images.
        """
        name, file = self._stored.runs["stream"].iloc[0], self.out / IMAGES
        if name not in self._images.tables:
            raise InputError(f"{file}: has no images of stream {name!r}; the command that made the output adds them")
        return self._images.tables[name]

    def answers(
        self,
        strategies: str | Sequence[str] | None = None,
        seeds: int | Iterable[int] | None = None,
        orders: int | Iterable[int] | None = None,
        after: After = "last",
    ) -> pd.DataFrame:
        """A row for each image that a run was tested on, with all that is known of it and of the answer.

        Columns: `stream` (if there are several), `strategy`, `seed`, `order`; `after_experience`, and `experience`, the
        test set that the image is in, both positions in the order; `image` (its number, see `images`), `path`,
        `recording`, `factor`, `level`; `label` and `class_name`; `predicted` and `predicted_name`; `correct`; `score`,
        the probability of the predicted class (NaN for runs without `evaluation.scores`, no column if none has them);
        `head`, which one answered (-1: none, or not told; no column if no run tells); `status` of the run, and whether
        that is `done`: `finished`. Texts are categories. What the output does not say is missing.

        Parameters
        ----------
        strategies, seeds, orders : which runs, one or several; all by default, unfinished ones too.
        after : `last`, the answers after the last experience that each run was tested after; `all`, or the numbers of
            experiences (runs that have not been tested after them yet have no rows).

        Raises InputError for a name or number that there is none of, or if no such run has stored answers.
        """
        wanted = Wanted(strategies, seeds, orders, after)
        runs = runs_of(self.out, self._all, wanted)
        return tidy(runs, self._images, after, self.streams, self.strategies)

    def accuracy_by(
        self,
        by: str | Sequence[str],
        strategies: str | Sequence[str] | None = None,
        seeds: int | Iterable[int] | None = None,
        orders: int | Iterable[int] | None = None,
        after: After = "last",
    ) -> pd.DataFrame:
        """How often finished runs answer rightly, by `class`, `recording`, `factor`, `level`, `experience`, `head` or
        `image`, or by several of them (`["factor", "level"]`).

        Columns: `stream` (if there are several), `strategy`, `after_experience` (unless `after` is `last`), those of
        `by`, `accuracy` in 0..1 over all runs, `sd` between them, `images` of each (on average) and how many `runs`.
        Runs of which `by` is not known are left out. Raises InputError as `answers` does, and for an unknown name.
        """
        runs = runs_of(self.out, self._all, Wanted(strategies, seeds, orders, after, finished=True))
        return tallies.accuracy_by(by, runs, self._images, after)

    def confusion(
        self,
        strategy: str,
        seed: int | Iterable[int] | None = None,
        order: int | Iterable[int] | None = None,
        after: After = "last",
    ) -> pd.DataFrame:
        """How many images of each class (rows) finished runs take for each class (columns), int64, summed over runs.

        Raises InputError as `answers` does, and if there are several streams: choose one by `on`.
        """
        of = {self._stored.runs["stream"].iloc[0]: self._stored}
        runs = runs_of(self.out, of, Wanted(strategy, seed, order, after, finished=True))
        return tallies.confusion(runs, self._images, after)

    def model(
        self, run: str, seed: int | None = None, order: int | None = None, plugins: Sequence[str | Path] = ()
    ) -> nn.Module:
        """The trained model of a finished run, on the CPU, in evaluation mode, with its backbone.

        forward: images uint8 (batch, 3, size, size), or features float32 (batch, width) where these were given, ->
        outputs (batch, classes), whose softmax the scores are.

        Parameters
        ----------
        run : a run's id, or a strategy: of its finished runs the first with this seed and order.
        plugins : files that define the strategy, where it is neither built in nor defined in this process.

        Raises InputError if there is no such run, or if its model cannot be restored.
        """
        return restored.model_of(self._trained(run, seed, order, plugins))

    def features(
        self,
        run: str,
        images: restored.Given | None = None,
        seed: int | None = None,
        order: int | None = None,
        plugins: Sequence[str | Path] = (),
    ) -> np.ndarray:
        """What the last layers of a run's model see of images, float32 (images, width).

        Parameters
        ----------
        run, seed, order, plugins : as for `model`.
        images : their numbers (`answers(...)["image"]`), for which the data set must be on this machine; or image
            files, or pixels, uint8 (images, height, width, 3), that need not be of it. By default all that the run was
            tested on, in the order of its answers.

        Raises InputError if the model has no features, or the data set is not here.
        """
        return restored.features_of(self, self._trained(run, seed, order, plugins), images)

    def pictures(self, images: restored.Numbers, size: int = 96) -> np.ndarray:
        """The pixels of images by their numbers, uint8 (images, size, size, 3), cropped and scaled as for a model.

        Raises InputError if the data set is not on this machine, or if there are several streams.
        """
        return restored.pictures(self, images, size)

    def _trained(self, run: str, seed: int | None, order: int | None, plugins: Sequence[str | Path]) -> TrainedRun:
        ids = list(self._stored.runs["run_id"])
        if run not in ids:
            if run not in self.strategies:
                raise InputError(f"{self.out}: no run or strategy {run!r}{nearest(str(run), [*self.strategies, *ids])}")
            run = str(self._runs(run, seed, order)["run_id"].iloc[0])
        return restored.read(self.out / "runs" / run, plugins)

    def plots(self) -> dict[str, Figure]:
        """Every plot of the report by name, such as `curves`, `forgetting`, `pareto`, `matrices`, `matrix_ewc`."""
        from lorisbench.report import style

        with style.plain_style():
            drawn = {plan.name: plan.draw() for plan in self._plans().plans}
        return {name: drawing.figure for name, drawing in drawn.items() if drawing is not None}

    def plot(self, name: str = "curves", inches: float = 0.0) -> Figure:
        """One plot of the report, so wide (0: 7 inches).

        Raises InputError for an unknown name, or if the plot's data are missing.
        """
        from lorisbench.report import style

        planned = {plan.name: plan for plan in self._plans(inches).plans}
        with style.plain_style():
            drawing = planned[name].draw() if name in planned else None
        if drawing is None:
            raise InputError(f"no plot {name!r} can be drawn from {self.out}{nearest(name, planned)}")
        return drawing.figure

    def _plans(self, inches: float = 0.0) -> Plans:
        from lorisbench.report import drawings

        return drawings.plans(self._stored, summary.summarise(self._stored), inches=inches)

    def report(self) -> Path:
        """Write the report (page, tables, plots) into the folder; returns the path of its index.html."""
        from lorisbench.report import write_report

        return write_report(self.out)

    def _runs(self, strategy: str, seed: int | None, order: int | None = None) -> pd.DataFrame:
        if strategy not in self.strategies:
            raise InputError(f"{self.out}: no strategy {strategy!r}{nearest(strategy, self.strategies)}")
        done = self._stored.done(strategy)
        chosen = done if seed is None else done[done["seed"] == seed]
        chosen = chosen if order is None else chosen[chosen["order"] == order]
        if chosen.empty:
            given = [f"{key} {value}" for key, value in (("order", order), ("seed", seed)) if value is not None]
            which = f"{', '.join(given)} of {strategy!r}" if given else repr(strategy)
            key = "seed" if seed is not None and not (done["seed"] == seed).any() else "order"
            there = f"; available: {_listed(done[key].drop_duplicates())}" if len(done) else ""
            raise InputError(f"{self.out}: {which} has no finished run{there}")
        return chosen

    def __repr__(self) -> str:
        states = summary.count_states(self.table["status"])
        return f"<Results of {', '.join(self.strategies)}: {states}, in {self.out}>"

    def _repr_html_(self) -> str:
        return "".join(
            (f"<p>{escape(name)}</p>" if len(self._all) > 1 else "") + self._html(each)
            for name, each in self._all.items()
        )

    def _html(self, stored: Stored) -> str:
        table = tables.comparison(stored, summary.summarise(stored))
        cells = [[" ± ".join(filter(None, (cell.text, cell.spread))) for cell in row] for row in table.rows]
        heads = [f"{head.group}: {head.text}" if head.group else head.text for head in table.heads]
        return pd.DataFrame(cells, columns=heads).to_html(index=False)


def _listed(seeds: pd.Series) -> str:
    return ", ".join(str(int(seed)) for seed in seeds)


def load(out: str | os.PathLike[str]) -> Results:
    """The results in an output folder of `lorisbench run`. Raises InputError if it holds none.

    Says which folders of runs are left out, such as copies; they are among `Results.warnings` too.
    """
    results = Results(Path(out))
    for line in dict.fromkeys(line for each in results._all.values() for line in each.left_out):
        say(line)
    return results
