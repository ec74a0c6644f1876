"""`lorisbench reproduce plugins`: which of Avalanche's plugins compute in the harness what they compute without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lorisbench.common.environment import environment
from lorisbench.common.files import write_json
from lorisbench.common.threads import one_thread
from lorisbench.report import render
from lorisbench.report.summary import DASH
from lorisbench.report.tabular import Cell, Head, Note, Table

if TYPE_CHECKING:
    from lorisbench.reproduce.verification.plugins import Compared

NAME = "plugins"
NOTES = (
    "Equal: every weight after three experiences, and every output on the test samples, is the same bit for bit as in "
    "a plain script of Avalanche (`Naive` with the plugin) from the same weights, on the same samples in the same "
    "order. Effect: the largest difference from training without the plugin, in units of the largest number; 0 is "
    "none, infinite another number of outputs.",
    "Refused: a suite with the plugin ends with this line before anything is trained. In brackets: what comes of the "
    "same plugin in the plain script.",
)


def names() -> list[str]:
    """The plugins that are compared, in the order in which they are."""
    from lorisbench.reproduce.verification.plugin_cases import CASES

    return [case.name for case in CASES]


def reproduce_plugins(out: Path) -> tuple[Table, list[str]]:
    """Compare every plugin, write OUT/tables/plugins.{md,tex,csv} and OUT/env.json.

    Returns the table and the names of the plugins that differ, whose comparison failed, or that are refused though
    they should not be. Needs no data.
    """
    from lorisbench.reproduce.verification.plugin_cases import CASES
    from lorisbench.reproduce.verification.plugins import compared

    with one_thread():
        found = [compared(case) for case in CASES]
    table = plugins_table(found)
    render.write_tables([table], out / "tables")
    write_json(out / "env.json", environment(1, "cpu", "cpu"))
    return table, [each.name for each in found if each.outcome not in ("equal", "refused")]


def plugins_table(found: Sequence[Compared]) -> Table:
    """A row for each plugin, in alphabetical order; those that run first."""
    ordered = sorted(found, key=lambda each: (each.outcome == "refused", each.name.lower()))
    rows, records = [], []
    for each in ordered:
        effect = DASH if each.outcome == "refused" else f"{each.effect:.2g}"
        why = f"{each.why} [{each.plain}]" if each.plain else each.why
        rows.append([Cell(each.name), Cell(each.outcome), Cell(effect), Cell(why)])
        records.append(
            {"plugin": each.name, "outcome": each.outcome, "difference": each.difference, "effect": each.effect,
             "why": each.why, "plain": each.plain}
        )  # fmt: skip
    heads = [
        Head("Plugin", number=False),
        Head("Here", number=False),
        Head("Effect"),
        Head("What to know", number=False),
    ]
    equal = sum(each.outcome == "equal" for each in found)
    refused = sum(each.outcome == "refused" for each in found)
    caption = (
        f"Avalanche's plugins here and in a plain script: {equal} equal bit for bit, {refused} refused, of {len(found)}"
    )
    return Table(NAME, caption, heads, rows, pd.DataFrame(records), [Note(text) for text in NOTES])
