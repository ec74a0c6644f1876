"""The folder of one run: its settings, its state, its journal and its predictions."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lorisbench.common.errors import InputError
from lorisbench.common.files import atomic, write_json
from lorisbench.common.reading import as_mapping, parse_json, read_arrays, read_json, read_text
from lorisbench.common.yaml_files import write_yaml
from lorisbench.metrics.records import JournalEntry
from lorisbench.runs.claims import Lost, is_held

STATES = ("pending", "running", "done", "failed", "diverged")
FINISHED = ("done", "diverged")  # runs are deterministic: one that diverged would diverge again


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

    def set_status(self, status: str, reason: str = "", **more: Any) -> None:
        self._check_claim()
        write_json(self.path / "status.json", {"status": status, "reason": reason, **more})

    def start(self, config: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Prepare the folder for a fresh run: whatever an unfinished attempt left behind is removed."""
        self._check_claim()
        for name in ("journal.jsonl", "predictions.npz", "latency.json", "model.onnx"):
            (self.path / name).unlink(missing_ok=True)
        for table in self.path.glob("*.csv"):
            if table.is_file():
                table.unlink()
        write_yaml(self.path / "config.yaml", config)
        write_json(self.path / "env.json", environment)
        self.set_status("running", pid=os.getpid())

    def journal(self, entry: Mapping[str, Any]) -> None:
        """Append one line and force it to disk."""
        self._check_claim()
        with open(self.path / "journal.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """The journal, one mapping per experience; a last line cut short by a crash is left out.

        Raises InputError, naming file and line, for any other line that is no entry.
        """
        file = self.path / "journal.jsonl"
        if not file.exists():
            return []
        entries = []
        lines = read_text(file).splitlines()
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

    def write_predictions(self, predicted: np.ndarray, label: np.ndarray, experience: np.ndarray) -> None:
        """predicted: int32 (experiences trained so far, samples); label, experience: int32 (samples,)."""
        self._check_claim()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, predicted=predicted, label=label, experience=experience)
        with atomic(self.path / "predictions.npz") as stream:
            stream.write(buffer.getvalue())

    def matrix(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Accuracy matrix R from the predictions, float64 (rows trained, experiences), and images per experience.

        None if there are no predictions; raises InputError, naming the file, if they are damaged.
        """
        if not (self.path / "predictions.npz").exists():
            return None
        predicted, label, experience = self.predictions()
        n = np.bincount(experience)
        hits = np.stack([np.bincount(experience, weights=row) for row in predicted == label])
        with np.errstate(invalid="ignore"):  # an experience without test images has no accuracy
            return hits / n, n

    def predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `write_predictions` wrote. Raises InputError, naming the file, if it is missing or damaged."""
        file = self.path / "predictions.npz"
        predicted, label, experience = read_arrays(file, ("predicted", "label", "experience"))
        wanted = "integers were expected: predicted (experiences trained, images), label and experience (images,)"
        if not all(array.dtype.kind in "iu" for array in (predicted, label, experience)):
            raise InputError(f"{file}: {wanted}")
        if predicted.ndim != 2 or not predicted.size or not label.shape == experience.shape == predicted.shape[1:]:
            raise InputError(f"{file}: {wanted}, not {predicted.shape}, {label.shape} and {experience.shape}")
        first, last = int(experience.min()), int(experience.max())
        if first < 0 or last >= len(experience) or len(predicted) > last + 1:
            raise InputError(f"{file}: {len(predicted)} rows for experiences {first} to {last}")
        return predicted, label, experience

    def damage(self) -> str:
        """What is wrong with the files that say how a run went; empty if nothing."""
        try:
            self.entries()
            self.matrix()
        except InputError as error:
            return str(error)
        return ""
