"""Tables that strategies kept (`tables` of a plugin): the first rows of each run, and a plot where one is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.reading import plain_columns, read_json, read_table
from lorisbench.metrics.records import TABLE_HINTS
from lorisbench.report.stored import Stored
from lorisbench.report.tabular import Cell, Head, Note, Table

ROWS, LEAST = 60, 3  # rows shown in all, and of each run at least
COLUMNS, LETTERS = 16, 60  # columns shown, and letters of a cell
LARGEST = 8 * 10**6  # bytes of a file that is read
MOST = 12  # tables of different names
OF_METRICS = ("within",)  # tables that the harness itself wrote, which are in metrics
TIMELINE = {"decisions": {"experience", "verdict", "head"}, "answers": {"after_experience", "test_experience", "head"}}
"""Tables that have a figure of their own (`timeline`), by the columns that it needs."""
KEYS = ("x", "y", "by")


@dataclass
class Kept:
    """One table as the finished runs kept it.

    Attributes
    ----------
    name : without an ending. runs : for each run that has it its strategy, order, seed, id and rows, cells as text.
    hint : columns to plot, `x`, `y` and maybe `by`; empty if nobody asked. faults : what could not be shown, and why.
    """

    name: str
    runs: list[tuple[str, int, int, str, pd.DataFrame]] = field(default_factory=list)
    hint: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        """The name of its files in the report, which no table of the report's own has."""
        return f"kept_{self.name}"

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(label for label, *_ in self.runs))


def read(stored: Stored) -> list[Kept]:
    """The tables of all finished runs, by name; those that the timeline shows are left out."""
    found: dict[str, Kept] = {}
    for label in stored.labels:
        done = stored.done(label)
        for run, order, seed in zip(*(done[key] for key in ("run_id", "order", "seed")), strict=True):
            folder = stored.out / "runs" / str(run)
            hints, fault = _hints(folder / TABLE_HINTS) if Path(run).name == run else ({}, "")
            for file in sorted(folder.glob("*.csv")) if Path(run).name == run else ():
                if file.stem in OF_METRICS:
                    continue
                kept = found.setdefault(file.stem, Kept(file.stem))
                kept.faults += [fault] if fault else []
                kept.hint = kept.hint or hints.get(file.stem, {})
                rows = _rows(file, kept)
                if rows is not None:
                    kept.runs.append((label, int(order), int(seed), str(run), rows))
    return [found[name] for name in sorted(found) if found[name].runs or found[name].faults]


def _in_timeline(name: str, columns: Iterable[str]) -> bool:
    return name in TIMELINE and TIMELINE[name] <= set(columns)


def _rows(file: Path, kept: Kept) -> pd.DataFrame | None:
    """The rows that are shown of a run's table; None if they are in the timeline, or cannot be read, which is noted."""
    where = f"{file.parent.name}/{file.name}"
    try:
        if file.stat().st_size > LARGEST:
            kept.faults.append(f"{where} is too large to be shown ({file.stat().st_size / 1e6:.0f} MB)")
            return None
        if kept.name in TIMELINE and _in_timeline(kept.name, plain_columns(file)):
            return None
        rows = read_table(file)
        return None if _in_timeline(kept.name, rows.columns) else rows
    except (InputError, OSError) as error:
        kept.faults.append(str(error).replace(f"{file.parent.parent}{os.sep}", ""))
        return None


def _hints(file: Path) -> tuple[dict[str, dict[str, str]], str]:
    try:
        told = read_json(file) if file.exists() else {}
    except InputError as error:
        return {}, str(error).replace(f"{file.parent.parent}{os.sep}", "")
    hints = {str(name): hint for name, hint in (told or {}).items() if isinstance(hint, Mapping)}
    return {name: {str(key): str(value) for key, value in hint.items()} for name, hint in hints.items()}, ""


def tables(stored: Stored, kept: list[Kept]) -> list[Table]:
    """Each as a table of the page: rows of all strategies, orders and seeds below one another."""
    return [_table(each, len(stored.orders) > 1) for each in kept[:MOST] if each.runs]


def _table(kept: Kept, several: bool) -> Table:
    columns = list(dict.fromkeys(column for *_, rows in kept.runs for column in rows.columns))
    shown = columns[:COLUMNS]
    numbers = {column for column in shown if all(_numeric(rows[column]) for *_, rows in kept.runs if column in rows)}
    heads = [Head("Strategy", number=False), *([Head("Order")] if several else []), Head("Seed")]
    heads += [Head(_short(column), number=column in numbers) for column in shown]
    each = max(LEAST, ROWS // len(kept.runs))
    rows, frames, cut = [], [], 0
    for label, order, seed, run, table in kept.runs:
        at = [label, *([str(order)] if several else []), str(seed)]
        frames.append(table.assign(**{"run_id": run}) if "run_id" not in table else table)
        for row in table.head(each).to_dict("records"):
            cells = [_number(row.get(c, "")) if c in numbers else _short(str(row.get(c, ""))) for c in shown]
            rows.append([*map(Cell, [*at, *cells])])
        cut = max(cut, len(table) - each)
    notes = [Note(f"{kept.name}.csv of {len(kept.runs)} run{'s' * (len(kept.runs) != 1)}, as the strategy kept it.")]
    if cut > 0:
        notes.append(Note(f"The first {each} rows of each run; the file of each run has all of them."))
    if len(columns) > len(shown):
        notes.append(Note(f"{len(shown)} of {len(columns)} columns."))
    notes += [Note(f"Left out: {fault}.") for fault in dict.fromkeys(kept.faults)]
    whole = pd.concat(frames, ignore_index=True).fillna("")
    first = ["run_id", *(column for column in whole.columns if column != "run_id")]
    return Table(kept.file, f"Kept by the strategy: {kept.name}", heads, rows, whole[first], notes)


def links(kept: Kept) -> list[tuple[str, str]]:
    """What each run's file is called on the page, and where it lies as seen from there; few are enough."""
    found = [
        (f"{label}, seed {seed}", f"../runs/{quote(run)}/{quote(kept.name)}.csv")
        for label, _, seed, run, _ in kept.runs
    ]
    return found[:ROWS]


def left_out(kept: list[Kept]) -> list[str]:
    """Sentences about tables that the page does not show."""
    more = [each.name for each in kept if each.runs][MOST:]
    faults = [f"Left out: {fault}." for each in kept if not each.runs for fault in dict.fromkeys(each.faults)]
    return faults + ([f"{len(more)} more tables of strategies are not shown: {', '.join(more)}."] if more else [])


def _numeric(column: pd.Series) -> bool:
    given = column[column != ""]
    return len(given) > 0 and bool(pd.to_numeric(given, errors="coerce").notna().all())


def _number(text: str) -> str:
    """A number with as many digits as a reader needs: whole ones as they are, others with five."""
    if not text or text.lstrip("-").isdecimal():
        return text
    return f"{float(text):.5g}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LETTERS else f"{line[: LETTERS - 1]}…"


def plotted(kept: Kept) -> Iterator[str]:
    """Why a table is not plotted as its hint asks; nothing if it is, or if there is no hint."""
    if not kept.hint or not kept.runs:
        return
    known = [column for *_, rows in kept.runs for column in rows.columns]
    if unknown := [key for key in kept.hint if key not in KEYS]:
        yield f"{kept.name}: a plot has {', '.join(KEYS)}, and no {unknown[0]}"
    elif missing := [key for key in KEYS[:2] if key not in kept.hint]:
        yield f"{kept.name}: a plot needs {missing[0]}"
    elif absent := [column for column in kept.hint.values() if column not in known]:
        yield f"{kept.name}: there is no column {absent[0]} to plot"
    elif not any(_numeric(rows[kept.hint["y"]]) for *_, rows in kept.runs if kept.hint["y"] in rows):
        yield f"{kept.name}: the column {kept.hint['y']} holds no numbers to plot"


def values(kept: Kept) -> dict[str, Any]:
    """What is drawn: strategy -> line -> its runs, each a mapping from x (as text) to y."""
    x, y, by = kept.hint["x"], kept.hint["y"], kept.hint.get("by")
    found: dict[str, Any] = {}
    for label, _, _, _, rows in kept.runs:
        if not {x, y} <= set(rows.columns):
            continue
        own = rows.assign(**{y: pd.to_numeric(rows[y], errors="coerce")}).dropna(subset=[y])
        for name, group in own.groupby(by, sort=False) if by in own else [("", own)]:
            line = group.groupby(x, sort=False)[y].mean().to_dict()
            if line:
                found.setdefault(label, {}).setdefault(str(name), []).append(line)
    return found
