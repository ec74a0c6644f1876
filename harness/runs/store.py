"""The output folder of a suite: what it may hold, what all runs share, and the tables collected from the runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lorisbench.common.errors import InputError
from lorisbench.common.files import read_json, write_json, write_text
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.rows import MATRIX_COLUMNS, RUN_COLUMNS, row_of
from lorisbench.suite.resolve import RunSpec, Suite, without_places

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
            foreign = (
                [p.name for p in self.root.iterdir() if p.name not in (".lock", "manifest.csv")]
                if self.root.is_dir()
                else []
            )
            if foreign:
                raise InputError(
                    f"--out {self.root}: holds files ({sorted(foreign)[0]}, …) but no suite.yaml; give an empty folder"
                )
            return suite.resolved
        try:
            before = yaml.safe_load(path.read_text("utf-8"))
            known = dict(before["strategies"])
        except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a suite.yaml written by lorisbench") from error
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
            if label in known and known[label] != settings:
                raise InputError(
                    f"--out {self.root}: holds results of strategy {label!r} with other settings "
                    f"({_difference(known[label], settings)}); give another folder or label"
                )
        merged = dict(suite.resolved)
        merged["strategies"] = {**known, **suite.resolved["strategies"]}
        merged["seeds"] = sorted({*before["seeds"], *suite.resolved["seeds"]})
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
        write_text(self.root / "suite.yaml", yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True))
        write_json(self.root / "data.json", data)
        write_text(self.root / "experiences.csv", counts.to_csv(index=False))
        for spec in suite.runs:
            directory = self.run(spec.run_id)
            if directory.status()["status"] in ("pending", "running"):
                write_text(
                    directory.path / "config.yaml",
                    yaml.safe_dump(spec.config, sort_keys=False, allow_unicode=True),
                )
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
            try:
                config = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
            except FileNotFoundError:
                continue
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise InputError(f"{folder / 'config.yaml'}: cannot be read ({type(error).__name__})") from error
            row, matrix = row_of(RunDirectory(folder), config)
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
        suite = yaml.safe_load((self.root / "suite.yaml").read_text("utf-8"))
        return {label: index for index, label in enumerate(suite["strategies"])}


def _difference(before: Any, now: Any) -> str:
    """The first leaf in which two settings differ, for a message."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(k for k in now if k not in before)]:
            if before.get(key) != now.get(key):
                inner = _difference(before.get(key), now.get(key))
                return f"{key}.{inner}" if ": " in inner else f"{key}: {inner}"
    return f"{before!r} there, {now!r} here"
