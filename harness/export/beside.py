"""`lorisbench latency OUT --onnx`: models that were just timed, as ONNX graphs in onnxruntime beside PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lorisbench.common.console import say
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.restored import restored
from lorisbench.export.onnx import compare, exported
from lorisbench.export.trained import read_run
from lorisbench.model.onnx_graph import need_packages, opened
from lorisbench.runs.latency import alternate
from lorisbench.runs.latency_table import add_rows
from lorisbench.runs.quiet import measuring
from lorisbench.runs.store import Output
from lorisbench.runs.workbench import device_of
from lorisbench.suite.config import LatencyConfig

CPU = torch.device("cpu")


def check_possible(device: str) -> None:
    """Raise InputError if a package of the extra is missing, or the device is not the CPU, where graphs are run."""
    need_packages("--onnx")
    if device_of(device).type != CPU.type:
        raise InputError("--onnx compares PyTorch and onnxruntime on the CPU: add --device cpu")


def beside_pytorch(out: Path, rows: pd.DataFrame, plugins: Sequence[Path] = ()) -> pd.DataFrame:
    """Time the models of rows of OUT/latency.csv in onnxruntime and PyTorch; write and return the completed rows.

    rows : as `measure_again` returns them. They get `onnx_p50_ms` and `onnx_large_p50_ms`, median milliseconds with the
    smallest and the largest batches; `onnx_ratio` and `onnx_large_ratio`, these over PyTorch's, measured in alternation
    with as many threads; `onnx_difference`, the largest difference in a probability. Where a model does not export, or
    its graph answers otherwise, `onnx_fault` says why in one line.
    """
    with Output(out.absolute()).alone("measuring latency"), measuring():
        each = [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
        for row in each:
            row |= {} if row["error"] else _beside(out, row, plugins)
            added = add_rows(out, each)  # now: what was measured outlives an interrupt
        return added


@restored()
def _beside(out: Path, row: Mapping[str, Any], plugins: Sequence[Path]) -> dict[str, Any]:
    run_id = row["run_id"]
    say(f"exporting {run_id}")
    try:
        deployed, inputs, graph = exported(read_run(out / "runs" / run_id, plugins))
        comparison = compare(graph, deployed, inputs)
        if not comparison.passed:
            return {"onnx_fault": str(comparison)}
        sizes = [int(row[key]) for key in ("batch", "large_batch") if row[key]]
        settings = LatencyConfig(calls=int(row["calls"]), batch=sizes, threads=int(row["threads"]))
        torch.set_num_threads(settings.threads)
        session = opened(graph, settings.threads)
        told: dict[str, Any] = {"onnx_difference": comparison.largest}
        for size, key in zip(sizes, ("onnx_", "onnx_large_"), strict=False):
            x = inputs.samples(size)
            given = {inputs.name: x.numpy()}
            with torch.inference_mode():
                in_onnx, in_torch = alternate(
                    lambda _, given=given: session.run(None, given),  # type: ignore[misc]
                    lambda _, x=x: deployed(x),  # type: ignore[misc]
                    settings.calls_of(size),
                    settings.warmup_of(size),
                    CPU,
                )
            told[f"{key}p50_ms"] = round(float(np.median(in_onnx)), 4)
            told[f"{key}ratio"] = round(float(np.median(in_onnx) / np.median(in_torch)), 4)
        return told
    except InputError as error:
        return {"onnx_fault": " ".join(str(error).removeprefix(f"{run_id}: ").split())}
    except Exception as error:  # whatever a strategy's own code, or the download of a backbone, raises
        return {"onnx_fault": reason_of(error)}
