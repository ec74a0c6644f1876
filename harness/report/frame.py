"""The stored files of a suite, read into DataFrames."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json, read_table
from lorisbench.common.registry import nearest
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics import table
from lorisbench.metrics.elsewhere import IMPORTED, MARK, read_combined
from lorisbench.metrics.records import UNRESTORED, images_by_stream, own_reason, read_latency
from lorisbench.metrics.results import read_results
from lorisbench.report.beside import rows_beside
from lorisbench.suite.orders import permutation
from lorisbench.suite.run_folders import run_folders
from lorisbench.suite.streams import on_stream

Matrix = NDArray[np.float64]
Numbers = NDArray[np.float64]

TEXT = {
    "run_id",
    "stream",
    "name",
    "factor",
    "level",
    "verdict",
}  # columns that stay text, beside those of results.csv
NUMBERS = tuple(metric.name for metric in table.in_results())


@dataclass(frozen=True, eq=False)
class Stored:
    """What a suite wrote to its folder about one stream, read back.

    `runs`: one row per run, columns as in results.csv. `names`: the experiences in the order in which they come; only
    positions if there are several orders. `own_names`: in the stream's own order. `suite`: the settings, of those that
    a stream may have of its own this one's. `stream`: its name, empty if it is the only one. `matrices`: run_id
    → accuracy matrix (T, T) in fractions, NaN where not measured. `environments`, `latencies`: run_id → env.json and
    latency.json, for the runs that have one.
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
    warnings: list[str]
    left_out: list[str] = field(default_factory=list)
    stream: str = ""
    own_names: list[str] = field(default_factory=list)

    @cached_property
    def orders(self) -> list[int]:
        """Numbers of the orders in which the experiences came, ascending."""
        return sorted({int(order) for order in self.runs["order"].dropna()}) if "order" in self.runs else [0]

    def names_in(self, order: int) -> list[str]:
        """The experiences in one of the orders."""
        return [self.own_names[own] for own in self.permuted(order)]

    def permuted(self, order: int) -> list[int]:
        """The experiences, numbered as in the stream's own order, in one of the orders."""
        return permutation(order, len(self.own_names)) if order else list(range(len(self.own_names)))

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

    def kept(self, run: str, name: str) -> pd.DataFrame | None:
        """A table that the strategy of a run kept, with numbers; None without one that can be read and has a row.

        Read when it is asked for: the tables of all runs are much, and few of them are drawn.
        """
        try:
            table = _csv(self.out / "runs" / run / f"{name}.csv") if _is_plain(run) else pd.DataFrame()
        except InputError:  # `report.kept` names it
            return None
        return None if table.empty else table

    def remarks(self, label: str) -> list[str]:
        """What a reader must know about a strategy before comparing it, as in suite.yaml."""
        remarks = self.settings.get(label, {}).get("remarks")
        return [str(remark) for remark in remarks] if isinstance(remarks, list) else []

    @cached_property
    def elsewhere(self) -> set[str]:
        """Labels of results from elsewhere beside those of ours; none where there are no others.

        Of these no answer to a single image is known, so that they take part in no test.
        """
        marked = {label for label, settings in self.settings.items() if MARK in settings}
        return marked if set(self.runs["strategy"]) - marked else set()

    def done(self, label: str) -> pd.DataFrame:
        """The finished runs of one strategy, by order and seed; only these count in tables and plots."""
        return self._done[label] if label in self._done else self.runs.iloc[:0]

    @cached_property
    def _done(self) -> dict[str, pd.DataFrame]:
        """The same by label: every cell of a table asks for it."""
        finished = self.runs[self.runs["status"] == "done"]
        by = ["order", "seed"] if len(self.orders) > 1 else "seed"
        return {str(label): mine.sort_values(by) for label, mine in finished.groupby("strategy")}

    def per_seed(self, label: str, column: str) -> Numbers:
        """A column of a strategy's finished runs, a value for each seed: the mean over the orders."""
        done = self.done(label)
        values = done[column] if len(self.orders) < 2 else done.groupby("seed")[column].mean()
        return values.to_numpy(dtype=float)

    def stack(self, label: str) -> Matrix:
        """Accuracy matrices of a strategy's finished runs, shape (seeds, T, T); (0, T, T) if there are none.

        With several orders the mean over these, by the position in the order.
        """
        done = self.done(label)
        found = [self.matrices[run] for run in done["run_id"] if run in self.matrices]
        if len(self.orders) > 1:
            stored = done[done["run_id"].isin(self.matrices)]
            by_seed = [[self.matrices[run] for run in each["run_id"]] for _, each in stored.groupby("seed")]
            found = [np.mean(matrices, axis=0) for matrices in by_seed]
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

    experiences, cells = (_of_stream(_csv(out / file), name) for file in ("experiences.csv", "matrix.csv"))
    names = _names(experiences, cells, out)
    matrices = _matrices(cells, len(names), out / "matrix.csv")
    beside = rows_beside(out, name, len(names), runs)
    faults.extend(beside.faults)
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
