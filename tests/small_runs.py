"""Runs small enough to be interrupted many times: three experiences of 25 samples, on features or tiny images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from lorisbench.common.errors import Stopped
from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.model.models import Backbone
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.one_run import train
from lorisbench.runs.workbench import Workbench
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import resolve

EXPERIENCES, CLASSES, WIDTH, SIZE = 3, 3, 8, 16
TRAINING = {"epochs": 2, "batch_size": 8, "lr": 0.05, "optimizer": "sgd", "momentum": 0.5}
SPLITS = {"train": 25, "validation": 6, "test": 9}


def manifest(tasks: bool = False, classes_arrive: bool = False, val_as_replay: bool = False) -> Manifest:
    """A stream without files; with task labels, or with one more class in each experience."""
    rows = [
        (f"{e}-{split}-{i}", min(i, e) % CLASSES if classes_arrive else i % CLASSES, "", e, split, "", 1, "", e)
        for e in range(EXPERIENCES)
        for split, count in SPLITS.items()
        for i in range(count)
    ]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "task"])
    names = [str(e) for e in range(EXPERIENCES)]
    if not tasks:
        table = table.drop(columns="task")
    made = Manifest(table, Path(), "small", True, [str(c) for c in range(CLASSES)], names, val_as_replay=val_as_replay)
    vars(made)["content_hash"] = f"small {tasks} {classes_arrive}"  # of no images
    return made


def backbone() -> Backbone:
    """A convolution with BatchNorm, uint8 (batch, 3, 16, 16) -> float32 (batch, 8), always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, WIDTH // 4, 3, padding=1), nn.BatchNorm2d(WIDTH // 4), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
    return Backbone(network, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), feature_dim=WIDTH)


def bench(entry: Any, of: Manifest | None = None, **settings: Any) -> Workbench:
    """What the only run of a suite with these settings needs; `entry` is the strategy's in the suite."""
    of = of or manifest()
    values: dict[str, Any] = {
        "name": "small",
        "benchmark": {"name": "openloris-sim"},
        "backbone": {"name": "pixels", "image_size": SIZE},
        "training": TRAINING,
        "strategies": [entry] if isinstance(entry, str) else {"method": entry},
        "seeds": [0],
        "device": "cpu",
        **settings,
    }
    suite = resolve(parse(SuiteConfig, values))
    generator = torch.Generator().manual_seed(0)
    on_features = suite.config.backbone.same_features
    shape = (WIDTH,) if on_features else (3, SIZE, SIZE)
    y = torch.tensor(of.table.label.to_numpy(dtype=np.int64))
    x = torch.randn(len(y), *shape, generator=generator) + y.view(-1, *[1] * len(shape))
    x = x if on_features else (128 + 30 * x).clamp(0, 255).to(torch.uint8)
    own = backbone()
    if suite.config.backbone.train == "never":
        own.freeze()
    cpu = torch.device("cpu")
    made = Workbench(suite.config, of, cpu, cpu, own, x, y, torch.tensor(of.task_labels()))
    vars(made)["spec"] = suite.runs[0]
    return made


def run(made: Workbench, folder: Path, stop: Callable[[], bool] = lambda: False) -> RunDirectory:
    """Train the only run of `bench` in this folder."""
    directory = RunDirectory(folder)
    train(made, vars(made)["spec"], directory, stop)
    return directory


def interrupted(made: Workbench, folder: Path, experiences: Sequence[int] = (1, 2)) -> RunDirectory:
    """The same run, stopped in the first step of each of these experiences and then begun again."""
    for experience in experiences:
        steps = 0

        def stop(experience: int = experience) -> bool:
            nonlocal steps
            steps += len(RunDirectory(folder).lines()) == experience
            return steps > 1  # asked before the first step, too

        with pytest.raises(Stopped):
            run(made, folder, stop)
    return run(made, folder)


def written(folder: Path) -> dict[str, Any]:
    """What a finished run left that no interrupt may change: predictions, journal without times, tables, model."""
    directory = RunDirectory(folder)
    assert directory.status()["status"] == "done", directory.status()
    entries = [
        {k: v for k, v in e.items() if k not in ("train_seconds", "peak_memory_mb")} for e in directory.entries()
    ]
    model = load_file(folder / "checkpoint" / "model.safetensors")
    answers = directory.answers()._asdict()
    found: dict[str, Any] = {name: None if array is None else array.tobytes() for name, array in answers.items()}
    found |= {f"model {name}": array.tobytes() for name, array in model.items()}
    found |= {table.name: table.read_text() for table in folder.glob("*.csv")}
    return found | {
        "journal": json.dumps(entries),
        "checkpoints": sorted(p.name for p in (folder / "checkpoint").iterdir()),
    }
