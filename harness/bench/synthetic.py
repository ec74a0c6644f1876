"""Random features for benchmarks: a store of them, a stream or a single experience, and an engine to train on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.suite.training import TrainingConfig

WIDTH = 1280  # features of efficientnet-lite0
CPU = torch.device("cpu")


def stream_of(
    counts: Mapping[str, int], experiences: int, classes: int, width: int, device: torch.device = CPU
) -> tuple[Store, Any]:
    """A store and its stream with so many samples of each split in each experience; labels take turns."""
    rows = [
        (f"{experience}-{split}-{i}", i % classes, "", experience, split, "", 1, "")
        for experience in range(experiences)
        for split, count in counts.items()
        for i in range(count)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    names = [str(label) for label in range(classes)], [str(experience) for experience in range(experiences)]
    labels = torch.from_numpy(table.label.to_numpy(copy=True))
    store = Store(torch.randn(len(rows), width, device=device), labels.to(device))
    return store, make_stream(Manifest(table, Path(), "random numbers", True, *names), store)


def samples(count: int, classes: int, width: int, device: torch.device = CPU) -> tuple[Store, Any]:
    """Random features and labels, and the experience of `count` of them: a validation and a test sample are besides."""
    store = Store(torch.randn(count + 2, width, device=device), torch.randint(classes, (count + 2,), device=device))
    return store, one_experience(store, count)


def one_experience(store: Store, samples: int) -> Any:
    """A training experience of the first `samples` rows of a store."""
    splits = ["train"] * samples + ["validation", "test"]
    rows = [(str(i), int(store.y[i]), "", 0, split, "", 1, "") for i, split in enumerate(splits)]
    classes = [str(label) for label in range(int(store.y.max()) + 1)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return make_stream(Manifest(table, Path(), "random numbers", True, classes, ["only"]), store).train_stream[0]


def engine_of(
    model: nn.Module, plugins: list[Any], store: Store, settings: TrainingConfig, device: torch.device | None = None
) -> Engine:
    """An engine on a device, by default on the one where the samples are."""
    device = store.y.device if device is None else device
    optimizer = make_optimizer(model.to(device), settings)
    return Engine(
        model=model, optimizer=optimizer, plugins=plugins, store=store, training=settings, device=device, seed=0
    )
