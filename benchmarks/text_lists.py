"""Lists of images as text, as scripts, pandas and spreadsheets write them: read, or refused in one line.

A table has a line of column names; fields are separated by commas, semicolons, tabs or bars, whichever gives the most
names that are known. Names of columns are the same in any case and with any blanks, `_` or `-` in them.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_bytes
from lorisbench.common.registry import nearest

SEPARATORS = ",;\t|"
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DECIMAL_COMMA = re.compile(r"([+-]?[0-9]+),0{1,2}")  # 10,0 as German spreadsheets write it; 1,000 could be either
MOST = 999_999_999  # the largest whole number that is read; a larger one counts as one more
UNNAMED = re.compile(r"(?:unnamed:\s*\d+(?:\.\d+)?(?:_level_\d+)?)?|index|level_0", re.IGNORECASE)  # pandas' index
NO_TEXT = {b"PK\x03\x04": "an Excel workbook or another archive; save it as CSV (UTF-8)",
           b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV (UTF-8)",
           b"\x1f\x8b": "compressed; unpack it first"}  # fmt: skip


def read_text(file: Path) -> str:
    r"""A text in UTF-8 or UTF-16 (told by its first bytes), its lines ended by `\n`.

    Raises InputError naming the file, and the line of what is in another encoding.
    """
    data = read_bytes(file)
    for start, what in NO_TEXT.items():
        if data.startswith(start):
            raise InputError(f"{file}: {what}")
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "ignore").count("\n") + 1
        raise InputError(f"{file}:{line}: not {encoding[:6].upper().rstrip('-')} text; save it as UTF-8") from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise InputError(f"{file}:{text[: text.index(chr(0))].count(chr(10)) + 1}: holds a NUL, which no text has")
    return text


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    low, high = data[1:200:2], data[0:200:2]
    if low and not any(low):
        return "utf-16-le"
    return "utf-16-be" if high and not any(high) else "utf-8"


def read_lines(file: Path) -> list[str]:
    """Lines of a list. Raises InputError as `read_text` does."""
    return read_text(file).removesuffix("\n").split("\n")


def whole(text: str) -> int | None:
    """The whole number that a text spells (`7`, `+7`, `007`, `7.0`, `7e0`), None if it spells none.

    One beyond `MOST` in size is given as `MOST` + 1, so that `1e999999` costs nothing.
    """
    text = text.strip()
    if match := DECIMAL_COMMA.fullmatch(text):
        text = match[1]
    if not NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    if value.adjusted() > 9 and value:
        return (MOST + 1) * (-1 if value < 0 else 1)
    if value != value.to_integral_value():
        return None
    return max(-MOST - 1, min(MOST + 1, int(value)))


@dataclass
class Table:
    """The rows of a list.

    Attributes
    ----------
    names : the columns that are there, by their proper names.
    header : the line of the names, from 1.
    rows : the fields of each row in the order of `names`, without blanks around them.
    lines : the line on which each row begins.
    said : the lines above the names that begin with `#`, without it.
    skipped : the lines below that begin with `#`, which are not read.
    """

    names: list[str]
    header: int
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)


def read_table(
    file: Path,
    required: Sequence[Sequence[str]],
    optional: Sequence[str] = (),
    near: Mapping[str, str] | None = None,
) -> Table:
    """A table from a file.

    Parameters
    ----------
    required : columns of which one of each group has to be there.
    near : other names (folded, see `fold`) under which a column is expected, to be suggested in an error.

    Raises
    ------
    InputError : naming file and line, for a text that is none, a column that is missing, unknown or there twice, a row
        with more or fewer fields than there are columns, and a quoted field that does not end.
    """
    lines = read_text(file).split("\n")
    known = {fold(name): name for name in [*(name for group in required for name in group), *optional]}
    at, separator, said = _find_names(lines, known, file, " and ".join(group[0] for group in required))
    cells = [
        cell.strip() for cell in _cells(lines[at].lstrip("# ") if lines[at].startswith("#") else lines[at], separator)
    ]
    places = _places(cells, known, required, near or {}, f"{file}:{at + 1}")
    table = Table(list(places), at + 1, said=[_comment(line, separator) for line in said])
    needed = max(places.values()) + 1
    nameless = [place for place in range(len(cells)) if place not in places.values()]
    source = _Lines(lines, at + 1)
    reader = csv.reader(source, delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    for number, fields in _records(reader, source, file, table):
        while len(fields) > len(cells) and not fields[-1].strip():
            fields.pop()
        if len(fields) > len(cells) or len(fields) < needed:
            how = "more" if len(fields) > len(cells) else "fewer"
            raise InputError(
                f"{file}:{number}: has {how} fields ({len(fields)}) than line {at + 1} has columns ({len(cells)})"
            )
        for place in nameless:
            text = fields[place].strip() if place < len(fields) else ""
            if text and (whole(text) is None or not (cells[place] or place == 0)):
                raise InputError(
                    f"{file}:{number}: {text!r} is in column {place + 1}, which line {at + 1} does not name"
                )
        table.rows.append([fields[place].strip() for place in places.values()])
        table.lines.append(number)
    return table


def fold(name: str) -> str:
    """A column's name without case, blanks, `_` and `-`."""
    return re.sub(r"[\s_-]", "", name).casefold()


class _Lines:
    """Lines for the csv module, which takes several where a quoted field goes on; `at` is the next one."""

    def __init__(self, lines: list[str], at: int) -> None:
        self.lines, self.at = lines, at

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.at >= len(self.lines):
            raise StopIteration
        self.at += 1
        return self.lines[self.at - 1] + "\n"


def _records(reader: Iterator[list[str]], source: _Lines, file: Path, table: Table) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row that is not blank; comments are put down in the table."""
    while source.at < len(source.lines):
        start = source.at
        if source.lines[start].startswith("#"):
            table.skipped.append(start + 1)
            source.at += 1
            continue
        try:
            fields = next(reader)
        except csv.Error as error:
            what = "a quoted field that does not end" if "end of data" in str(error) else str(error)
            raise InputError(f"{file}:{start + 1}: not a row of a table ({what})") from error
        if any(text.strip() for text in fields):
            yield start + 1, fields


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, skipinitialspace=separator != "\t"), [])


def _find_names(lines: list[str], known: Mapping[str, str], file: Path, needed: str) -> tuple[int, str, list[str]]:
    """The position of the line of column names, the separator, and the comments above it."""
    said: list[str] = []
    forced = ""
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip('" ').startswith("#"):
            said.append(line)
        elif match := re.fullmatch(r'"?sep=(.)"?', line, re.IGNORECASE):  # what Excel looks for in a first line
            forced = match[1]
        elif line.strip():
            break
        at += 1

    def hits(text: str, separator: str) -> tuple[int, int]:
        cells = _cells(text, separator)
        return sum(fold(cell) in known for cell in cells), len(cells)

    def best(text: str) -> str:
        return max(forced or SEPARATORS, key=lambda separator: hits(text, separator))

    line = lines[at] if at < len(lines) else ""
    named = said[-1].lstrip("# ") if said else ""
    if hits(line, best(line))[0] == 0 and hits(named, best(named))[0] > 1:  # as numpy writes it: names in a comment
        return lines.index(said[-1]), best(named), said[:-1]
    if not line:
        raise InputError(f"{file}: has no line of column names; at least {needed} are needed")
    return at, best(line), said


def _comment(line: str, separator: str) -> str:
    """What a comment says; a spreadsheet may have quoted it, or filled the line up with separators."""
    text = line.strip()
    if text.startswith('"'):
        text = _cells(text, separator)[0]
    return text.rstrip(f"{separator} \t").lstrip("# ")


def _places(
    cells: list[str], known: Mapping[str, str], required: Sequence[Sequence[str]], near: Mapping[str, str], where: str
) -> dict[str, int]:
    """The position of each known column. Raises InputError, beginning with `where`."""
    places: dict[str, int] = {}
    unknown = []
    for place, cell in enumerate(cells):
        name = known.get(fold(cell))
        if name in places:
            raise InputError(f"{where}: the column {name!r} is there twice ({cells[places[name]]!r} and {cell!r})")
        if name is not None:
            places[name] = place
        elif not UNNAMED.fullmatch(cell):
            unknown.append(cell)
    for group in required:
        if not any(name in places for name in group):
            other = f" (or {group[1]!r})" if len(group) > 1 else ""
            meant = next((cell for cell in unknown if near.get(fold(cell)) in group), None)
            hint = f"; rename {meant!r} to {near[fold(meant)]!r}" if meant is not None else ""
            found = ", ".join(repr(cell) for cell in cells[:8]) + (", ..." if len(cells) > 8 else "")
            raise InputError(f"{where}: the column {group[0]!r}{other} is missing; found {found}{hint}")
    if unknown:
        name = near.get(fold(unknown[0]))
        free = f"; did you mean {name!r}?" if name and name not in places else nearest(unknown[0], known.values())
        raise InputError(f"{where}: unknown column {unknown[0]!r}{free}")
    return places
