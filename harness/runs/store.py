"""The output folder of a suite: what it may hold, what all runs share, and the tables collected from the runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.files import read_json, write_json, write_text
from lorisbench.common.yaml_files import read_yaml, write_yaml
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.rows import MATRIX_COLUMNS, RUN_COLUMNS, row_of
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, resolve
from lorisbench.suite.schema import SCHEMA, has_schema, schema_of
from lorisbench.suite.spec import RunSpec, without_places

FIXED_KEYS = ("name", "benchmark", "backbone", "head", "training", "evaluation", "device", "latency")
FINISHED = ("done", "diverged")  # a diverged run would diverge again: it is deterministic


class Output:
    """The folder a suite writes to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, run_id: str) -> RunDirectory:
        return RunDirectory(self.root / "runs" / run_id)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises InputError if another process is writing to it."""
        import fcntl

        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / ".lock", "w", encoding="ascii") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"{self.root}: another lorisbench process is writing to it") from error
            yield

    def check(self, suite: Suite) -> dict[str, Any]:
        """The suite.yaml to write: this suite merged with what the folder holds of the same one.

        More strategies and seeds of the same suite may be added. Raises InputError, before anything is written, if
        the folder holds another suite's results, or files that are not ours.
        """
        path = self.root / "suite.yaml"
        if not path.is_file():
            if self.root.exists() and not self.root.is_dir():
                raise InputError(f"--out {self.root}: is not a folder")
            foreign = [p.name for p in self.root.iterdir() if p.name != ".lock"] if self.root.is_dir() else []
            if foreign:
                raise InputError(
                    f"--out {self.root}: holds files ({sorted(foreign)[0]}, …) but no suite.yaml; give an empty folder"
                )
            return suite.resolved
        try:
            written = read_yaml(path)
            known = dict(written["strategies"])
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a suite.yaml written by lorisbench") from error
        if not has_schema(written):
            raise InputError(
                f"--out {self.root}: holds results of another version of lorisbench ({schema_of(written)}, this one "
                f"writes {SCHEMA}); give another folder"
            )
        before = _completed(written, suite)
        for key in FIXED_KEYS:
            known_value, value = before.get(key), suite.resolved[key]
            if key == "benchmark" and isinstance(known_value, dict):  # data.json says whether the images are the same
                known_value, value = without_places(known_value), without_places(value)
            if known_value != value:
                raise InputError(
                    f"--out {self.root}: holds results of another suite ({before.get('name')!r}, other {key!r}: "
                    f"{_difference(known_value, value)}); give another folder"
                )
        for label, settings in suite.resolved["strategies"].items():
            if label in known and before["strategies"][label] != settings:
                raise InputError(
                    f"--out {self.root}: holds results of strategy {label!r} with other settings "
                    f"({_difference(before['strategies'][label], settings)}); give another folder or label"
                )
        merged = dict(suite.resolved)
        merged["strategies"] = {**known, **suite.resolved["strategies"]}
        merged["seeds"] = sorted({*written["seeds"], *suite.resolved["seeds"]})
        return merged

    def check_images(self, data: Mapping[str, Any]) -> None:
        """Raise InputError if the folder's results were made from other images than those of `Manifest.describe()`."""
        before = read_json(self.root / "data.json")
        if before is not None and before.get("content_hash") != data["content_hash"]:
            raise InputError(
                f"--out {self.root}: its results were made from other images (content hash "
                f"{str(before.get('content_hash'))[:12]}, now {str(data['content_hash'])[:12]}); give another folder"
            )

    def prepare(self, suite: Suite, resolved: Mapping[str, Any], data: Mapping[str, Any], counts: pd.DataFrame) -> None:
        """Write what all runs share."""
        write_yaml(self.root / "suite.yaml", resolved)
        write_json(self.root / "data.json", data)
        write_text(self.root / "experiences.csv", counts.to_csv(index=False))
        for spec in suite.runs:
            directory = self.run(spec.run_id)
            if directory.status()["status"] in ("pending", "running"):
                write_yaml(directory.path / "config.yaml", spec.config)
                directory.set_status("pending")

    def unfinished(self, suite: Suite) -> list[RunSpec]:
        return [spec for spec in suite.runs if self.run(spec.run_id).status()["status"] not in FINISHED]

    def collect(self) -> pd.DataFrame:
        """Write results.csv and matrix.csv from the run directories, and return the former.

        A run whose directory or predictions are gone keeps what the tables said of it before.
        """
        rows, cells = [], []
        kept = self._earlier_rows()
        synthetic = (read_json(self.root / "data.json") or {}).get("synthetic") is True
        for folder in sorted((self.root / "runs").iterdir()) if (self.root / "runs").is_dir() else []:
            if not (folder / "config.yaml").is_file():
                continue
            # As it is, not as a RunSpec: the tables take runs of any version, whether their strategies are known or not
            row, matrix = row_of(RunDirectory(folder), read_yaml(folder / "config.yaml"))
            if synthetic and "sim" not in row["benchmark"]:
                row["benchmark"] += " (synthetic)"  # a rendered folder opened by --data-root
            if row["status"] == "done" and not matrix and row["run_id"] in kept:
                continue
            kept.pop(row["run_id"], None)
            rows.append(row)
            cells += matrix
        for row, matrix in kept.values():
            rows.append(row)
            cells += matrix
        frame = pd.DataFrame(rows, columns=RUN_COLUMNS)
        order = self._order()
        frame = frame.sort_values(
            ["strategy", "seed"], key=lambda c: c.map(order) if c.name == "strategy" else c, kind="stable"
        )
        write_text(self.root / "results.csv", frame.to_csv(index=False))
        write_text(self.root / "matrix.csv", pd.DataFrame(cells, columns=MATRIX_COLUMNS).to_csv(index=False))
        return frame

    def _earlier_rows(self) -> dict[str, tuple[dict[str, Any], list[tuple[Any, ...]]]]:
        """By run id, the row and the cells that the tables hold of finished runs."""
        try:
            rows = pd.read_csv(self.root / "results.csv", keep_default_na=False, na_values=[""])
            cells = pd.read_csv(self.root / "matrix.csv")[MATRIX_COLUMNS]
        except (FileNotFoundError, ValueError, KeyError):
            return {}
        if not {"run_id", "status"} <= set(rows.columns) <= set(RUN_COLUMNS):  # an older version has fewer columns
            return {}
        done: list[Any] = rows[rows.status == "done"].astype(object).to_dict("records")
        groups = {str(name): list(group.itertuples(index=False, name=None)) for name, group in cells.groupby("run_id")}
        return {str(row["run_id"]): (row, groups.get(str(row["run_id"]), [])) for row in done}

    def _order(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(read_yaml(self.root / "suite.yaml")["strategies"])}


def _completed(written: Mapping[str, Any], suite: Suite) -> dict[str, Any]:
    """What a folder's suite.yaml says of the strategies of `suite`, with defaults for settings that are new since then.

    As it is, where it cannot be read any more.
    """
    known = written["strategies"]
    strategies = {label: known.get(label, settings) for label, settings in suite.resolved["strategies"].items()}
    try:
        # Its plugins are not loaded: those that the strategies need are `suite`'s own
        return resolve(parse(SuiteConfig, {**written, "strategies": strategies, "plugins": []})).resolved
    except InputError:
        return dict(written)


def _difference(before: Any, now: Any) -> str:
    """The first leaf in which two settings differ, for a message."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(k for k in now if k not in before)]:
            if before.get(key) != now.get(key):
                inner = _difference(before.get(key), now.get(key))
                return f"{key}.{inner}" if ": " in inner else f"{key}: {inner}"
    return f"{before!r} there, {now!r} here"
