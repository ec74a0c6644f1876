"""What a run's folder adds to the collected tables: a line of results.csv and the lines of matrix.csv."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_table
from lorisbench.metrics import table
from lorisbench.metrics.correct import Correct, of_answers
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.predictions import matrix_of
from lorisbench.metrics.records import read_latency
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.orders import permutation
from lorisbench.suite.spec import stream_of, title_of

RUN_COLUMNS = [
    "run_id", "benchmark", "stream", "order", "strategy", "seed", "status", "reason", "experiences",
    *(metric.name for metric in table.in_results()), "undefined",
]  # fmt: skip
CELL = ("run_id", "after_experience", "test_experience", "accuracy", "n")
MATRIX_COLUMNS = ["run_id", "stream", "order", *CELL[1:]]


class Read(NamedTuple):
    """What is collected of a run: its line of results.csv; its lines of matrix.csv, (cells, 4), without those of its
    columns that the other has too; and, once the last experience has been tested, what it adds to correct.npz."""

    row: dict[str, Any]
    cells: NDArray[np.float64]
    correct: Correct | None = None


def row_of(directory: RunDirectory, config: Mapping[str, Any]) -> Read:
    """What a run's folder says.

    A latency.json that is damaged leaves its metrics undefined. Raises InputError, naming the file, if the journal or
    the predictions are.
    """
    status = directory.status()
    row: dict[str, Any] = {
        **_which(config),
        "status": status["status"],
        "reason": status.get("reason", ""),
    }
    undefined: dict[str, str] = {}
    cells = np.empty((0, 4))
    correct = None
    scores = bool((config.get("evaluation") or {}).get("scores"))
    pending = row["status"] == "pending"
    entries, stored = (directory.entries(), None) if pending else directory.outcome(row["status"], scores)
    full = None
    if stored is not None:
        matrix, n = matrix_of(stored)
        row["experiences"] = len(n)
        full = np.full((len(n), len(n)), np.nan)
        full[: len(matrix)] = matrix
        values, undefined = table.compute(full, n)
        row |= values
        tested = [i for i in range(len(matrix)) if not np.isnan(matrix[i]).all()]
        correct = of_answers(stored, permutation(row["order"], len(n))) if row["status"] == "done" else None
        cells = np.array([(i, j, matrix[i, j], n[j]) for i in tested for j in range(len(n))]).reshape(-1, 4)
    try:
        latency = read_latency(directory.path / "latency.json") or {}
    except InputError as error:
        latency = {"error": str(error)}
    record = RunRecord(
        entries, latency, config.get("backbone", {}), _tables(directory), full, stored, config.get("evaluation") or {}
    )
    costs, unknown = table.compute_costs(record)
    row |= costs
    undefined |= unknown
    row["undefined"] = "; ".join(f"{name}: {reason}" for name, reason in undefined.items())
    known = {k: (None if isinstance(v, float) and np.isnan(v) else v) for k, v in row.items()}
    return Read(known, cells, correct)


def _tables(directory: RunDirectory) -> dict[str, list[tuple[str, ...]]]:
    """The tables that metrics are computed from, see `RunRecord`; one that is missing or damaged is left out."""
    found = {}
    for name, columns in table.TABLES.items():
        with contextlib.suppress(InputError):
            kept = read_table(directory.path / f"{name}.csv", columns)
            found[name] = list(zip(*(kept[column].tolist() for column in columns), strict=True))
    return found


def row_of_damaged(config: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """The line of results.csv of a run that cannot be counted, as its files are damaged; `reason` names the file."""
    return {**_which(config), "status": "failed", "reason": reason}


def _which(config: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that say which run it is."""
    return {
        "run_id": config["run_id"],
        "benchmark": title_of(config["benchmark"]),
        "stream": stream_of(config),
        "order": config.get("order", 0),
        "strategy": config["label"],
        "seed": config["seed"],
    }
