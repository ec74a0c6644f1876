"""The folder that a suite leaves, written without training anything: what a report is made from."""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lorisbench.metrics import correct
from lorisbench.metrics.correct import CORRECT, Correct
from lorisbench.metrics.table import compute

FACTORS = ("illumination", "occlusion", "pixel", "clutter")


def data_of(page: str) -> dict[str, Any]:
    """What the page's script works on."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def experience_names(count: int) -> list[tuple[str, str, int]]:
    return [(f"{FACTORS[k // 3 % 4]} {k % 3 + 1}", FACTORS[k // 3 % 4], k % 3 + 1) for k in range(count)]


def accuracy_matrix(size: int, seed: int, final: float, forgets: float) -> np.ndarray:
    """A plausible matrix: high diagonal, decay below it, weak futures."""
    rng = np.random.default_rng(seed)
    i, j = np.indices((size, size))
    matrix = np.where(i >= j, final + 0.2 - forgets * (1 - 0.8 ** (i - j)), final - 0.25)
    return np.clip(matrix + rng.normal(0, 0.02, (size, size)), 0, 1)


class Folder:
    """Writes what a suite leaves in its output folder, run by run."""

    def __init__(self, out: Path, experiences: int = 3, **suite: Any) -> None:
        self.out = out
        self.size = experiences
        self.rows: list[dict[str, Any]] = []
        self.cells: list[dict[str, Any]] = []
        self.suite: dict[str, Any] = {
            "name": "twelve tasks",
            "description": "Twelve tasks in sequence.",
            "benchmark": {"name": "openloris-sim", "protocol": "twelve", "root": "/some/where"},
            "backbone": {
                "name": "tf_efficientnet_lite0",
                "train": "never",
                "image_size": 96,
                "norm": "batch",
            },
            "head": {"hidden": []},
            "training": {"epochs": 5, "batch_size": 32, "optimizer": "adam", "lr": 0.003, "later": {"lr": None}},
            "evaluation": {"split": "test"},
            "strategies": {},
            "seeds": [],
        } | suite
        self.data: dict[str, Any] | None = {
            "name": "OpenLORIS-Sim", "synthetic": True, "source": "benchmarks.synthetic, version 1",
            "classes": [f"object {k}" for k in range(10)], "images": 1200 * experiences, "content_hash": "b2:0123abcd",
        }  # fmt: skip

    def run(
        self, label: str, seed: int, matrix: np.ndarray | None = None, strategy: str = "naive", **values: Any
    ) -> str:
        """One run; finished where it has a matrix, else failed. `values` overrides columns of results.csv."""
        self.suite["strategies"].setdefault(label, {"strategy": strategy})
        if seed not in self.suite["seeds"]:
            self.suite["seeds"].append(seed)
        run_id = f"run{len(self.rows):03d}-{seed}"
        row: dict[str, Any] = {
            "run_id": run_id, "benchmark": "openloris-sim", "strategy": label, "seed": seed,
            "status": "failed" if matrix is None else "done", "reason": "", "experiences": self.size,
        }  # fmt: skip
        if matrix is not None:
            found, reasons = compute(matrix)
            row |= found | {
                "train_seconds": 61.25, "latency_p50_ms": 5.5, "latency_p95_ms": 6.75, "latency_ratio": 1.1,
                "model_mb": 13.6, "state_mb": 0.0, "replay_samples": 0, "heads": 1,
                "undefined": "; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
            }  # fmt: skip
            self.cells += [
                {"run_id": run_id, "after_experience": i, "test_experience": j, "accuracy": matrix[i, j], "n": 120}
                for i in range(len(matrix)) for j in range(len(matrix))
            ]  # fmt: skip
        self.rows.append(row | values)
        environment = {
            "versions": {"python": "3.11.7", "torch": "2.14.1", "lorisbench": "0.1.0"},
            "machine": {"cpu": "Some CPU", "cores": 2, "memory_gb": 23.5, "gpu": None, "system": "Linux"},
            "threads": 1, "date": "2026-11-23T08:00:00",
        }  # fmt: skip
        self.put(run_id, "env.json", json.dumps(environment))
        latency = {"calls": 100, "batch": 1, "threads": 1, "ms": [5.5] * 100, "bare_ms": [5.0] * 100}
        self.put(run_id, "latency.json", json.dumps(latency))
        return run_id

    def put(self, run_id: str, name: str, text: str) -> None:
        path = self.out / "runs" / run_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def decide(self, run_id: str, rows: Sequence[dict[str, Any]]) -> None:
        self.put(run_id, "decisions.csv", pd.DataFrame(rows).to_csv(index=False))

    def write(self) -> Path:
        self.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.rows).to_csv(self.out / "results.csv", index=False)
        columns = ["run_id", "after_experience", "test_experience", "accuracy", "n"]
        pd.DataFrame(self.cells, columns=columns).to_csv(self.out / "matrix.csv", index=False)
        experiences = [
            {"experience": k, "name": name, "factor": factor, "level": level, "train": 960, "validation": 120,
             "test": 120}
            for k, (name, factor, level) in enumerate(experience_names(self.size))
        ]  # fmt: skip
        pd.DataFrame(experiences).to_csv(self.out / "experiences.csv", index=False)
        (self.out / "suite.yaml").write_text(yaml.safe_dump(self.suite, sort_keys=False))
        if self.data is not None:
            (self.out / "data.json").write_text(json.dumps(self.data))
        return self.out


EXPERIENCES, RECORDINGS, FRAMES = 3, 20, 6
IMAGES = EXPERIENCES * RECORDINGS * FRAMES
EXPERIENCE = np.repeat(np.arange(EXPERIENCES, dtype=np.int32), RECORDINGS * FRAMES)
RECORDING = np.repeat(np.arange(EXPERIENCES * RECORDINGS), FRAMES)


def answered(
    out: Path, chances: Mapping[str, tuple[float, ...]], seeds: int = 3, recordings: bool = True, **suite: object
) -> Path:
    """An output whose runs answer images rightly with these chances on each experience; whole recordings are hard."""
    folder, runs = Folder(out, EXPERIENCES, **suite), {}
    hard = np.random.default_rng(1).normal(0, 0.15, EXPERIENCES * RECORDINGS)
    for label, chance in chances.items():
        for seed in range(seeds):
            drawn = np.random.default_rng(100 + seed).uniform(size=IMAGES)  # a seed's luck is shared: it is paired
            right = drawn < np.clip(np.take(chance, EXPERIENCE) + hard[RECORDING], 0, 1)
            row = np.bincount(EXPERIENCE, weights=right) / (RECORDINGS * FRAMES)
            run = folder.run(label, seed, np.tile(row, (EXPERIENCES, 1)))
            runs[run] = Correct(np.arange(IMAGES, dtype=np.int32), EXPERIENCE, right)
    folder.write()
    stream = "openloris-sim"
    correct.write(out / CORRECT, {stream: runs})
    columns = {"stream": stream, "image": np.arange(IMAGES), "path": "", "label": 0, "class_name": ""}
    columns |= {"experience": EXPERIENCE, "split": "test", "factor": "", "level": 1}
    images = pd.DataFrame(columns | {"recording": [f"r{k}" if recordings else "" for k in RECORDING]})
    (out / "images.csv.gz").write_bytes(gzip.compress(images.to_csv(index=False).encode()))
    return out
