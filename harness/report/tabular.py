"""A table of a report: its cells, and how one is made of columns that have an interval for each strategy."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from string import ascii_lowercase
from typing import Literal

import numpy as np
import pandas as pd

from lorisbench.metrics.intervals import Interval
from lorisbench.metrics.metric import Direction
from lorisbench.metrics.records import AS_SEED
from lorisbench.report.standing import standing
from lorisbench.report.stored import Stored
from lorisbench.report.summary import DASH, Summary, number, replay

DAGGER = "†"
INTERVAL = (
    "Mean ± half-width of the 95 % Student-t interval over seeds; no ± where only one run has a value (and, "
    "for time and size, where all runs agree). Bold: best mean of a column, ties included"
)
UNDERLINED = {
    "drawn": "on the last row drawn over {over}, corrected for the number of comparisons (Holm)",
    "paired": "{other}by paired t tests over seeds alone, corrected for the number of comparisons (Holm)",
    "overlapping": "{where}as 95 % intervals over seeds overlap, not corrected for the number of comparisons",
    "exclusive": "in columns of time and size as intervals overlap, and nothing is bold then",
}
"""By what a strategy cannot be told from the best, for each kind of column."""
Rule = Literal["drawn", "paired", "overlapping", "exclusive"]


@dataclass(frozen=True)
class Cell:
    """A cell: text, half-width of its interval, whether it is the best, its footnote's mark; whether it is not the
    best, but cannot be told from it.

    `value` and `half` are the numbers that `text` and `spread` show, where they are numbers.
    """

    text: str
    spread: str = ""
    bold: bool = False
    mark: str = ""
    underlined: bool = False
    value: float | None = None
    half: float | None = None


def emphasised(cell: Cell, text: str, bold: tuple[str, str], underlined: tuple[str, str]) -> str:
    """A cell's text between what makes it bold or underlined in a format; bold comes first."""
    before, after = bold if cell.bold else underlined if cell.underlined else ("", "")
    return f"{before}{text}{after}"


@dataclass(frozen=True)
class Head:
    """A column's heading. Numbers are right-aligned; `group` spans neighbours that share it.

    `key` names the column for a reader who chooses some of them, and `data` its columns in the table's `values`; see
    `keys` and `choosing.choose`.
    """

    text: str
    group: str = ""
    number: bool = True
    key: str = ""
    data: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """A line below a table; `mark` is that of the cells it refers to, `column` the key of the column it defines."""

    text: str
    mark: str = ""
    column: str = ""


@dataclass
class Table:
    """A table as shown (`rows`; `states` holds the state of each row that has one) and as data (`values`).

    Rows of both are in the same order. `paper`: keys of the columns that a paper shows; all if there are none.
    """

    name: str
    caption: str
    heads: list[Head]
    rows: list[list[Cell]]
    values: pd.DataFrame
    notes: list[Note] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    paper: tuple[str, ...] = ()


def keys(table: Table) -> list[str]:
    """What each column is called where columns are chosen: its key, or else its heading in lower case; all differ."""
    found: list[str] = []
    for head in table.heads:
        words = head.key or "_".join(re.findall(r"\w+", f"{head.group} {head.text}".lower())) or "column"
        name, count = words, 1
        while name in found:
            count += 1
            name = f"{words}_{count}"
        found.append(name)
    return found


def groups(heads: Sequence[Head]) -> list[tuple[str, int]]:
    """Runs of neighbouring columns of one group: (group, how many columns)."""
    found: list[tuple[str, int]] = []
    for head in heads:
        if found and found[-1][0] == head.group:
            found[-1] = (head.group, found[-1][1] + 1)
        else:
            found.append((head.group, 1))
    return found


@dataclass(frozen=True)
class Column:
    key: str
    head: Head
    better: Direction
    interval: Callable[[str], Interval]
    why: Callable[[str], str]
    decimals: int | None = 2
    quiet: bool = False
    """Leave out an interval of width 0, such as that of a size that is the same in every run."""
    rule: Rule = "exclusive"
    """By what strategies are told apart, see `UNDERLINED`; "exclusive": none is the best that another's interval
    reaches."""
    near: Callable[[str], frozenset[str]] | None = None
    """The strategies that cannot be told from one. None: those whose interval overlaps with its own."""


def of_strategies(
    name: str,
    caption: str,
    stored: Stored,
    summary: Summary,
    columns: Sequence[Column],
    definitions: Sequence[tuple[str, str]],
    paper: Sequence[str] = (),
) -> Table:
    """A table with a row for each strategy: intervals, best values in bold, daggers, footnotes for empty cells.

    definitions : sentences below it, each with the key of the column that it is about, or "".
    """
    labels = stored.labels
    kept = {label: replay(summary, label) for label in labels}
    remarks = {label: stored.remarks(label) for label in labels}
    seeds = {label: stored.done(label)["seed"].nunique() for label in labels}
    intervals = {label: [column.interval(label) for column in columns] for label in labels}
    footnotes: dict[str, str] = {}
    rules: list[Rule] = []
    units = "runs" if len(stored.orders) < 2 else "seeds"

    def mark(reason: str) -> str:
        return footnotes.setdefault(reason, letters(len(footnotes)))

    cells: dict[str, list[Cell]] = {label: [] for label in labels}
    for position, column in enumerate(columns):
        found = {label: intervals[label][position] for label in labels}
        decimals = decimals_of(found.values(), column.decimals)
        plain = {label: round(found[label].mean, decimals) for label in labels if not remarks[label]}
        best = best_of(plain, column.better, kept)
        near: frozenset[str] = frozenset()
        if best:
            first = (max if column.better == "higher" else min)(best, key=lambda label: plain[label])
            near = (column.near or partial(overlapping, found))(first) & plain.keys() - {first}
            if column.rule == "exclusive" and near - set(best):
                near, best = near.union(best), []
            if near - set(best):
                rules.append(column.rule)
        for label in labels:
            interval, done = found[label], seeds[label]
            if np.isnan(interval.mean):
                cells[label].append(Cell(DASH, mark=mark(column.why(label))))
                continue
            silent = np.isnan(interval.half_width) or (column.quiet and interval.half_width == 0)
            cells[label].append(
                Cell(
                    number(interval.mean, decimals),
                    "" if silent else number(interval.half_width, decimals),
                    label in best,
                    mark(f"{interval.n} of {done} finished {units} have a value") if interval.n < done else "",
                    label in near and label not in best,
                    value=interval.mean,
                    half=interval.half_width,
                )
            )

    rows = []
    for label in labels:
        runs_of = stored.runs["strategy"] == label
        done, total = len(stored.done(label)), int(runs_of.sum())
        count = str(done) if done == total else f"{done} of {total}"
        if len(stored.orders) > 1:
            count = str(seeds[label]) if done == total else f"{seeds[label]} ({done} of {total} runs)"
        marks = [DAGGER] * bool(kept[label]) + [mark(remark) for remark in remarks[label]]
        rows.append([Cell(label, mark=" ".join(marks)), Cell(count, value=done), *cells[label]])

    keepers = [label for label in labels if kept[label]]
    also = "; also the best that keeps no images" if keepers else ""
    aside = "; a strategy with a letter beside its name is left out of this" if any(remarks.values()) else ""
    notes = [Note(f"{INTERVAL}{also}{aside}."), *([Note(_underlined(rules, stored))] if rules else [])]
    notes += [Note(_keepers({label: kept[label] for label in keepers}), DAGGER)] if keepers else []
    notes += [Note(f"{reason}.", letter) for reason, letter in footnotes.items()]
    once = [label for label in labels if stored.done(label)["reason"].astype(str).str.endswith(AS_SEED).any()]
    if once:
        notes.append(Note(f"{', '.join(once)}: one run stands for all seeds; {AS_SEED}."))
    notes += [Note(definition, column=key) for definition, key in definitions]
    heads = [Head("Strategy", number=False, key="strategy", data=("strategy",))]
    heads += [Head("Seeds", key="seeds", data=("seeds_done",))]
    heads += [replace(column.head, key=column.key, data=_named(column.key)) for column in columns]
    return Table(name, caption, heads, rows, _values(stored, columns, intervals), notes, paper=tuple(paper))


def _underlined(rules: Sequence[Rule], stored: Stored) -> str:
    """By what the underlined strategies cannot be told from the best, for the kinds of columns that have some."""
    over = " and ".join(standing(stored).over) or "nothing"
    where = "elsewhere " if {"drawn", "paired"} & set(rules) else ""
    other = "in columns of other accuracies " if "drawn" in rules else "in columns of accuracies "
    told = [text.format(over=over, where=where, other=other) for rule, text in UNDERLINED.items() if rule in rules]
    return f"Underlined: cannot be told from the best, {'; '.join(told)}."


def _keepers(kept: dict[str, int]) -> str:
    """Which strategies keep how many images, in one sentence."""
    of: dict[int, list[str]] = {}
    for label, count in kept.items():
        of.setdefault(count, []).append(label)
    parts = [f"{', '.join(labels)} keep{'s' * (len(labels) == 1)} {number(count, 0)}" for count, labels in of.items()]
    return f"{'; '.join(parts)} images of earlier experiences."


def overlapping(intervals: Mapping[str, Interval], label: str) -> frozenset[str]:
    """The strategies whose interval overlaps with that of one; a value without an interval counts as exact."""

    def ends(interval: Interval) -> tuple[float, float]:
        width = float(np.nan_to_num(interval.half_width))
        return interval.mean - width, interval.mean + width

    low, high = ends(intervals[label])
    others = {other: ends(interval) for other, interval in intervals.items() if other != label}
    return frozenset(other for other, (start, end) in others.items() if start <= high and end >= low)


def best_of(means: dict[str, float], better: str, kept: dict[str, int]) -> list[str]:
    """Labels of the best mean as printed, ties included, in their order; if those keep images, also the best that keeps
    none. (A set's order would change from one process to the next, and with it which of equals others are told from.)

    A single value, or the same in all rows, is no comparison and has no best.
    """
    known = {label: mean for label, mean in means.items() if not np.isnan(mean)}
    if better == "" or len(set(known.values())) < 2:
        return []
    pick = max if better == "higher" else min
    best = pick(known.values())
    chosen = [label for label, mean in known.items() if mean == best]
    free = {label: mean for label, mean in known.items() if not kept[label]}
    if free and any(kept[label] for label in chosen):
        best = pick(free.values())
        chosen += [label for label, mean in free.items() if mean == best and label not in chosen]
    return chosen


MOST = 4


def decimals_of(intervals: Iterable[Interval], otherwise: int | None) -> int:
    """Decimals of a column: as many as give its median half-width two significant digits, and four at most.

    `otherwise` where no interval has a width; None: about three figures for the largest mean.
    """
    intervals = list(intervals)
    halves = [interval.half_width for interval in intervals if interval.half_width > 0]
    if halves:
        exponent = int(f"{np.median(halves):.1e}".partition("e")[2])  # after rounding: 0.0996 is 0.10
        return min(max(1 - exponent, 0), MOST)
    return _decimals(intervals) if otherwise is None else otherwise


def _decimals(intervals: Iterable[Interval]) -> int:
    """Decimals that a column of times, sizes or counts needs: none for whole numbers, else about three figures."""
    means = [abs(interval.mean) for interval in intervals if not np.isnan(interval.mean)]
    if all(mean == int(mean) for mean in means):
        return 0
    largest = max(means, default=0.0)
    return 0 if largest >= 1000 else 1 if largest >= 100 else 2


def letters(position: int) -> str:
    """a … z, aa, ab …: footnote marks."""
    quotient, rest = divmod(position, len(ascii_lowercase))
    return (letters(quotient - 1) if quotient else "") + ascii_lowercase[rest]


def _named(key: str) -> tuple[str, ...]:
    return f"{key}_mean", f"{key}_ci95", f"{key}_n"


def _values(stored: Stored, columns: Sequence[Column], intervals: dict[str, list[Interval]]) -> pd.DataFrame:
    """The numbers behind a table: KEY_mean, KEY_ci95 (half-width) and KEY_n for each column, in the unit shown."""
    names = ["strategy", "seeds_done"]
    for column in columns:
        names += _named(column.key)
    rows: list[list[object]] = []
    for label in stored.labels:
        row: list[object] = [label, stored.done(label)["seed"].nunique()]
        for interval in intervals[label]:
            row += [interval.mean, interval.half_width, interval.n]
        rows.append(row)
    return pd.DataFrame(rows, columns=names)
