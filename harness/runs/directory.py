"""The folder of one run: its settings, its state, its journal and its predictions."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lorisbench.common.errors import InputError
from lorisbench.common.files import atomic, unfinished, write_json, write_text, written
from lorisbench.common.reading import as_mapping, parse_json, read_json, read_text
from lorisbench.common.yaml_files import settings_to_yaml
from lorisbench.metrics.predictions import Stored, matrix_of, read_stored
from lorisbench.metrics.records import TABLE_HINTS, JournalEntry
from lorisbench.runs.claims import Lost, is_claim, is_held

STATES = ("pending", "running", "done", "failed", "diverged")
FINISHED = ("done", "diverged")  # runs are deterministic: one that diverged would diverge again
ENDED = (*FINISHED, "failed")  # left as they are unless one asks for more


class _Environment(BaseModel):
    """What is read of env.json: where a run was resumed."""

    model_config = ConfigDict(extra="allow", strict=True)
    resumed: list[int] = []
    resumed_on: list[dict[str, Any]] = []


class RunDirectory:
    """The files of one run below `OUT/runs/<run_id>/`; every write is atomic, the journal is append-only.

    Parameters
    ----------
    claim : the number of the claim under which this process writes (see `claims`); None for a reader. Once another
        process has taken the run over, every method that writes raises `claims.Lost`.
    """

    def __init__(self, path: Path, claim: int | None = None) -> None:
        self.path = path.absolute()  # a strategy may change the working folder
        self._claim = claim

    def _check_claim(self) -> None:
        if self._claim is not None and not is_held(self.path, self._claim):
            raise Lost(f"{self.path}: another process has taken this run over")

    def status(self) -> dict[str, Any]:
        """`{"status": ..., "reason": ...}`; a run without the file, or with a damaged one, is pending."""
        file = self.path / "status.json"
        try:
            status = read_json(file)
            if status is not None and status.get("status") not in STATES:
                raise InputError(f"{file}: the status of a run was expected, one of {', '.join(STATES)}")
        except InputError as error:
            return {"status": "pending", "reason": str(error)}
        return {"reason": "", **status} if status else {"status": "pending", "reason": ""}

    def stamped(self) -> dict[str, Any]:
        """The status, and as `written` the time stamp of its file: another one, even if it says the same, shows."""
        try:
            stamp = (self.path / "status.json").stat().st_mtime_ns
        except OSError:
            stamp = 0
        return {**self.status(), "written": stamp}

    def set_status(self, status: str, reason: str = "", **more: Any) -> None:
        self._check_claim()
        write_json(self.path / "status.json", {"status": status, "reason": reason, **more})

    def write_config(self, config: Mapping[str, Any], sync: bool = True) -> None:
        """Write config.yaml; without `sync` it may be lost with the machine, and whoever needs it makes it again."""
        with atomic(self.path / "config.yaml", sync) as stream:
            stream.write(settings_to_yaml(config).encode("utf-8"))

    def start(self, config: Mapping[str, Any], environment: Mapping[str, Any], trained: int = 0) -> list[int]:
        """Prepare the folder: what an unfinished attempt left behind is removed, but for its `trained` experiences.

        Returns from which experience the run was resumed each time, this one included; env.json keeps them, and what
        is another machine's or another version's then.
        """
        self._check_claim()
        lines = self.lines()[:trained] if trained else []  # else it may be damaged, and is removed
        stored = self.answers() if trained else None
        gone = () if trained else ("journal.jsonl", "predictions.npz", "checkpoint/state.safetensors", TABLE_HINTS)
        for name in ("latency.json", "model.onnx", *gone):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.path, self.path / "checkpoint"):
            for begun, name in unfinished(folder).items():
                if not is_claim(name):  # others may be claiming the run at this moment
                    begun.unlink(missing_ok=True)
        for table in self.path.glob("*.csv"):
            if table.is_file():
                table.unlink()
        if stored is not None:
            write_text(self.path / "journal.jsonl", "".join(f"{line}\n" for line in lines))
            self.write_predictions(**stored.until(trained)._asdict())
        self.write_config(config)
        known = self._environment() if trained else {}
        resumed = [*known.get("resumed", []), trained] if trained else []
        write_json(self.path / "env.json", _with_resumption(known, environment, resumed) if trained else environment)
        more: dict[str, Any] = {"resumed": resumed} if resumed else {}
        self.set_status("running", pid=os.getpid(), **more)
        return resumed

    def _environment(self) -> dict[str, Any]:
        """env.json, or nothing if it is missing or damaged."""
        try:
            return read_json(self.path / "env.json", _Environment) or {}
        except InputError:
            return {}

    def lines(self) -> list[str]:
        """The journal as it is written, line by line; nothing if it is missing. Raises InputError if it is no text."""
        file = self.path / "journal.jsonl"
        return read_text(file).splitlines() if file.exists() else []

    def journal(self, entry: Mapping[str, Any]) -> None:
        """Append one line and force it to disk."""
        self._check_claim()
        file = self.path / "journal.jsonl"
        with written(file), open(file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """The journal, one mapping per experience; a last line cut short by a crash is left out.

        Raises InputError, naming file and line, for any other line that is no entry.
        """
        file = self.path / "journal.jsonl"
        entries = []
        lines = self.lines()
        for number, line in enumerate(lines, start=1):
            where = f"{file}:{number}"
            try:
                value = parse_json(line, where)
            except InputError:
                if number == len(lines) and number > 1:
                    break
                raise
            entries.append(as_mapping(value, where, JournalEntry))
        return entries

    def write_predictions(
        self, predicted: np.ndarray, label: np.ndarray, experience: np.ndarray, image: np.ndarray | None = None,
        head: np.ndarray | None = None, scores: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Write predictions.npz; the arrays are those of `predictions.Stored`, without those that are None."""
        self._check_claim()
        arrays = Stored(predicted, label, experience, image, head, scores)._asdict()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
        with atomic(self.path / "predictions.npz") as stream:
            stream.write(buffer.getbuffer())

    def write_tables(self, plugins: Sequence[Any]) -> None:
        """Write <name>.csv for each of the plugins' `tables`, and how they ask for them to be plotted (`table_plots`).

        Raises ValueError unless a name is a plain file name.
        """
        import pandas as pd

        tables: dict[str, list[Mapping[str, Any]]] = {}
        hints: dict[str, dict[str, str]] = {}
        for plugin in plugins:
            asked = getattr(plugin, "table_plots", None)
            for name, hint in asked.items() if isinstance(asked, dict) else ():
                if isinstance(hint, dict):
                    hints[str(name)] = {str(key): str(value) for key, value in hint.items()}
            found = getattr(plugin, "tables", None)
            # A plugin of Avalanche or of a third party may use an attribute of this name for its own purposes
            for name, rows in found.items() if isinstance(found, dict) else ():
                if isinstance(rows, list) and rows:
                    tables.setdefault(str(name), []).extend(rows)
        for name, rows in tables.items():
            if not re.fullmatch("[a-z0-9_]+", name):
                raise ValueError(f"a table may not be called {name!r}: use only a-z, 0-9 and _")
            write_text(self.path / f"{name}.csv", pd.DataFrame(rows).convert_dtypes().to_csv(index=False))
        if hints and tables:
            write_json(self.path / TABLE_HINTS, hints)

    def matrix(self) -> tuple[np.ndarray, np.ndarray] | None:
        """`predictions.matrix_of` what is stored; None if nothing is. Raises InputError, naming the file, if it is
        damaged."""
        return matrix_of(self.answers(with_scores=False)) if self.has_predictions() else None

    def predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`predicted`, `label` and `experience` of `answers`, whatever else is there."""
        stored = self.answers(with_scores=False)
        return stored.predicted, stored.label, stored.experience

    def answers(self, with_scores: bool = True) -> Stored:
        """What `write_predictions` wrote. Raises InputError, naming the file, if it is missing or damaged."""
        return read_stored(self.path / "predictions.npz", with_scores)

    def outcome(self, status: str, with_scores: bool = False) -> tuple[list[dict[str, Any]], Stored | None]:
        """The journal's `entries` and the `answers`, which say how a run of this status went.

        Raises InputError, naming the file, if one is damaged, or if those of a finished run do not fit together.
        Predictions that are gone are no damage: the tables may still hold what came of them.
        """
        entries = self.entries()
        stored = self.answers(with_scores) if self.has_predictions() else None
        # One that is being trained writes them in turn
        if status in FINISHED and stored is not None and len(entries) != len(stored.predicted):
            file = self.path / "journal.jsonl"
            raise InputError(f"{file}: {len(entries)} experiences, where predictions.npz has {len(stored.predicted)}")
        return entries, stored

    def damage(self, status: str) -> str:
        """What is wrong with the files that say how a run of this status went; empty if nothing."""
        try:
            self.outcome(status)
        except InputError as error:
            return str(error)
        return ""

    def has_predictions(self) -> bool:
        """Whether there is a file of predictions."""
        return (self.path / "predictions.npz").exists()


def _with_resumption(known: Mapping[str, Any], now: Mapping[str, Any], resumed: list[int]) -> dict[str, Any]:
    """env.json of a run that goes on: the first environment, and each later one that differs from the one before."""
    later = [*known.get("resumed_on", [])]
    before = later[-1] if later else known
    if any(before.get(key) != value for key, value in now.items() if key != "date"):
        later.append({"experience": resumed[-1], **now})
    first = known if "machine" in known else now
    return {**first, "resumed": resumed, **({"resumed_on": later} if later else {})}
