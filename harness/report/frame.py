"""The stored files of a suite, read."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json, read_table
from lorisbench.common.registry import nearest
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics import table
from lorisbench.metrics.elsewhere import IMPORTED, read_combined
from lorisbench.metrics.records import UNRESTORED, images_by_stream, own_reason, read_latency
from lorisbench.metrics.results import read_results
from lorisbench.report.beside import rows_beside
from lorisbench.report.stored import Matrix, Stored, is_plain, numbers_of
from lorisbench.suite.run_folders import run_folders
from lorisbench.suite.streams import on_stream

NUMBERS = tuple(metric.name for metric in table.in_results())

MEASURED = (
    "machine",
    "device",
    "threads",
    "stream",
    "strategy",
    "architecture",
    "p50_ms",
    "p95_ms",
    "bare_ms",
    "images",
)
"""The columns of latency.csv that are shown."""
LATER = ("large_p50_ms", "onnx_p50_ms", "onnx_ratio", "onnx_large_p50_ms", "onnx_large_ratio", "onnx_fault", "load")
"""Those that an older version did not write."""


def read(out: Path, stream: str | None = None) -> Stored:
    """Read what OUT holds of a stream, by default its only one.

    Raises InputError if it has no results of that stream, or if a file is not what it should be.

    Only results.csv must exist: a partial report is better than none.
    """
    results = out / "results.csv"
    suite = read_suite(out)
    rows = _results(out, suite)
    known = _streams(out, rows)
    if stream is None and len(known) > 1:
        raise InputError(f"{results} holds the streams {', '.join(known)}: name one of them")
    name = stream if stream is not None else known[0]
    if name not in known:
        raise InputError(f"{results} holds no stream {name!r}{nearest(name, known)}")
    return _read(out, suite, rows, known, name)


def read_each(out: Path) -> dict[str, Stored]:
    """The same of each stream by its name, in the order of results.csv."""
    suite = read_suite(out)
    rows = _results(out, suite)
    known = _streams(out, rows)
    return {name: _read(out, suite, rows, known, name) for name in known}


def _read(
    out: Path, suite: dict[str, Any], rows: tuple[pd.DataFrame, list[str]], known: list[str], name: str
) -> Stored:
    """What there is of the stream `name`. rows : see `_results`. known : all streams."""
    results, (runs, not_counted) = out / "results.csv", rows
    faults = list(not_counted)
    runs = runs[runs["stream"] == name].reset_index(drop=True)
    benchmarks = sorted({name for name in runs.get("benchmark", pd.Series(dtype=str)) if name})
    if len(benchmarks) > 1:
        raise InputError(f"{results} mixes the benchmarks {', '.join(benchmarks)} in one stream")

    experiences, cells = (_of_stream(numbers_of(out / file), name) for file in ("experiences.csv", "matrix.csv"))
    names = _names(experiences, cells, out)
    matrices = _matrices(cells, len(names), out / "matrix.csv")
    beside = rows_beside(out, name, len(names), runs)
    faults.extend(beside.faults)
    folders = {run: out / "runs" / run for run in runs["run_id"] if is_plain(run)}

    def of_runs(name: str, read_file: Callable[[Path], Any]) -> dict[str, Any]:
        """A file of each run that has it, by run; a damaged one is left out and named, as the others are worth it."""
        found = {}
        for run, folder in folders.items():
            try:
                found[run] = _optional(folder / name, read_file)
            except InputError as error:
                faults.append(f"Left out: {error}.")
        return {run: content for run, content in found.items() if content is not None}

    machines = pd.DataFrame()
    try:
        if (out / "latency.csv").exists():
            listed = read_table(out / "latency.csv", MEASURED)
            listed = listed.reindex(columns=[*dict.fromkeys([*listed.columns, *LATER])], fill_value="")
            machines = _of_stream(listed, name)
    except InputError as error:
        faults.append(f"Left out: {error}.")
    settings = on_stream(suite, name)
    if beside.rows:
        strategies = settings.get("strategies")
        settings["strategies"] = {**(strategies if isinstance(strategies, dict) else {}), **beside.settings}
        runs = pd.concat([_complete(runs, matrices), pd.DataFrame(beside.rows)], ignore_index=True)
        matrices |= beside.matrices
    stored = Stored(
        out=out,
        suite=settings,
        data=images_by_stream(read_json(out / "data.json") or {}, [name]).get(name, {}),
        runs=_complete(runs, matrices),
        experiences=experiences,
        names=names,
        matrices=matrices,
        environments={run: content for run, content in of_runs("env.json", read_json).items() if content},
        latencies={run: content for run, content in of_runs("latency.json", read_latency).items() if content},
        warnings=[],
        left_out=not_counted,
        stream=name if len(known) > 1 else "",
        own_names=names,
        machines=machines,
    )
    orders = stored.orders
    if orders != [0]:
        positions = [f"position {place}" for place in range(len(names))]
        stored = replace(stored, names=stored.names_in(orders[0]) if len(orders) == 1 else positions)
    if together := read_combined(out):
        stored.warnings.extend([*together.differs, *together.left_out])
    stored.warnings.extend(
        fault.replace(f"{out}{os.sep}", "") for fault in faults
    )  # where it lay is of no use to others
    stored.warnings.extend(_warnings(stored))
    return stored


def left_out(out: Path) -> list[str]:
    """A sentence for each line of results.csv, and each folder of a run, that is not counted."""
    return _results(out, read_suite(out))[1]


def _results(out: Path, suite: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of results.csv that count, and a sentence for each row and folder that does not."""
    runs, faults = read_results(out)
    found = run_folders(out, suite)
    known = set(runs["run_id"])  # a run whose folder is damaged or gone keeps its lines
    unread = [fault for run, fault in found.damaged.items() if run not in known]
    return runs, [*faults, *found.renamed.values(), *found.foreign.values(), *unread]


def _optional(path: Path, read_file: Callable[[Path], Any]) -> Any:
    return read_file(path) if path.exists() else None


def streams(out: Path) -> list[str]:
    """The names of the streams that OUT has runs of, in the order of results.csv. Raises InputError if it has none."""
    return _streams(out, _results(out, read_suite(out)))


def _streams(out: Path, rows: tuple[pd.DataFrame, list[str]]) -> list[str]:
    runs, _ = rows
    if runs.empty:
        raise InputError(f"{out / 'results.csv'} holds no runs; run `lorisbench run SUITE --out {out}` first")
    return list(dict.fromkeys(runs["stream"]))


def read_suite(out: Path) -> dict[str, Any]:
    """The settings of all streams; none without a suite.yaml. Raises InputError if that is damaged."""
    return _optional(out / "suite.yaml", read_yaml) or {}


def _of_stream(table: pd.DataFrame, stream: str) -> pd.DataFrame:
    """The rows of one stream; all of a table that an older version wrote about its only one."""
    return table[table["stream"] == stream].reset_index(drop=True) if "stream" in table else table


def _names(experiences: pd.DataFrame, cells: pd.DataFrame, out: Path) -> list[str]:
    """Names of the experiences by their index; "experience k" where none is stored."""
    indices = [table[c] for table, c in ((experiences, "experience"), (cells, "test_experience")) if c in table]
    known = pd.concat(indices).dropna() if indices else pd.Series(dtype=float)
    if len(known) and known.max() >= len(known):  # each has a line: a larger number would make tables of any size
        raise InputError(f"{out}: experience {known.max():g} in experiences.csv or matrix.csv, which lack those before")
    names = [f"experience {index}" for index in range(int(known.max()) + 1 if len(known) else 0)]
    if {"experience", "name"} <= set(experiences.columns):
        for index, name in zip(experiences["experience"], experiences["name"], strict=True):
            if name and index >= 0:
                names[int(index)] = name
    return names


def _matrices(cells: pd.DataFrame, size: int, path: Path) -> dict[str, Matrix]:
    if cells.empty:
        return {}
    columns = ("run_id", "after_experience", "test_experience", "accuracy")
    if missing := [name for name in columns if name not in cells]:
        raise InputError(f"{path}: lacks the column {', '.join(missing)}")
    indices = cells[["after_experience", "test_experience"]].to_numpy(dtype=float)
    if not ((indices >= 0) & (indices < size)).all():
        raise InputError(f"{path} holds a cell outside the {size} experiences")
    matrices: dict[str, Matrix] = {}
    for run, group in cells.groupby("run_id"):
        matrix = np.full((size, size), np.nan)
        rows = group["after_experience"].to_numpy(dtype=int)
        matrix[rows, group["test_experience"].to_numpy(dtype=int)] = group["accuracy"].to_numpy(dtype=float)
        matrices[str(run)] = matrix
    return matrices


def _complete(runs: pd.DataFrame, matrices: dict[str, Matrix]) -> pd.DataFrame:
    """Results with every column of the schema; a metric whose column is missing is computed from the matrix.

    This gives results of an older version the metrics that were added later.
    """
    full = runs.copy()
    for column in ("benchmark", "reason", "undefined"):
        if column not in full:
            full[column] = ""
    full["status"] = full["status"].replace("", "pending")
    absent = [name for name in NUMBERS if name not in full]
    computed = {run: table.compute(matrix)[0] for run, matrix in matrices.items()} if absent else {}
    for name in absent:
        full[name] = [computed.get(run, {}).get(name, np.nan) for run in full["run_id"]]
    return full


def _warnings(stored: Stored) -> list[str]:
    found = []
    if IMPORTED in stored.suite:
        found.append("These are results from elsewhere, which were imported: lorisbench has not run them.")
    machines = {json.dumps(env.get("machine"), sort_keys=True) for env in stored.environments.values()}
    if len(machines) > 1:
        found.append(f"The runs were made on {len(machines)} machines: do not compare their times and latencies.")
    versions = {json.dumps(env.get("versions"), sort_keys=True) for env in stored.environments.values()}
    if len(versions) > 1:
        found.append(f"The runs were made with {len(versions)} different sets of package versions.")
    unrestored = stored.runs[
        (stored.runs["status"] == "done") & stored.runs["reason"].astype(str).str.startswith(UNRESTORED)
    ]
    for reason, those in unrestored.groupby(unrestored["reason"].map(own_reason), sort=False):
        labels = ", ".join(dict.fromkeys(those["strategy"]))
        found.append(f"{labels} ({len(those)} run{'s' * (len(those) != 1)}): {reason}.")
    if not stored.data:
        found.append("There is no data.json, so where the images come from is not known.")
    return found
