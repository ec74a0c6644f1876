"""The files of a reproduction, made from its output folder alone: tables, a page, text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from lorisbench.common.files import write_text
from lorisbench.report import bundle, render
from lorisbench.report.frame import read, streams
from lorisbench.report.stored import Stored
from lorisbench.report.summary import count_states
from lorisbench.report.tabular import Cell, Table
from lorisbench.reproduce.checks_table import checks_table
from lorisbench.reproduce.claims import changes, ground_of
from lorisbench.reproduce.published import Published
from lorisbench.reproduce.tables import build

SETTINGS = ("backbone", "head", "training", "evaluation", "strategies")
CHECKS = "checks.json"
SHOWN = 8  # changed settings shown on the page; the rest are only counted


def write(published: Published, suites: Mapping[str, Mapping[str, Any]], out: Path) -> list[Table]:
    """Write OUT/tables/*.{md,tex,csv} and OUT/index.html from the streams in OUT that are parts of the paper.

    `suites`: the resolved settings of each part as shipped, used to name those that a run changed. OUT/checks.json,
    if the paper has checks and they were run, adds one more table. Returns the tables. Raises InputError for a damaged
    folder, as `frame.read` does.
    """
    names = streams(out) if (out / "results.csv").is_file() else []
    found = _measured(published, out, names)
    tables = build(published, found)
    if published.checks and (out / CHECKS).is_file():
        tables.append(checks_table(out / CHECKS))
    render.write_tables(tables, out / "tables")
    write_text(out / "index.html", _html(published, suites, found, tables, _reports(out, names)))
    return tables


def _measured(published: Published, out: Path, names: Sequence[str]) -> dict[str, Stored]:
    """What OUT, with streams of these names, holds of each part, in the paper's order of the experiences: its own."""
    found = {}
    for part in [name for name in published.parts if name in names]:
        stored = read(out, part)
        if stored.orders != [0]:
            own = stored.runs[stored.runs["order"] == 0].reset_index(drop=True)
            stored = replace(stored, runs=own, names=stored.own_names)
        if len(stored.runs):
            found[part] = stored
    return found


def _reports(out: Path, names: Sequence[str]) -> dict[str, str]:
    """Where the report on each stream is, and that on all by the empty name, from OUT; nothing if it is not there."""
    page = "report/index.html"
    if not (out / page).is_file():
        return {}
    several = {name: f"{page}#{urlencode({'stream': name})}" for name in names} if len(names) > 1 else {}
    return {"": page, **dict.fromkeys(names, page), **several}


def _html(
    published: Published,
    suites: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Stored],
    tables: list[Table],
    reports: Mapping[str, str],
) -> str:
    grounds = {part: ground_of(stored, published.parts[part]) for part, stored in found.items()}
    by_part = {part: changes(suites[part], stored.suite, SETTINGS) for part, stored in found.items()}
    changed = []
    for line in dict.fromkeys(line for lines in by_part.values() for line in lines):
        which = [part for part, lines in by_part.items() if line in lines]
        changed.append(line if len(which) == len(by_part) else f"{', '.join(which)}: {line}")
    if len(changed) > SHOWN:
        changed = [*changed[:SHOWN], f"and {len(changed) - SHOWN} more, see suite.yaml"]
    parts = []
    for name, part in published.parts.items():
        state = f"runs: {count_states(found[name].runs['status'])}" if name in found else "not run"
        parts.append({"title": part.title, "state": state, "link": reports.get(name, "")})
    return render.template("reproduction.html", Path(__file__).parent).render(
        title=f"Reproducing: {published.title}",
        css=Markup(bundle.css()),
        differences=published.differences,
        heads=list(dict.fromkeys(ground.head for ground in grounds.values() if ground.head)),
        changed=changed,
        absent=published.unimplemented(),
        parts=parts,
        report=reports.get("", ""),
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
