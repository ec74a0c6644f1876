"""What a run's folder adds to the collected tables: a line of results.csv and the lines of matrix.csv."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lorisbench.common.files import read_json
from lorisbench.metrics import table
from lorisbench.metrics.costs import RunRecord
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.spec import title_of

RUN_COLUMNS = [
    "run_id", "benchmark", "strategy", "seed", "status", "reason", "experiences",
    *(metric.name for metric in table.in_results()), "undefined",
]  # fmt: skip
MATRIX_COLUMNS = ["run_id", "after_experience", "test_experience", "accuracy", "n"]


def row_of(directory: RunDirectory, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """A run's line of results.csv and its lines of matrix.csv."""
    status = directory.status()
    row: dict[str, Any] = {
        "run_id": config["run_id"],
        "benchmark": title_of(config["benchmark"]),
        "strategy": config["label"],
        "seed": config["seed"],
        "status": status["status"],
        "reason": status.get("reason", ""),
    }
    undefined: dict[str, str] = {}
    cells: list[tuple[Any, ...]] = []
    stored = directory.matrix() if row["status"] != "pending" else None
    if stored is not None:
        matrix, n = stored
        row["experiences"] = len(n)
        full = np.full((len(n), len(n)), np.nan)
        full[: len(matrix)] = matrix
        values, undefined = table.compute(full, n)
        row |= values
        cells = [(config["run_id"], i, j, matrix[i, j], n[j]) for i in range(len(matrix)) for j in range(len(n))]
    latency = read_json(directory.path / "latency.json") or {}
    costs, unknown = table.compute_costs(RunRecord(directory.entries(), latency, config.get("backbone", {})))
    row |= costs
    undefined |= unknown
    row["undefined"] = "; ".join(f"{name}: {reason}" for name, reason in undefined.items())
    return {k: (None if isinstance(v, float) and np.isnan(v) else v) for k, v in row.items()}, cells
