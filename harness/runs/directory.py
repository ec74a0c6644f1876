"""The folder of one run: its settings, its state, its journal and its predictions."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lorisbench.common.files import atomic, read_json, write_json
from lorisbench.common.yaml_files import write_yaml

FINISHED = ("done", "diverged")  # runs are deterministic: one that diverged would diverge again


class RunDirectory:
    """The files of one run below `OUT/runs/<run_id>/`; every write is atomic, the journal is append-only."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # a strategy may change the working folder

    def status(self) -> dict[str, Any]:
        """`{"status": ..., "reason": ...}`; a run without the file is pending."""
        return read_json(self.path / "status.json") or {"status": "pending", "reason": ""}

    def set_status(self, status: str, reason: str = "", **more: Any) -> None:
        write_json(self.path / "status.json", {"status": status, "reason": reason, **more})

    def start(self, config: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        """Prepare the folder for a fresh run: whatever an unfinished attempt left behind is removed."""
        for name in ("journal.jsonl", "predictions.npz", "latency.json", "model.onnx"):
            (self.path / name).unlink(missing_ok=True)
        for table in self.path.glob("*.csv"):
            table.unlink()
        write_yaml(self.path / "config.yaml", config)
        write_json(self.path / "env.json", environment)
        self.set_status("running", pid=os.getpid())

    def journal(self, entry: Mapping[str, Any]) -> None:
        """Append one line and force it to disk."""
        with open(self.path / "journal.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """The journal, one mapping per experience; a last line cut short by a crash is left out."""
        try:
            lines = (self.path / "journal.jsonl").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return entries

    def write_predictions(self, predicted: np.ndarray, label: np.ndarray, experience: np.ndarray) -> None:
        """predicted: int32 (experiences trained so far, samples); label, experience: int32 (samples,)."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, predicted=predicted, label=label, experience=experience)
        with atomic(self.path / "predictions.npz") as stream:
            stream.write(buffer.getvalue())

    def matrix(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Accuracy matrix R from the predictions, float64 (rows trained, experiences), and images per experience."""
        try:
            with np.load(self.path / "predictions.npz", allow_pickle=False) as stored:
                predicted, label, experience = stored["predicted"], stored["label"], stored["experience"]
        except (FileNotFoundError, ValueError, OSError, KeyError, zipfile.BadZipFile):
            return None
        n = np.bincount(experience)
        hits = predicted == label
        return np.stack([np.bincount(experience, weights=row) for row in hits]) / n, n
