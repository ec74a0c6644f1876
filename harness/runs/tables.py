"""results.csv and matrix.csv of an output folder: read once from all runs, then from each run as it ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.files import read_json, write_text
from lorisbench.common.pace import Pace
from lorisbench.common.yaml_files import read_yaml
from lorisbench.runs.directory import FINISHED, RunDirectory
from lorisbench.runs.rows import MATRIX_COLUMNS, RUN_COLUMNS, row_of

TEXT_COLUMNS = ("run_id", "benchmark", "strategy", "status", "reason", "undefined")
Row = dict[str, Any]
Cells = list[tuple[Any, ...]]


class Tables:
    """The lines of both tables, by run. A run whose folder or predictions are gone keeps its lines.

    Raises InputError if a run's config.yaml cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        suite = read_yaml(root / "suite.yaml")
        self._order = {label: index for index, label in enumerate(suite["strategies"])}
        self._synthetic = (read_json(root / "data.json") or {}).get("synthetic") is True
        self._kept = _earlier(root)
        self._read: dict[str, tuple[Row, Cells]] = {}
        self._pace = Pace()
        for folder in sorted((root / "runs").iterdir()) if (root / "runs").is_dir() else ():
            self.read(folder.name)

    def read(self, run_id: str) -> None:
        """Read one run's folder again."""
        folder = self.root / "runs" / run_id
        self._read.pop(run_id, None)
        if not (folder / "config.yaml").is_file():
            return
        # As it is, not as a RunSpec: the tables take runs of any version, whether their strategies are known or not
        config = read_yaml(folder / "config.yaml")
        row, cells = row_of(RunDirectory(folder), config)
        if self._synthetic and "sim" not in row["benchmark"]:
            row["benchmark"] += " (synthetic)"  # a rendered folder opened with --data-root
        if row["status"] == "done" and not cells and row["run_id"] in self._kept:
            return
        self._kept.pop(row["run_id"], None)
        self._read[run_id] = row, cells

    def read_unfinished(self) -> None:
        """Read again every run that had not finished when it was last read: it may have progressed since."""
        for run_id in [name for name, (row, _) in self._read.items() if row["status"] not in FINISHED]:
            self.read(run_id)

    def write(self) -> pd.DataFrame:
        """Write both files, and return the table of results.csv."""
        start = time.monotonic()
        lines = [*(self._read[name] for name in sorted(self._read)), *self._kept.values()]
        frame = pd.DataFrame([row for row, _ in lines], columns=RUN_COLUMNS).sort_values(
            ["strategy", "seed"], key=lambda c: c.map(self._order) if c.name == "strategy" else c, kind="stable"
        )
        cells = pd.DataFrame([cell for _, cells in lines for cell in cells], columns=MATRIX_COLUMNS)
        write_text(self.root / "results.csv", frame.to_csv(index=False))
        write_text(self.root / "matrix.csv", cells.to_csv(index=False))
        self._pace.written(start)
        return frame

    def write_if_due(self) -> None:
        """Write both files unless writing would take up too much of the time; a later call then catches up."""
        if self._pace.due():
            self.write()


def _earlier(root: Path) -> dict[str, tuple[Row, Cells]]:
    """The rows and cells that the existing tables hold for finished runs, by run id."""
    try:
        rows = pd.read_csv(root / "results.csv", keep_default_na=False, dtype=str)
        cells = pd.read_csv(root / "matrix.csv", keep_default_na=False, dtype=str)[MATRIX_COLUMNS]
    except (FileNotFoundError, ValueError, KeyError):
        return {}
    if not {"run_id", "status"} <= set(rows.columns) <= set(RUN_COLUMNS):  # an older version has fewer columns
        return {}
    groups: dict[str, Cells] = {}
    for run_id, *numbers in cells.itertuples(index=False, name=None):
        groups.setdefault(run_id, []).append((run_id, *map(_number, numbers)))
    done = rows[rows.status == "done"].to_dict("records")
    return {
        row["run_id"]: (
            {str(key): text if key in TEXT_COLUMNS else _number(text) for key, text in row.items()},
            groups.get(row["run_id"], []),
        )
        for row in done
    }


def _number(text: str) -> int | float | None:
    """The exact number that a cell of a table stands for; None for an empty one."""
    if not text:
        return None
    return int(text) if text.lstrip("-").isdecimal() else float(text)
