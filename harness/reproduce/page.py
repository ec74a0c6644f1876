"""The files of a reproduction, made from its output folder alone: tables, a page, text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorisbench.common.files import write_text
from lorisbench.report import render
from lorisbench.report.frame import Stored, read
from lorisbench.report.summary import count_states
from lorisbench.report.tables import Cell, Table
from lorisbench.reproduce.checks_table import checks_table
from lorisbench.reproduce.claims import changes, ground_of
from lorisbench.reproduce.published import Published
from lorisbench.reproduce.tables import build

SETTINGS = ("backbone", "head", "training", "evaluation", "strategies")
CHECKS = "checks.json"
SHOWN = 8  # changed settings shown on the page; the rest are only counted


def write(published: Published, suites: Mapping[str, Mapping[str, Any]], out: Path) -> list[Table]:
    """Write OUT/tables/*.{md,tex,csv} and OUT/index.html from the folders of the parts that have results.

    `suites`: the resolved shipped suite of each part, used to name the settings that a run changed. OUT/checks.json,
    if the paper has checks and they were run, adds one more table. Returns the tables. Raises InputError for a damaged
    folder, as `frame.read` does.
    """
    found = {part: read(out / part) for part in published.parts if (out / part / "results.csv").is_file()}
    tables = build(published, found)
    if published.checks and (out / CHECKS).is_file():
        tables.append(checks_table(out / CHECKS))
    render.write_tables(tables, out / "tables")
    write_text(out / "index.html", _html(published, suites, found, tables))
    return tables


def _html(
    published: Published, suites: Mapping[str, Mapping[str, Any]], found: Mapping[str, Stored], tables: list[Table]
) -> str:
    grounds = {part: ground_of(stored, published.parts[part]) for part, stored in found.items()}
    changed = [line for part, stored in found.items() for line in changes(suites[part], stored.suite, SETTINGS)]
    changed = list(dict.fromkeys(changed))
    if len(changed) > SHOWN:
        changed = [*changed[:SHOWN], f"and {len(changed) - SHOWN} more, see each part's suite.yaml"]
    parts = []
    for name, part in published.parts.items():
        state = f"runs: {count_states(found[name].runs['status'])}" if name in found else "not run"
        link = f"{name}/report/index.html" if name in found else ""
        parts.append({"title": part.title, "state": state, "link": link})
    return render.template("reproduction.html", Path(__file__).parent).render(
        title=f"Reproducing: {published.title}",
        differences=published.differences,
        heads=list(dict.fromkeys(ground.head for ground in grounds.values() if ground.head)),
        changed=changed,
        absent=published.unimplemented(),
        parts=parts,
        tables=tables,
        groups=render.groups,
    )


def text(table: Table) -> str:
    """A table for the terminal: caption, aligned columns, notes."""
    heads = [f"{head.group} {head.text.lower()}" if head.group else head.text for head in table.heads]
    rows = [heads, *([_shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(heads))]
    lines = [table.caption, ""]
    for row in rows:
        cells = zip(row, widths, table.heads, strict=True)
        lines.append("  ".join(c.rjust(w) if head.number else c.ljust(w) for c, w, head in cells).rstrip())
    lines += ["", *(f"{f'[{note.mark}] ' if note.mark else ''}{note.text}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _shown(cell: Cell) -> str:
    return f"{cell.text}{f' ± {cell.spread}' if cell.spread else ''}{f' [{cell.mark}]' if cell.mark else ''}"
