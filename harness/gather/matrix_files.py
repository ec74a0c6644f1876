"""Matrices of accuracies in text files, as numpy, pandas, spreadsheets, FACIL and OpenLORIS's authors write them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lorisbench.common.errors import InputError
from lorisbench.gather.foreign import MOST, Foreign, Matrix, check, text_of

BLANK = ("", "-", "–", "—")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_NOT_FINITE = re.compile(r"[-+]?(nan|inf|infinity|na|n/a|none|null)", re.IGNORECASE)


def read_matrix(path: Path, transpose: bool = False) -> Foreign:
    """A T × T matrix of accuracies: a row for what was trained last, a column for what was tested.

    Cells are separated by semicolons, tabs, commas or spaces; lines that begin with # are passed over. A first row and
    a first column of names may be there. Cells may be empty or a dash, and rows may end at the diagonal, where nothing
    more was measured. If all cells above the diagonal are 0, they were not measured either: code that tests only the
    experiences so far writes such matrices.

    If a cell is above 1 or has a per cent sign, all are per cent; else all are fractions. `notes` say how the file was
    understood.

    transpose : rows are what was tested. Raises InputError, naming the file, and the line of a cell that is no
    accuracy, for anything else, and for a matrix that has values above its diagonal alone.
    """
    lines = _cells(path)
    lines = _without_names(lines, path)
    values, percent = _numbers(lines, path)
    if transpose:
        values = values.T.copy()
    notes = ["rows and columns exchanged (--transpose)"] if transpose else []
    upper, lower = np.triu_indices(len(values), 1), np.tril_indices(len(values), -1)
    absent = np.isnan(values) | (values == 0)
    if len(values) > 1 and absent[lower].all() and not absent[upper].all():
        raise InputError(
            f"{path}: has accuracies above its diagonal alone: are its rows what was tested"
            f"{'' if transpose else ' (--transpose)'}?"
        )
    if len(values) > 1 and absent[upper].all():
        if (values[upper] == 0).any():
            values[upper] = np.nan
            notes.append("all cells above the diagonal are 0 and were taken as not measured")
        while len(values) > 1 and (values[last := _last(values), : last + 1] == 0).all():
            values[last] = np.nan
            notes.append(f"row {last + 1} is 0 throughout and was taken as not measured")
    if np.isnan(values).all():
        raise InputError(f"{path}: holds no accuracy")
    if percent:
        values /= 100
    notes.append("read as per cent" if percent else "read as fractions")
    return Foreign(values, notes=notes)


def _last(values: Matrix) -> int:
    """The last row in which something was measured; 0 if none."""
    measured = np.flatnonzero(np.isfinite(values).any(axis=1))
    return int(measured[-1]) if len(measured) else 0


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are no comment, with their numbers, as cells without the space around them."""
    text = text_of(path)
    numbered = [(place, line) for place, line in enumerate(text.splitlines(), 1) if line.strip()]
    numbered = [(place, line) for place, line in numbered if not line.lstrip().startswith("#")]
    if not numbered:
        raise InputError(f"{path}: is empty, where a matrix of accuracies was expected")
    if len(numbered) > MOST + 1:
        raise InputError(f"{path}: has more than {MOST} rows")
    mark = next((mark for mark in ";\t," if any(mark in line for _, line in numbered)), None)
    found = []
    for place, line in numbered:
        cells = line.split() if mark is None else [cell.strip().strip('"') for cell in line.split(mark)]
        if mark == ";":
            cells = [cell.replace(",", ".") for cell in cells]
        found.append((place, cells))
    return found


def _is_value(cell: str) -> bool:
    bare = cell.removesuffix("%").strip()
    return cell in BLANK or bool(_NUMBER.fullmatch(bare) or _NOT_FINITE.fullmatch(bare))


def _without_names(lines: list[tuple[int, list[str]]], path: Path) -> list[tuple[int, list[str]]]:
    """The lines without a first row and a first column of names."""
    first = lines[0][1]
    corner = [cell for cell in first if cell] if first[:1] == [""] else []
    headed = any(not _is_value(cell) for cell in first) or _count(corner or first, len(lines) - 1)
    rows = lines[1:] if headed else lines
    if not rows:
        raise InputError(f"{path}: holds names, but no accuracy")
    begin = [cells[0] if cells else "" for _, cells in rows]
    longer = all(len(cells) == len(rows) + 1 for _, cells in rows)
    if not any(map(_is_value, begin)) or (longer and _count(begin, len(rows))):
        rows = [(place, cells[1:]) for place, cells in rows]
    return rows


def _count(cells: list[str], count: int) -> bool:
    """Whether cells are the numbers of `count` experiences, from 0 or 1, of which there are at least two."""
    return count > 1 and cells in ([str(n) for n in range(count)], [str(n) for n in range(1, count + 1)])


def _numbers(lines: list[tuple[int, list[str]]], path: Path) -> tuple[Matrix, bool]:
    """The values, as they are, NaN where nothing was measured, and whether they are per cent."""
    size = len(lines)
    values = np.full((size, size), np.nan)
    signs = False
    for row, (place, cells) in enumerate(lines):
        while len(cells) > size and cells[-1] == "":  # a mark at the end of each line
            cells = cells[:-1]
        if len(cells) > size or len(cells) < row + 1:
            raise InputError(
                f"{path}:{place}: a row of {len(cells)} cells, where a matrix of {size} rows has {size} "
                "(or those up to the diagonal)"
            )
        for column, cell in enumerate(cells):
            if cell in BLANK:
                continue
            bare = cell.removesuffix("%").strip()
            where = f"{path}:{place}: column {column + 1}"
            if _NOT_FINITE.fullmatch(bare):
                raise InputError(f"{where}: {cell} is no accuracy; a cell that was not measured is left empty")
            if not _NUMBER.fullmatch(bare):
                raise InputError(f"{where}: {cell[:40]!r} is not a number")
            signs = signs or cell.endswith("%")
            check(float(bare), where, 100)
            values[row, column] = float(bare)
    return values, signs or bool(np.nanmax(values, initial=0) > 1)
