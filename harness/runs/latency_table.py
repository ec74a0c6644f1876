"""OUT/latency.csv: a row for each machine and architecture on which latency was measured."""

from __future__ import annotations

import socket
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.environment import environment
from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text
from lorisbench.common.reading import read_table

FILE = "latency.csv"
OWN, RANDOM = "own", "random"  # the images that were timed
COLUMNS = (
    "machine", "system", "cpu", "cores", "gpu", "device", "threads", "python", "torch", "lorisbench", "stream",
    "strategy", "architecture", "run_id", "backbone", "image_size", "images", "batch", "calls", "p50_ms", "p95_ms",
    "p99_ms", "bare_ms", "large_batch", "large_p50_ms", "large_bare_ms", "date", "error", "onnx_p50_ms", "onnx_ratio",
    "onnx_large_p50_ms", "onnx_large_ratio", "onnx_difference", "onnx_fault", "load",
)  # fmt: skip
PLACE = ("machine", "device", "threads", "stream", "strategy")
KEYS = (*PLACE, "architecture", "run_id")  # without which a table is damaged


def row_of(
    config: Mapping[str, Any], latency: Mapping[str, Any], device: str, threads: int, images: str
) -> dict[str, Any]:
    """A row from the settings of a run (config.yaml) and what was measured of it now on this machine (latency.json).

    images : what was timed: the data set's own images, or random ones.
    """
    import numpy as np

    where = environment(threads, device, device)
    row: dict[str, Any] = {
        "machine": socket.gethostname(),
        **{key: where["machine"][key] for key in ("system", "cpu", "cores", "gpu")},
        "device": device,
        "threads": threads,
        **{name: where["versions"][name] for name in ("python", "torch", "lorisbench")},
        "stream": config["stream"],
        "strategy": config["label"],
        "run_id": config["run_id"],
        "backbone": config["backbone"]["name"],
        "image_size": "" if latency.get("features") else config["backbone"]["image_size"],
        "images": images,
        "date": where["date"],
        "error": latency.get("error", ""),
    }
    if "ms" in latency:
        row |= {key: latency[key] for key in ("architecture", "batch", "calls")}
        row["load"] = latency.get("load")
        row |= {f"p{part}_ms": round(float(np.percentile(latency["ms"], part)), 4) for part in (50, 95, 99)}
        row["bare_ms"] = round(float(np.median(latency["bare_ms"])), 4)
        for large in latency["batches"][-1:]:
            row["large_batch"] = large["batch"]
            row["large_p50_ms"], row["large_bare_ms"] = (
                round(float(np.median(large[key])), 4) for key in ("ms", "bare_ms")
            )
    return row


def add_rows(out: Path, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Write rows to OUT/latency.csv. They replace those of the same architecture and place, and faults in that place.

    A place is machine, device, threads, stream and strategy. Returns the rows added, as text. A table that is damaged
    is kept aside under another name.
    """
    new = pd.DataFrame([{key: row.get(key) for key in COLUMNS} for row in rows], columns=list(COLUMNS))
    new = new.map(lambda value: "" if value is None or value != value else str(value))
    file = out / FILE
    try:
        # Columns that an older version did not write stay empty
        old = read_table(file, KEYS).reindex(columns=COLUMNS, fill_value="") if file.exists() else new.iloc[:0]
    except InputError:
        file.rename(file.with_name(f"{FILE}.damaged"))
        old = new.iloc[:0]
    named = [*PLACE, "architecture"]
    measured, places = (set(_tuples(new, keys)) for keys in (named, list(PLACE)))
    kept = old[[row not in measured and bool(row[-1] or row[:-1] not in places) for row in _tuples(old, named)]]
    write_text(file, pd.concat([kept, new], ignore_index=True).to_csv(index=False))
    return new


def drop_rows(out: Path, runs: Container[str]) -> None:
    """Remove the rows of these runs from OUT/latency.csv, if there is one that can be read."""
    try:
        table = read_table(out / FILE, KEYS)
    except (InputError, OSError):
        return
    kept = table[[run not in runs for run in table["run_id"]]]
    if len(kept) < len(table):
        write_text(out / FILE, kept.to_csv(index=False))


def _tuples(table: pd.DataFrame, columns: list[str]) -> list[Any]:
    return list(table[columns].itertuples(index=False, name=None))
