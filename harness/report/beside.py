"""Results from elsewhere that an output's report shows beside its own: `OUT/beside.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from lorisbench.common.errors import InputError
from lorisbench.common.files import write_json
from lorisbench.common.reading import read_json
from lorisbench.metrics.elsewhere import MARK, marked, remark, row_of

FILE = "beside.json"
Cell = Annotated[float, Field(ge=0, le=1)] | None


class Beside(BaseModel):
    """One of them. matrix : a row for each experience trained on, fractions; null where not measured."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    stream: str
    source: str
    notes: str = ""
    matrix: list[list[Cell]]
    known: dict[str, float] = {}

    @field_validator("matrix")
    @classmethod
    def _is_square(cls, matrix: list[list[Cell]]) -> list[list[Cell]]:
        if not matrix or any(len(row) != len(matrix) for row in matrix):
            raise ValueError("as many cells in each row as there are rows were expected")
        return matrix

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """The same as an array (T, T), NaN where not measured."""
        return np.array([[np.nan if cell is None else cell for cell in row] for row in self.matrix], dtype=float)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    beside: dict[str, Beside]


def read_beside(out: Path) -> dict[str, Beside]:
    """The results beside those of OUT, by name. Raises InputError, naming the file, if it is damaged."""
    found = read_json(out / FILE, _File)
    return _File.model_validate(found).beside if found else {}


def put_beside(out: Path, name: str, beside: Beside) -> None:
    """Add a result, or replace that of the same name."""
    _write(out, read_beside(out) | {name: beside})


def take_away(out: Path, name: str) -> None:
    """Show a result no longer. Raises InputError if there is none of this name."""
    known = read_beside(out)
    if name not in known:
        raise InputError(f"--beside {name}=: {out} has no result of this name beside its own")
    del known[name]
    _write(out, known)


def _write(out: Path, known: dict[str, Beside]) -> None:
    write_json(out / FILE, {"beside": {label: each.model_dump(mode="json") for label, each in known.items()}})


class Rows(NamedTuple):
    """What a report on one stream takes in.

    rows : as in results.csv. matrices : by run. settings : by label, as in suite.yaml. faults : a sentence for each
    result that is left out as it does not fit.
    """

    rows: list[dict[str, Any]]
    matrices: dict[str, NDArray[np.float64]]
    settings: dict[str, dict[str, Any]]
    faults: list[str]


def rows_beside(out: Path, stream: str, size: int, runs: pd.DataFrame) -> Rows:
    """The results beside those of a stream of `size` experiences that has these `runs`."""
    found = Rows([], {}, {}, [])
    taken = set(runs["strategy"])
    for name, each in read_beside(out).items():
        if each.stream != stream:
            continue
        label, matrix = marked(name), each.accuracies
        if matrix.shape != (size, size) or label in taken:
            why = "a strategy has this name" if label in taken else f"its matrix is not one of {size} x {size}"
            found.faults.append(f"{FILE}: {name} is left out: {why}.")
            continue
        run = f"beside/{name}"  # no folder of a run can have this name
        found.matrices[run] = matrix
        found.settings[label] = {MARK: each.source, "remarks": [remark(each.source, each.notes)]}
        shared = {"run_id": run, "benchmark": _benchmark(runs), "stream": stream, "order": 0, "seed": 0}
        row = {**shared, "strategy": label, "status": "done", "reason": "", "experiences": size}
        found.rows.append(row | row_of(matrix, each.known))
    return found


def _benchmark(runs: pd.DataFrame) -> str:
    return str(runs["benchmark"].iloc[0]) if "benchmark" in runs else ""
