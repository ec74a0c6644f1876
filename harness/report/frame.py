"""The stored files of a suite, read into DataFrames."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json, read_table
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics import table
from lorisbench.metrics.records import read_latency
from lorisbench.metrics.results import read_results
from lorisbench.suite.run_folders import run_folders
from lorisbench.suite.streams import images_by_stream

Matrix = NDArray[np.float64]

TEXT = {
    "run_id",
    "stream",
    "name",
    "factor",
    "level",
    "verdict",
}  # columns that stay text, beside those of results.csv
NUMBERS = tuple(metric.name for metric in table.in_results())


@dataclass(frozen=True)
class Stored:
    """What a suite wrote to its folder, read back.

    `runs`: one row per run, columns as in results.csv. `names`: the experiences in order. `matrices`: run_id
    → accuracy matrix (T, T) in fractions, NaN where not measured. `environments`, `latencies`, `decisions`,
    `answers`: run_id → env.json, latency.json, decisions.csv and answers.csv, for the runs that have one.
    `machines`: latency.csv, as text; empty if there is none.
    `warnings`: sentences about inconsistencies. `left_out`: those about rows and folders that are not counted.
    """

    out: Path
    suite: dict[str, Any]
    data: dict[str, Any]
    runs: pd.DataFrame
    experiences: pd.DataFrame
    names: list[str]
    matrices: dict[str, Matrix]
    environments: dict[str, dict[str, Any]]
    latencies: dict[str, dict[str, Any]]
    decisions: dict[str, pd.DataFrame]
    answers: dict[str, pd.DataFrame]
    warnings: list[str]
    left_out: list[str] = field(default_factory=list)
    machines: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def labels(self) -> list[str]:
        """Strategies in the suite's order, then any that occur only in the results."""
        return list(dict.fromkeys([*self.settings, *self.runs["strategy"]]))

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Each strategy's settings by label, as in suite.yaml."""
        strategies = self.suite.get("strategies")
        if not isinstance(strategies, dict):
            return {}
        return {str(label): value if isinstance(value, dict) else {} for label, value in strategies.items()}

    @property
    def about(self) -> list[str]:
        """Labels of the strategies that the report is about, in the suite's order."""
        wanted = self.suite.get("about")
        wanted = wanted if isinstance(wanted, list) else [wanted]
        return [label for label in self.settings if label in wanted]

    def remarks(self, label: str) -> list[str]:
        """What a reader must know about a strategy before comparing it, as in suite.yaml."""
        remarks = self.settings.get(label, {}).get("remarks")
        return [str(remark) for remark in remarks] if isinstance(remarks, list) else []

    def done(self, label: str) -> pd.DataFrame:
        """The finished runs of one strategy, by seed; only these count in tables and plots."""
        mine = (self.runs["strategy"] == label) & (self.runs["status"] == "done")
        return self.runs[mine].sort_values("seed")

    def stack(self, label: str) -> Matrix:
        """Accuracy matrices of a strategy's finished runs, shape (runs, T, T); (0, T, T) if there are none."""
        found = [self.matrices[run] for run in self.done(label)["run_id"] if run in self.matrices]
        size = len(self.names)
        return np.stack(found) if found else np.empty((0, size, size))


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


def read(out: Path, stream: str | None = None) -> Stored:
    """Read what OUT holds of one stream, by default the first. Raises InputError if it has no results of it, or if a
    file is not what it should be.

    Only results.csv must exist: a partial report is better than none.
    """
    results = out / "results.csv"
    suite = _optional(out / "suite.yaml", read_yaml) or {}
    runs, not_counted = _results(out, suite)
    faults = list(not_counted)
    if runs.empty:
        raise InputError(f"{results} holds no runs; run `lorisbench run SUITE --out {out}` first")
    streams = list(dict.fromkeys(runs["stream"]))
    stream = streams[0] if stream is None and streams else stream
    runs = runs[runs["stream"] == stream].reset_index(drop=True)
    benchmarks = sorted({name for name in runs.get("benchmark", pd.Series(dtype=str)) if name})
    if len(benchmarks) > 1:
        raise InputError(f"{results}: stream {stream!r} mixes the benchmarks {', '.join(benchmarks)}")

    experiences, cells = (_of_stream(_csv(out / name), stream) for name in ("experiences.csv", "matrix.csv"))
    names = _names(experiences, cells, out)
    matrices = _matrices(cells, len(names), out / "matrix.csv")
    folders = {run: out / "runs" / run for run in runs["run_id"] if _is_plain(run)}

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
            machines = _of_stream(read_table(out / "latency.csv", MEASURED), stream)
    except InputError as error:
        faults.append(f"Left out: {error}.")
    stored = Stored(
        out=out,
        suite=suite,
        data=images_by_stream(read_json(out / "data.json") or {}, streams).get(str(stream), {}),
        runs=_complete(runs, matrices),
        experiences=experiences,
        names=names,
        matrices=matrices,
        environments={run: content for run, content in of_runs("env.json", read_json).items() if content},
        latencies={run: content for run, content in of_runs("latency.json", read_latency).items() if content},
        decisions={run: table for run, table in of_runs("decisions.csv", _csv).items() if not table.empty},
        answers={run: table for run, table in of_runs("answers.csv", _csv).items() if not table.empty},
        warnings=[],
        left_out=not_counted,
        machines=machines,
    )
    stored.warnings.extend(
        fault.replace(f"{out}{os.sep}", "") for fault in faults
    )  # where it lay is of no use to others
    stored.warnings.extend(_warnings(stored))
    return stored


def left_out(out: Path) -> list[str]:
    """A sentence for each line of results.csv, and each folder of a run, that is not counted."""
    return _results(out, _optional(out / "suite.yaml", read_yaml) or {})[1]


def _results(out: Path, suite: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of results.csv that count, and a sentence for each row and folder that does not."""
    runs, faults = read_results(out)
    found = run_folders(out, suite)
    known = set(runs["run_id"])  # a run whose folder is damaged or gone keeps its lines
    unread = [fault for run, fault in found.damaged.items() if run not in known]
    return runs, [*faults, *found.renamed.values(), *found.foreign.values(), *unread]


def _optional(path: Path, read_file: Callable[[Path], Any]) -> Any:
    return read_file(path) if path.exists() else None


def _is_plain(run: str) -> bool:
    """Whether a run id names a folder directly below runs/ rather than one elsewhere."""
    return run not in ("", ".", "..") and Path(run).name == run


def _csv(path: Path) -> pd.DataFrame:
    """A CSV file; name columns stay text (an experience may be called "nan" or "01"), the others become numbers."""
    if not path.exists():
        return pd.DataFrame()
    table = read_table(path)
    for column in table.columns:
        if column not in TEXT:
            table[column] = pd.to_numeric(table[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
    return table


def _of_stream(table: pd.DataFrame, stream: str | None) -> pd.DataFrame:
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
    machines = {json.dumps(env.get("machine"), sort_keys=True) for env in stored.environments.values()}
    if len(machines) > 1:
        found.append(f"The runs were made on {len(machines)} machines: do not compare their times and latencies.")
    versions = {json.dumps(env.get("versions"), sort_keys=True) for env in stored.environments.values()}
    if len(versions) > 1:
        found.append(f"The runs were made with {len(versions)} different sets of package versions.")
    if not stored.data:
        found.append("There is no data.json, so where the images come from is not known.")
    return found
