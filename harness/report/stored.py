"""What a suite stored about one stream, as the report has it."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_table
from lorisbench.metrics.elsewhere import MARK
from lorisbench.suite.orders import permutation

Matrix = NDArray[np.float64]
Numbers = NDArray[np.float64]

TEXT = {"run_id", "stream", "name", "factor", "level", "verdict"}
"""Columns that stay text, beside those of results.csv."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What a suite wrote to its folder about one stream, read back.

    `runs`: one row per run, columns as in results.csv. `names`: the experiences in the order in which they come; only
    positions if there are several orders. `own_names`: in the stream's own order. `suite`: the settings, of those that
    a stream may have of its own this one's. `stream`: its name, empty if it is the only one. `matrices`: run_id
    → accuracy matrix (T, T) in fractions, NaN where not measured. `environments`, `latencies`: run_id → env.json and
    latency.json, for the runs that have one.
    `machines`: latency.csv, as text; empty if there is none.
    `warnings`: sentences about inconsistencies. `left_out`: those about rows and folders that are not counted.
    """

    out: Path
    suite: dict[str, Any]
    data: dict[str, Any]
    runs: pd.DataFrame
    experiences: pd.DataFrame
    names: list[str]
    matrices: dict[str, Matrix]
    environments: dict[str, dict[str, Any]]
    latencies: dict[str, dict[str, Any]]
    warnings: list[str]
    left_out: list[str] = field(default_factory=list)
    stream: str = ""
    own_names: list[str] = field(default_factory=list)
    machines: pd.DataFrame = field(default_factory=pd.DataFrame)

    @cached_property
    def orders(self) -> list[int]:
        """Numbers of the orders in which the experiences came, ascending."""
        return sorted({int(order) for order in self.runs["order"].dropna()}) if "order" in self.runs else [0]

    def names_in(self, order: int) -> list[str]:
        """The experiences in one of the orders."""
        return [self.own_names[own] for own in self.permuted(order)]

    def permuted(self, order: int) -> list[int]:
        """The experiences, numbered as in the stream's own order, in one of the orders."""
        return permutation(order, len(self.own_names)) if order else list(range(len(self.own_names)))

    @property
    def labels(self) -> list[str]:
        """Strategies in the suite's order, then any that occur only in the results."""
        return list(dict.fromkeys([*self.settings, *self.runs["strategy"]]))

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Each strategy's settings by label, as in suite.yaml."""
        strategies = self.suite.get("strategies")
        if not isinstance(strategies, dict):
            return {}
        return {str(label): value if isinstance(value, dict) else {} for label, value in strategies.items()}

    @property
    def about(self) -> list[str]:
        """Labels of the strategies that the report is about, in the suite's order."""
        wanted = self.suite.get("about")
        wanted = wanted if isinstance(wanted, list) else [wanted]
        return [label for label in self.settings if label in wanted]

    def kept(self, run: str, name: str) -> pd.DataFrame | None:
        """A table that the strategy of a run kept, with numbers; None without one that can be read and has a row.

        Read when it is asked for: the tables of all runs are much, and few of them are drawn.
        """
        try:
            table = numbers_of(self.out / "runs" / run / f"{name}.csv") if is_plain(run) else pd.DataFrame()
        except InputError:  # `report.kept` names it
            return None
        return None if table.empty else table

    def remarks(self, label: str) -> list[str]:
        """What a reader must know about a strategy before comparing it, as in suite.yaml."""
        remarks = self.settings.get(label, {}).get("remarks")
        return [str(remark) for remark in remarks] if isinstance(remarks, list) else []

    @cached_property
    def elsewhere(self) -> set[str]:
        """Labels of results from elsewhere beside those of ours; none where there are no others.

        Of these no answer to a single image is known, so that they take part in no test.
        """
        marked = {label for label, settings in self.settings.items() if MARK in settings}
        return marked if set(self.runs["strategy"]) - marked else set()

    def done(self, label: str) -> pd.DataFrame:
        """The finished runs of one strategy, by order and seed; only these count in tables and plots."""
        return self._done[label] if label in self._done else self.runs.iloc[:0]

    @cached_property
    def _done(self) -> dict[str, pd.DataFrame]:
        """The same by label: every cell of a table asks for it."""
        finished = self.runs[self.runs["status"] == "done"]
        by = ["order", "seed"] if len(self.orders) > 1 else "seed"
        return {str(label): mine.sort_values(by) for label, mine in finished.groupby("strategy")}

    def per_seed(self, label: str, column: str) -> Numbers:
        """A column of a strategy's finished runs, a value for each seed: the mean over the orders."""
        done = self.done(label)
        values = done[column] if len(self.orders) < 2 else done.groupby("seed")[column].mean()
        return values.to_numpy(dtype=float)

    def stack(self, label: str) -> Matrix:
        """Accuracy matrices of a strategy's finished runs, shape (seeds, T, T); (0, T, T) if there are none.

        With several orders the mean over these, by the position in the order.
        """
        done = self.done(label)
        found = [self.matrices[run] for run in done["run_id"] if run in self.matrices]
        if len(self.orders) > 1:
            stored = done[done["run_id"].isin(self.matrices)]
            by_seed = [[self.matrices[run] for run in each["run_id"]] for _, each in stored.groupby("seed")]
            found = [np.mean(matrices, axis=0) for matrices in by_seed]
        size = len(self.names)
        return np.stack(found) if found else np.empty((0, size, size))


def is_plain(run: str) -> bool:
    """Whether a run id names a folder directly below runs/ rather than one elsewhere."""
    return run not in ("", ".", "..") and Path(run).name == run


def numbers_of(path: Path) -> pd.DataFrame:
    """A CSV file; name columns stay text (an experience may be called "nan" or "01"), the others become numbers."""
    if not path.exists():
        return pd.DataFrame()
    table = read_table(path)
    for column in table.columns:
        if column not in TEXT:
            table[column] = pd.to_numeric(table[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
    return table
