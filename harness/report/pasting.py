"""One table of a report, as text to paste: which table of which stream, which columns, in which format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.report import choosing, frame, kept, overview, render, summary, tables
from lorisbench.report.tabular import Table

POINTS = 72.27  # of TeX, in an inch
AUTO = "auto"


@dataclass(frozen=True)
class Wanted:
    """What of which table is wanted, and how.

    name : of the table. format : one of `render.FORMATS`. columns, sort : see `choosing.choose`; without columns a
    terminal and LaTeX have those that a paper shows. precision : "auto", or a number of decimals. wide : `table*`.
    inches : width of the LaTeX table; 0 for that of a page's text. stream : needed where there are several.
    """

    name: str = "comparison"
    format: str = "terminal"
    columns: Sequence[str] = ()
    sort: Sequence[str] = ()
    precision: str = AUTO
    wide: bool = False
    inches: float = 0.0
    stream: str = ""


def table_text(out: Path, wanted: Wanted, letters: int = 0, colour: bool = False) -> str:
    """A table of the report on OUT as text; nothing is written. `letters`, `colour`: see `plain.terminal`.

    Raises InputError for an unknown table, column, stream, format or precision, naming the nearest known one, or if OUT
    cannot be read.
    """
    if wanted.format not in render.FORMATS:
        raise InputError(f"--format {wanted.format!r} is unknown{nearest(wanted.format, render.FORMATS)}")
    decimals = _decimals(wanted.precision)
    table = _named(out, wanted)
    columns = list(wanted.columns)
    if not columns and wanted.format in ("terminal", "latex"):
        columns = choosing.paper_columns(table)
    chosen = choosing.choose(table, columns, wanted.sort, decimals)
    points = wanted.inches * POINTS or None
    return render.text(chosen, wanted.format, wanted.wide, points, letters, colour)


def _decimals(precision: str) -> int | None:
    if precision == AUTO:
        return None
    if not (precision.isascii() and precision.isdecimal() and int(precision) <= 9):
        raise InputError(f"--precision {precision!r}: {AUTO} or a number of decimals, 0 to 9, was expected")
    return int(precision)


def _named(out: Path, wanted: Wanted) -> Table:
    streams = frame.streams(out)
    if wanted.stream and wanted.stream not in streams:
        raise InputError(f"--stream: {out} holds no stream {wanted.stream!r}{nearest(wanted.stream, streams)}")
    if len(streams) > 1 and not wanted.stream:
        ranks = overview.ranks({name: (each, summary.summarise(each)) for name, each in frame.read_each(out).items()})
        if wanted.name == ranks.name:
            return ranks
        raise InputError(
            f"--table {wanted.name!r}: {out} has one for each stream; name it by --stream ({', '.join(streams)}), "
            f"or take the table {ranks.name!r} of all of them"
        )
    stored = frame.read(out, wanted.stream or None)
    built: dict[str, Any] = {table.name: table for table in tables.build(stored, summary.summarise(stored))}
    if wanted.name not in built:
        built |= {table.name: table for table in kept.tables(stored, kept.read(stored))}
    if wanted.name not in built:
        raise InputError(f"--table {wanted.name!r}: no such table of {out}{nearest(wanted.name, built)}")
    return built[wanted.name]
