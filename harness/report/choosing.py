"""Some columns of a table, its rows in another order, and figures with another number of decimals."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.report.summary import DASH, number
from lorisbench.report.tabular import Cell, Table, keys, letters

ALL = "all"


def choose(table: Table, columns: Sequence[str] = (), sort: Sequence[str] = (), precision: int | None = None) -> Table:
    """A table with some of its columns, sorted, with so many decimals; its notes are those that it still needs.

    columns : keys (`tabular.keys`) in the order wanted; the first column, which names the rows, always comes first.
        "all": every one. Empty: every one. sort : keys, each with a "-" before it for the largest first; rows without
        a value come last. precision : decimals of figures that have some.

    Raises InputError for an unknown key, which names the nearest known one.
    """
    known = keys(table)
    wanted = list(known) if not columns or list(columns) == [ALL] else [known[0], *columns]
    places = [_place(table, known, key, "column") for key in dict.fromkeys(wanted)]
    turn = _sorted(table, [(key.startswith("-"), _place(table, known, key.removeprefix("-"), "sort")) for key in sort])
    rows = [[_rounded(table.rows[row][place], precision) for place in places] for row in turn]
    heads = [table.heads[place] for place in places]
    shown = {known[place] for place in places}
    rows, renamed = _lettered(rows)
    notes = [
        replace(note, mark=renamed.get(note.mark, note.mark))
        for note in table.notes
        if (not note.column or note.column in shown) and (not note.mark or note.mark in renamed)
    ]
    by_letter = iter(
        sorted((note for note in notes if _is_letter(note.mark)), key=lambda note: (len(note.mark), note.mark))
    )
    notes = [next(by_letter) if _is_letter(note.mark) else note for note in notes]
    states = [table.states[row] for row in turn] if table.states else []
    return replace(table, heads=heads, rows=rows, notes=notes, states=states, values=_values(table, places, turn, sort))


def paper(table: Table) -> Table:
    """A table with the columns that a paper shows, those left out in which no row has a value."""
    return choose(table, paper_columns(table))


def paper_columns(table: Table) -> list[str]:
    """The keys of the columns that a paper shows; "all" if the table does not say which."""
    known = keys(table)
    empty = {
        key for place, key in enumerate(known) if table.rows and all(row[place].text == DASH for row in table.rows)
    }
    return [key for key in table.paper if key in known and key not in empty] or [ALL]


def _place(table: Table, known: Sequence[str], key: str, option: str) -> int:
    if key not in known:
        raise InputError(f"--{'columns' if option == 'column' else option}: the table {table.name!r} has no column "
                         f"{key!r}{nearest(key, known)}")  # fmt: skip
    return known.index(key)


def _sorted(table: Table, by: Sequence[tuple[bool, int]]) -> list[int]:
    """The numbers of the rows in the order wanted; equal ones stay as they were."""
    turn = list(range(len(table.rows)))
    for downwards, place in reversed(by):
        cells = [row[place] for row in table.rows]
        numbers = any(cell.value is not None for cell in cells)
        missing = {row for row in turn if (cells[row].value is None if numbers else cells[row].text == DASH)}

        def key(row: int, cells: list[Cell] = cells, numbers: bool = numbers) -> tuple[float, str]:
            value = cells[row].value
            return (value, "") if numbers and value is not None else (0.0, cells[row].text.casefold())

        there = sorted((row for row in turn if row not in missing), key=key, reverse=downwards)
        turn = [*there, *(row for row in turn if row in missing)]
    return turn


def _rounded(cell: Cell, precision: int | None) -> Cell:
    """With another number of decimals; whole figures, such as counts, stay whole."""
    if precision is None or cell.value is None or "." not in cell.text:
        return cell
    spread = number(cell.half, precision) if cell.spread and cell.half is not None else cell.spread
    return replace(cell, text=re.sub(r"^\S+", number(cell.value, precision), cell.text), spread=spread)


def _lettered(rows: list[list[Cell]]) -> tuple[list[list[Cell]], dict[str, str]]:
    """The cells with their footnotes' letters in the order in which they come, and what each mark became."""
    renamed: dict[str, str] = {}
    for row in rows:
        for mark in (mark for cell in row for mark in cell.mark.split()):
            if mark not in renamed:
                renamed[mark] = letters(sum(map(_is_letter, renamed))) if _is_letter(mark) else mark
    return [
        [replace(cell, mark=" ".join(renamed[mark] for mark in cell.mark.split())) for cell in row] for row in rows
    ], renamed


def _is_letter(mark: str) -> bool:
    return bool(re.fullmatch("[a-z]+", mark))


def _values(table: Table, places: Sequence[int], turn: Sequence[int], sort: Sequence[str]) -> pd.DataFrame:
    values = table.values
    if len(values) == len(table.rows):
        values = values.iloc[list(turn)]
    elif sort:  # more rows than are shown
        by = [key.removeprefix("-") for key in sort]
        there = [key for key in by if key in values]
        downwards = [f"-{key}" in sort for key in there]
        values = (
            values.sort_values(there, ascending=[not down for down in downwards], kind="stable") if there else values
        )
    if len(places) == len(table.heads):
        return values
    return values[_unique(name for place in places for name in table.heads[place].data if name in values)]


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
