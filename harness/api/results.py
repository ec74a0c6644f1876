"""The results of a comparison as tables, arrays and figures, read from its output folder alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lorisbench.common.console import say
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.report import frame, summary, tables
from lorisbench.runs.directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Predictions(NamedTuple):
    """What a run answered for every test image after each experience.

    predicted : int32 (experiences trained, images), classes. label : int32 (images,), the true classes.
    experience : int32 (images,), the experience to whose test set each image belongs.
    """

    predicted: np.ndarray
    label: np.ndarray
    experience: np.ndarray


class Results:
    """The results of an output folder as they were when it was read.

    Attributes
    ----------
    out : the folder.
    table : one row per run, the columns of results.csv (accuracies are fractions).
    experiences : one row per experience, the columns of experiences.csv.
    suite : the settings, with all defaults filled in. data : what data.json says about the images.
    warnings : what the report warns of, such as folders of runs and damaged files that are left out.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._stored = frame.read(out)
        self.table: pd.DataFrame = self._stored.runs
        self.experiences: pd.DataFrame = self._stored.experiences
        self.suite: dict[str, Any] = self._stored.suite
        self.data: dict[str, Any] = self._stored.data
        self.warnings: list[str] = self._stored.warnings

    @property
    def strategies(self) -> list[str]:
        """Labels, in the suite's order."""
        return self._stored.labels

    @property
    def failed(self) -> pd.DataFrame:
        """The table's rows for runs that are not done, with the reason for each."""
        return self.table[self.table["status"] != "done"]

    @property
    def summary(self) -> pd.DataFrame:
        """The report's comparison: mean and 95 % interval of each strategy over seeds, accuracies in per cent."""
        return tables.comparison(self._stored, summary.summarise(self._stored)).values

    def matrix(self, strategy: str, seed: int | None = None) -> np.ndarray:
        """Accuracy matrix R, float64 (T, T): R[i, j] is the fraction correct on test set j after training on i.

        The mean over finished runs if no seed is given; NaN where a cell was not measured. Raises InputError for a
        strategy or seed that has no finished run.
        """
        found = [self._stored.matrices.get(run) for run in self._runs(strategy, seed)["run_id"]]
        matrices = [matrix for matrix in found if matrix is not None]
        if not matrices:
            raise InputError(f"{self.out / 'matrix.csv'}: holds no accuracies for {strategy!r}")
        return np.mean(matrices, axis=0)

    def predictions(self, strategy: str, seed: int | None = None) -> Predictions:
        """What one run answered. Raises InputError if there is none, or if there are several and no seed is given."""
        runs = self._runs(strategy, seed)
        if len(runs) > 1:
            raise InputError(f"{strategy!r} has the seeds {_listed(runs['seed'])}: give one of them")
        return Predictions(*RunDirectory(self.out / "runs" / str(runs["run_id"].iloc[0])).predictions())

    def plots(self) -> dict[str, Figure]:
        """Every plot of the report by name, such as `curves`, `forgetting`, `latency`, `matrices`, `matrix_ewc`."""
        from lorisbench.report import drawings, style

        with style.plain_style():
            drawn = drawings.draw(self._stored, summary.summarise(self._stored))
        return {drawing.name: drawing.figure for drawing in drawn.all()}

    def plot(self, name: str = "curves") -> Figure:
        """One plot of the report. Raises InputError for an unknown name, or if the plot's data are missing."""
        figures = self.plots()
        if name not in figures:
            raise InputError(f"no plot {name!r} can be drawn from {self.out}{nearest(name, figures)}")
        return figures[name]

    def report(self) -> Path:
        """Write the report (page, tables, plots) into the folder; returns the path of its index.html."""
        from lorisbench.report import write_report

        return write_report(self.out)

    def _runs(self, strategy: str, seed: int | None) -> pd.DataFrame:
        if strategy not in self.strategies:
            raise InputError(f"{self.out}: no strategy {strategy!r}{nearest(strategy, self.strategies)}")
        done = self._stored.done(strategy)
        chosen = done if seed is None else done[done["seed"] == seed]
        if chosen.empty:
            which = f"seed {seed} of {strategy!r}" if seed is not None else repr(strategy)
            there = f"; available: {_listed(done['seed'])}" if len(done) else ""
            raise InputError(f"{self.out}: {which} has no finished run{there}")
        return chosen

    def __repr__(self) -> str:
        states = summary.count_states(self.table["status"])
        return f"<Results of {', '.join(self.strategies)}: {states}, in {self.out}>"

    def _repr_html_(self) -> str:
        table = tables.comparison(self._stored, summary.summarise(self._stored))
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
    for line in results._stored.left_out:
        say(line)
    return results
