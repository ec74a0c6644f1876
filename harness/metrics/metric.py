"""What a metric is: its entry in the table of metrics, and the forms that entries share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lorisbench.metrics import costs
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import Matrix

Unit = Literal["%", "points", "s", "ms", "MB", "images", "images/s", "GFLOP", "million", ""]
Direction = Literal["higher", "lower", ""]
Group = Literal["Accuracy (%)", "Time", "Size", "Compute"]
Source = Literal[
    "matrix.csv", "journal.jsonl", "latency.json", "journal.jsonl and latency.json", "decisions.csv and answers.csv",
    "predictions.npz", "within.csv and matrix.csv",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of a run. Its value is what `of_matrix` or `of_run`, whichever is given, returns.

    Attributes
    ----------
    name : column of results.csv.
    header : heading in tables, without the unit.
    unit : unit in which it is shown; per cent and points are stored as fractions.
    better : which direction is better; "" if neither is, so that no value is set in bold or compared.
    formula : definition in words and symbols, with its source if it was published.
    group : columns of the report that share a heading.
    of_matrix : function of the accuracy matrix (T, T), in fractions. It raises `UndefinedMetricError` if the matrix
        does not determine the metric.
    of_run : function of what else is stored about the run; see `costs`.
    beside_joint : function of a run's matrix and of that of joint training in the same order and under the same seed.
    source : the files that it is computed from.
    decimals : decimals shown in tables; None: about three significant figures for the column's largest value.
    spelt_out : heading beside published numbers, where authors give different figures the same name.
    leads : whether it comes before the others of its group, in tables and in comparisons of accuracies.
    in_results, in_tables : whether it is a column of results.csv, and of the report's tables.
    reason_of : the metric whose reason, in the column `undefined`, also applies to this one if it has none of its own.
    """

    name: str
    header: str
    unit: Unit
    better: Direction
    formula: str
    group: Group
    source: Source
    of_matrix: Callable[[Matrix], float] | None = None
    of_run: Callable[[RunRecord], float | None] | None = None
    beside_joint: Callable[[Matrix, Matrix], float] | None = None
    decimals: int | None = None
    spelt_out: str = ""
    leads: bool = False
    in_results: bool = True
    in_tables: bool = True
    reason_of: str = ""

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.of_matrix, self.of_run, self.beside_joint)) != 1:
            raise TypeError(f"metric {self.name}: one of of_matrix, of_run and beside_joint was expected")
        if self.beside_joint and self.in_results:
            raise TypeError(f"metric {self.name}: a line of results.csv is of one run alone")

    @property
    def scale(self) -> float:
        """The factor that turns a stored value into the unit shown."""
        return {"%": 100.0, "points": 100.0, "GFLOP": 1e-9, "million": 1e-6}.get(self.unit, 1.0)

    @property
    def heading(self) -> str:
        """The header with its unit."""
        return f"{self.header}, {self.unit}" if self.unit else self.header

    @property
    def column_header(self) -> str:
        """The column's heading under that of its group, which already states the unit if the group has one."""
        return self.header if self.group.endswith(f"({self.unit})") else self.heading


def accuracy(
    name: str,
    header: str,
    of_matrix: Callable[[Matrix], float],
    formula: str,
    *,
    unit: Literal["%", "points"] = "%",
    better: Direction = "higher",
    spelt_out: str = "",
    leads: bool = False,
    in_results: bool = True,
    in_tables: bool = True,
) -> Metric:
    """A metric of the accuracy matrix."""
    return Metric(
        name=name, header=header, unit=unit, better=better, formula=formula, group="Accuracy (%)",
        source="matrix.csv", of_matrix=of_matrix, decimals=2, spelt_out=spelt_out, leads=leads,
        in_results=in_results, in_tables=in_tables,
    )  # fmt: skip


def at_the_end(name: str, header: str, unit: Unit, better: Direction, formula: str, *, leads: bool = False) -> Metric:
    """A size that each journal entry holds under the metric's name; the last one counts."""
    return Metric(
        name=name, header=header, unit=unit, better=better, formula=formula, group="Size", source="journal.jsonl",
        of_run=costs.in_the_end(name), leads=leads,
    )  # fmt: skip


def of_prediction(
    name: str, header: str, unit: Unit, formula: str, of_run: Callable[[RunRecord], float | None],
    better: Direction = "lower", group: Group = "Time", reason_of: str = "",
) -> Metric:  # fmt: skip
    """What a prediction takes, in the report's table of latency rather than in that of all metrics."""
    return Metric(
        name=name, header=header, unit=unit, better=better, formula=formula, group=group, source="latency.json",
        of_run=of_run, reason_of=reason_of, in_tables=False,
    )  # fmt: skip


def of_compute(
    name: str, header: str, unit: Unit, formula: str, of_run: Callable[[RunRecord], float | None],
    better: Direction = "lower", decimals: int | None = None, reason_of: str = "",
) -> Metric:  # fmt: skip
    """What training took, in the report's table of compute rather than in that of all metrics."""
    return Metric(
        name=name, header=header, unit=unit, better=better, formula=formula, group="Compute", source="journal.jsonl",
        of_run=of_run, decimals=decimals, reason_of=reason_of, in_tables=False,
    )  # fmt: skip


def of_answers(
    name: str, header: str, formula: str, of_run: Callable[[RunRecord], float | None], *, source: Source,
    unit: Literal["%", "points"] = "%", better: Direction = "higher", reason_of: str = "",
) -> Metric:  # fmt: skip
    """A metric of accuracies that needs more than the matrix, in the report's table of further metrics."""
    return Metric(
        name=name, header=header, unit=unit, better=better, formula=formula, group="Accuracy (%)", source=source,
        of_run=of_run, decimals=2, in_tables=False, reason_of=reason_of,
    )  # fmt: skip
