"""The table of the checks that hold on any data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.reading import parse_json, read_text
from lorisbench.report.summary import DASH
from lorisbench.report.tabular import Cell, Head, Note, Table

COLUMNS = ("name", "compared", "figure", "tolerance", "control", "passed")
NOTES = (
    "Passed: the figure is at most the tolerance, and that of the control, in which what is checked is left out (naive "
    "training, or what is in brackets), is above it, so that the check can fail.",
    "On generated data, through the harness's engine and the strategies as they are registered.",
)


def checks_table(path: Path) -> Table:
    """A row for each check, from the file that `reproduce.verify` wrote. Raises InputError if it is not such a file."""
    try:
        checks: list[dict[str, Any]] = parse_json(read_text(path), str(path))
        values = pd.DataFrame(checks)[list(COLUMNS)]
        passed = int(values.passed.sum())
        rows = [
            [
                *(Cell(str(check[key])) for key in ("name", "compared")),
                *(_cell(check[key]) for key in ("figure", "tolerance", "control")),
                Cell("passed" if check["passed"] else "FAILED"),
            ]
            for check in checks
        ]
    except InputError as error:
        raise InputError(f"{error}; delete it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the results of checks ({reason_of(error)}); delete it") from error
    heads = [Head("Check", number=False), Head("What is compared", number=False)]
    heads += [Head("Figure"), Head("Tolerance"), Head("Control"), Head("Result", number=False)]
    caption = f"Checks that hold on any data: {passed} of {len(values)} passed"
    return Table("checks", caption, heads, rows, values, [Note(text) for text in NOTES])


def _cell(value: float | None) -> Cell:
    return Cell(DASH if value is None else f"{value:.2g}")
