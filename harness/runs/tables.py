"""results.csv, matrix.csv and correct.npz of an output: read once from all runs, then from each run as it ends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text
from lorisbench.common.pace import Pace
from lorisbench.common.reading import read_json, read_table
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics import correct
from lorisbench.metrics.correct import CORRECT, Correct
from lorisbench.metrics.records import images_by_stream
from lorisbench.metrics.results import with_streams
from lorisbench.runs.collected import Memory, stamp_of_run
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.rows import CELL, MATRIX_COLUMNS, RUN_COLUMNS, Read, row_of, row_of_damaged
from lorisbench.suite.run_folders import read_config, run_folders
from lorisbench.suite.spec import stream_of
from lorisbench.suite.streams import benchmarks_of

TEXT_COLUMNS = ("run_id", "benchmark", "stream", "strategy", "status", "reason", "undefined")
Row = dict[str, Any]
Cells = NDArray[np.float64]


class Tables:
    """The lines of both tables, and the answers of the third file, by run.

    A run whose folder or predictions are gone keeps its lines.

    `faults` has a sentence for each folder that is left out, for each line whose folder is gone and whose strategy has
    other settings now, and for each run that cannot be counted because a file of it is damaged. `left_out`: the ids of
    runs that are not of this suite, or no longer. Raises InputError if suite.yaml or data.json cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        suite = read_yaml(root / "suite.yaml")
        strategies = suite.get("strategies")
        if not isinstance(strategies, dict):
            raise InputError(f"{root / 'suite.yaml'}: strategies: a mapping from labels to settings was expected")
        streams = list(benchmarks_of(suite))
        self._places = {"strategy": _places(strategies), "stream": _places(streams)}
        images = images_by_stream(read_json(root / "data.json") or {}, streams)
        self._synthetic = {name for name, about in images.items() if about.get("synthetic") is True}
        self._kept: dict[str, tuple[Row, Cells]] = {}
        self._read: dict[str, tuple[Row, Cells]] = {}
        self._known: dict[str, tuple[int, ...]] = {}
        self._correct: dict[str, Correct] = {}
        self._pace = Pace()
        self._memory = Memory(root)
        self._damaged: dict[str, str] = {}
        found = run_folders(root, suite)
        self._left = found.faults
        for run_id, config in found.kept.items():
            self._read_run(run_id, config)
        self._kept = _earlier(root, {run_id for run_id, (_, cells) in self._read.items() if len(cells)})
        if self._kept:
            self._correct = {**_earlier_answers(root), **self._correct}
        replaced = _replaced(self._kept, found.kept)
        self._left += [
            f"{root / 'results.csv'}: the run {run_id} is left out: its strategy has other settings now"
            for run_id in replaced
        ]
        self.left_out = {*found.foreign, *replaced}
        for run_id in self.left_out:  # lines that were collected before
            self._kept.pop(run_id, None)
        for run_id in self._kept.keys() & found.kept.keys():  # its files do not say what its lines do
            self._read_run(run_id, found.kept[run_id])

    @property
    def faults(self) -> list[str]:
        return [*self._left, *self._damaged.values()]

    def read(self, run_id: str) -> None:
        """Read the folder of one of the suite's runs again."""
        self._read_run(run_id, read_config(self.root / "runs" / run_id))

    def _read_run(self, run_id: str, config: dict[str, Any]) -> None:
        # As it is, not as a RunSpec: the tables take runs of any version, whether their strategies are known or not
        folder = self.root / "runs" / run_id
        self._read.pop(run_id, None)
        self._damaged.pop(run_id, None)
        self._known[run_id] = _state(folder)  # before it is read, so that a later change shows
        try:
            row, cells, right = self._of_run(run_id, config)
        except InputError as error:
            self._damaged[run_id] = f"{folder} is not counted: {error}"
            if run_id in self._kept:
                return
            row, cells, right = row_of_damaged(config, str(error)), np.empty((0, 4)), None
        if row["stream"] in self._synthetic and "sim" not in row["benchmark"]:
            row = {**row, "benchmark": f"{row['benchmark']} (synthetic)"}  # a rendered folder opened with --data-root
        if row["status"] == "done" and not len(cells) and row["run_id"] in self._kept:
            return
        self._kept.pop(row["run_id"], None)
        self._read[run_id] = row, cells
        self._correct.pop(run_id, None)
        if right is not None:
            self._correct[run_id] = right

    def _of_run(self, run_id: str, config: dict[str, Any]) -> Read:
        """What a run's folder says, read again if it has changed."""
        folder = self.root / "runs" / run_id
        stamp = stamp_of_run(folder)  # before it is read
        read = self._memory.recall(run_id, stamp)
        if read is None:
            read = row_of(RunDirectory(folder), config)
            self._memory.note(run_id, stamp, read)
        return read

    def complete(self) -> pd.DataFrame:
        """Write both files with the present state of every run, also of those that other processes train.

        It looks again after writing: a run that has ended meanwhile may be in the files of the process that trained it,
        which these have replaced.
        """
        while True:
            before = self._states()
            for run_id in [name for name, state in before.items() if state != self._known.get(name)]:
                self.read(run_id)
            files = [self.root / name for name in ("results.csv", "matrix.csv", CORRECT)]
            same = not self._kept and not self._damaged and self._memory.wrote(files, self._read)
            frame = self._frame() if same else self.write()
            if self._states() == before:
                self._memory.save(files, self._read)
                return frame

    def _states(self) -> dict[str, tuple[int, ...]]:
        """For each run, time stamps of the files that say how it stands."""
        return {run_id: _state(self.root / "runs" / run_id) for run_id in self._read.keys() | self._damaged.keys()}

    def write(self) -> pd.DataFrame:
        """Write all files, and return the table of results.csv."""
        start = time.monotonic()
        lines, frame = self._lines(), self._frame()
        which = [[row[name] for row, cells in lines for _ in cells] for name in MATRIX_COLUMNS[:3]]
        numbers = np.concatenate([*(cells for _, cells in lines), np.empty((0, 4))])
        columns = dict(zip(MATRIX_COLUMNS, [*which, *numbers.T], strict=True))
        counts = ("after_experience", "test_experience", "n")
        whole = {name: columns[name].astype(np.int64) for name in counts if np.isfinite(columns[name]).all()}
        cells = pd.DataFrame({**columns, **whole}, columns=MATRIX_COLUMNS)
        write_text(self.root / "results.csv", frame.to_csv(index=False))
        write_text(self.root / "matrix.csv", cells.to_csv(index=False))
        right: dict[str, dict[str, Correct]] = {}
        for row, _ in lines:
            if row["status"] == "done" and row["run_id"] in self._correct:
                right.setdefault(row["stream"], {})[row["run_id"]] = self._correct[row["run_id"]]
        if right:
            correct.write(self.root / CORRECT, right)
        self._pace.written(start)
        return frame

    def _lines(self) -> list[tuple[Row, Cells]]:
        return [found for _, found in sorted({**self._kept, **self._read}.items())]

    def _frame(self) -> pd.DataFrame:
        return pd.DataFrame([row for row, _ in self._lines()], columns=RUN_COLUMNS).sort_values(
            ["stream", "order", "strategy", "seed"],
            key=lambda c: c.map(self._places[str(c.name)]) if c.name in self._places else c,
            kind="stable",
        )

    def write_if_due(self) -> None:
        """Write both files unless writing would take up too much of the time; a later call then catches up."""
        if self._pace.due():
            self.write()


def _state(folder: Path) -> tuple[int, ...]:
    stamps = []
    for name in ("status.json", "predictions.npz", "latency.json"):
        try:
            stamps.append((folder / name).stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)


def collected(root: Path) -> set[str]:
    """The ids of the finished runs whose results both tables hold."""
    return set(_earlier(root))


def _replaced(kept: Mapping[str, tuple[Row, Cells]], folders: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The runs whose lines are `kept` although their folder is gone, and whose strategy has other settings now.

    A run's id ends in a hash of its settings and its order, without the seed: if the folders of a strategy have another
    one in the same order, its settings were replaced, and all lines of it count no more that have none of theirs.
    """

    def settings(run_id: str) -> str:
        return run_id.rpartition(".")[2]

    now: dict[tuple[str, str], dict[int, set[str]]] = {}
    for run_id, config in folders.items():
        at = now.setdefault((stream_of(config), config["label"]), {})
        at.setdefault(int(config.get("order", 0)), set()).add(settings(run_id))
    rows = {run_id: row for run_id, (row, _) in kept.items() if run_id not in folders}
    stale: set[tuple[str, str]] = set()
    for run_id, row in rows.items():
        of = row["stream"], row["strategy"]
        here = now.get(of, {}).get(int(row.get("order") or 0), set())
        if here and settings(run_id) not in here:
            stale.add(of)
    known = {of: set[str]().union(*orders.values()) for of, orders in now.items()}
    return [
        run_id
        for run_id, row in rows.items()
        if (of := (row["stream"], row["strategy"])) in stale and settings(run_id) not in known[of]
    ]


def _places(names: Iterable[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


def _earlier(root: Path, without: Set[str] = frozenset()) -> dict[str, tuple[Row, Cells]]:
    """The rows and cells that the existing tables hold for finished runs, by run id, if they hold all of them.

    Those of the runs `without` are not wanted: there are many of them as a rule, and numbers take long to read.
    """
    try:
        table = with_streams(read_table(root / "results.csv"))
        if not {"run_id", "status"} <= set(table.columns) <= set(RUN_COLUMNS):  # an older version has fewer columns
            return {}
        table = table[(table.status == "done") & ~table.run_id.isin(without)]
        if table.empty:
            return {}
        cells = read_table(root / "matrix.csv", CELL)[list(CELL)]
    except InputError:
        return {}
    groups: dict[str, list[list[float]]] = {}
    try:
        for run_id, *numbers in cells[cells.run_id.isin(table.run_id)].itertuples(index=False, name=None):
            groups.setdefault(run_id, []).append([float(text) if text else np.nan for text in numbers])
        rows = {
            row["run_id"]: {str(key): text if key in TEXT_COLUMNS else _number(text) for key, text in row.items()}
            for row in table.to_dict("records")
        }
    except ValueError:  # a number that is none
        return {}
    found = {run_id: np.array(cells) for run_id, cells in groups.items()}
    return {run: (row, found[run]) for run, row in rows.items() if run in found and _is_whole(row, found[run])}


def _earlier_answers(root: Path) -> dict[str, Correct]:
    """What the existing correct.npz holds, by run id; nothing if it is damaged, as it is made again."""
    try:
        return {run: each for runs in correct.read(root / CORRECT).values() for run, each in runs.items()}
    except InputError:
        return {}


def _is_whole(row: Row, cells: Cells) -> bool:
    """Whether there is a cell for each pair of a run's experiences, as far as its row says how many these are.

    Where only the last row was measured (`evaluation.rows: last`), for each pair with the last.
    """
    experiences = row.get("experiences")
    if experiences is None:
        return len(cells) > 0
    rows = set(cells[:, 0].tolist())
    every = len(rows) == experiences and rows == set(range(len(rows)))
    return 0 < len(cells) == experiences * len(rows) and (every or rows == {experiences - 1})


def _number(text: str) -> int | float | None:
    """The exact number that a cell of a table stands for; None for an empty one."""
    if not text:
        return None
    return int(text) if text.lstrip("-").isdecimal() else float(text)
