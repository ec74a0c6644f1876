"""The collected tables: a line of results.csv, and the lines of matrix.csv, from a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lorisbench.common.files import read_json
from lorisbench.metrics import matrix as metrics
from lorisbench.runs.adaptation import adapt_ratio
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.spec import title_of

RUN_COLUMNS = [
    "run_id", "benchmark", "strategy", "seed", "status", "reason", "experiences",
    "square", "accuracy_last", "accuracy_seen", "bwt_mean", "fwt_mean", "forgetting_max", "forgetting_first",
    "plasticity", "train_seconds", "latency_p50_ms", "latency_p95_ms", "latency_ratio", "adapt_ratio", "model_mb",
    "state_mb", "replay_samples", "heads", "undefined",
]  # fmt: skip
MATRIX_COLUMNS = ["run_id", "after_experience", "test_experience", "accuracy", "n"]


def row_of(directory: RunDirectory, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """One line of results.csv and the lines of matrix.csv of a run."""
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
        values, undefined = metrics.compute(full, n)
        row |= values
        cells = [(config["run_id"], i, j, matrix[i, j], n[j]) for i in range(len(matrix)) for j in range(len(n))]
    entries = directory.entries()
    if entries:
        row["train_seconds"] = round(sum(entry["train_seconds"] for entry in entries), 4)
        row |= {key: entries[-1][key] for key in ("model_mb", "state_mb", "replay_samples", "heads")}
    latency = read_json(directory.path / "latency.json") or {}
    if "error" in latency:
        undefined["latency_p50_ms"] = latency["error"]
    elif latency:
        row["latency_p50_ms"] = float(np.median(latency["ms"]))
        row["latency_p95_ms"] = float(np.percentile(latency["ms"], 95))
        row["latency_ratio"] = float(np.median(latency["ms"]) / np.median(latency["bare_ms"]))
    if entries:
        try:
            row["adapt_ratio"] = adapt_ratio(entries, latency, config.get("backbone", {}))
        except metrics.UndefinedMetricError as reason:
            undefined["adapt_ratio"] = str(reason)
    row["undefined"] = "; ".join(f"{name}: {reason}" for name, reason in undefined.items())
    return {k: (None if isinstance(v, float) and np.isnan(v) else v) for k, v in row.items()}, cells
