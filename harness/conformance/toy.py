"""The toy stream of the conformance kit: generated samples, and strategies built and trained on them as a run does."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from lorisbench.common import registry
from lorisbench.data.manifest import COLUMNS, SPLITS, Manifest
from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.assembly import built, context_of, seed_everything
from lorisbench.engine.divergence import check_weights
from lorisbench.engine.evaluation import learn
from lorisbench.engine.strategy import Context
from lorisbench.model.models import Backbone
from lorisbench.suite.config import BackboneConfig, HeadConfig
from lorisbench.suite.entries import kinds_of, make_strategy
from lorisbench.suite.spec import RunSpec
from lorisbench.suite.training import LaterConfig, TrainingConfig

Mode = Literal["features", "frozen", "images"]

CLASSES, EXPERIENCES, WIDTH, SIZE = 4, 4, 16, 8
NEW = 2
NEAR = 0.25  # how far nearly the same samples are apart, in units of what tells classes apart
SETTINGS: dict[str, BackboneConfig] = {
    "features": BackboneConfig(train="never"),
    "frozen": BackboneConfig(train="never", cache=False),
    "images": BackboneConfig(train="always"),
}


@dataclass(frozen=True)
class Toy:
    """Settings of one run on the toy stream.

    Attributes
    ----------
    strategy : a strategy's entry as a suite holds it, `{"strategy": name, **settings}`.
    mode : `features` (float32), or uint8 images whose backbone is `frozen` or trained always (`images`).
    samples : training samples per experience. epochs : of the first experience and of each later one.
    arriving : each experience has `NEW` classes of its own, in place of the same `CLASSES` in all. grow : their outputs
        are masked until they come (`head.grow`).
    near : how many times each training sample is there, nearly: with many, what is made of a class, or of neighbours,
        is made of several samples and equals none.
    """

    strategy: dict[str, Any]
    mode: Mode = "features"
    seed: int = 0
    samples: int = 61
    batch_size: int = 16
    epochs: tuple[int, int] = (8, 3)
    device: str = "cpu"
    arriving: bool = False
    grow: bool = False
    near: int = 1

    def but(self, **changes: Any) -> Toy:
        return replace(self, **changes)


def apart(toy: Toy) -> contextlib.AbstractContextManager[None]:
    """Keep a run from those after it, as `lorisbench run` does: what it changes in the process is put back."""
    return registry.apart(kinds_of(make_strategy(toy.strategy)))


class Running:
    """A strategy built for a toy stream, and the stream.

    Attributes
    ----------
    store, manifest : of the stream. component : the strategy's settings object. strategy : what it built.
    stream : the Avalanche benchmark. train, tests : its training and test experiences.
    """

    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self.component = make_strategy(toy.strategy)
        self.manifest = _manifest(toy.samples, toy.arriving, toy.near)
        device = torch.device(toy.device)
        x, y = _samples(self.manifest, images=toy.mode != "features", near=toy.near)
        task = torch.from_numpy(self.manifest.table.experience.to_numpy(dtype=np.int64))
        on_features = toy.mode == "features"
        place = device if on_features else torch.device("cpu")
        self.store = Store(x.to(place), y.to(place), task if self.component.needs_task_labels else None)
        self.stream = make_stream(self.manifest, self.store)
        self.train = list(self.stream.train_stream)
        self.tests = list(self.stream.test_stream)
        self.strategy = built(self.spec, self.context())

    @property
    def spec(self) -> RunSpec:
        """The settings of a run on the stream."""
        toy = self.toy
        epochs, later = toy.epochs
        training = TrainingConfig(epochs=epochs, later=LaterConfig(epochs=later), batch_size=toy.batch_size, lr=0.01)
        return RunSpec(
            "toy",
            self.component.name,
            toy.seed,
            strategy=self.component,
            backbone=SETTINGS[toy.mode],
            head=HeadConfig(grow=toy.grow),
            training=training,
        )

    def context(self) -> Context:
        """What a strategy for the stream is built from, made as a run makes it."""
        return context_of(self.spec, self.pretrained(), *self.sizes())

    def pretrained(self) -> Backbone:
        """The backbone that a run starts from."""
        backbone = _backbone()
        if self.toy.mode == "frozen":
            backbone.freeze()
        return backbone

    def sizes(self) -> tuple[Store, int, int, torch.device]:
        """What else the stream says of a run."""
        return self.store, len(self.manifest.classes), EXPERIENCES, torch.device(self.toy.device)

    def seed(self, *parts: object) -> None:
        """Seed what is random, as a run does before each experience."""
        seed_everything(self.toy.seed, *parts)

    def learn(self, index: int) -> None:
        """Train on experience `index`."""
        self.seed(index)
        learn(self.strategy, self.stream, index)
        check_weights(self.strategy)

    def rows(self, split: str, experience: int) -> set[int]:
        """Rows of the store of one split of one experience."""
        return _rows(self.toy.samples, self.toy.arriving, self.toy.near)[split, experience]


@functools.cache
def _rows(samples: int, arriving: bool, near: int) -> dict[tuple[str, int], set[int]]:
    manifest = _manifest(samples, arriving, near)
    return {
        (split, experience): set(manifest.rows(split, experience).tolist())
        for split in SPLITS
        for experience in range(EXPERIENCES)
    }


@functools.cache
def _manifest(samples: int, arriving: bool, near: int) -> Manifest:
    rows = [
        (
            f"{experience}-{split}-{index}",
            NEW * experience + place % NEW if arriving else place % CLASSES,
            "",
            experience,
            split,
            "",
            1,
            "",
        )
        for experience in range(EXPERIENCES)
        for split, count in (("train", samples * near), ("validation", CLASSES), ("test", 6 * CLASSES))
        for index in range(count)
        for place in [index // near if split == "train" else index]
    ]
    names = [str(index) for index in range(EXPERIENCES)]
    classes = [str(label) for label in range(NEW * EXPERIENCES if arriving else CLASSES)]
    return Manifest(pd.DataFrame(rows, columns=COLUMNS), Path(), "toy", True, classes, names)


def _samples(manifest: Manifest, images: bool, near: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and int64 labels in table order: the classes are apart, and look different in each experience.

    Experience 2 has nothing in common with those before; 1 and 3 are close to their predecessors.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (3, 2, 2) if images else (WIDTH,)
    classes = len(manifest.classes)
    centres = torch.randn(2, classes, *shape, generator=generator)
    shifts = 0.4 * torch.randn(EXPERIENCES, classes, *shape, generator=generator)
    y = torch.tensor(manifest.table.label.to_numpy(dtype=np.int64))
    experience = torch.tensor(manifest.table.experience.to_numpy(dtype=np.int64))
    x = centres[experience // 2, y] + shifts[experience, y]
    if images:
        x = x.repeat_interleave(SIZE // 2, dim=2).repeat_interleave(SIZE // 2, dim=3)
    x = x + 0.4 * torch.randn(x.shape, generator=generator)
    first = torch.from_numpy(np.flatnonzero(manifest.table.split == "train")[::near].copy())
    for place in range(1, near):
        x[first + place] = x[first] + NEAR * torch.randn(x[first].shape, generator=generator)
    return ((128 + 40 * x).clamp(0, 255).to(torch.uint8) if images else x), y


def _backbone() -> Backbone:
    """A small convolution with BatchNorm, uint8 (batch, 3, 8, 8) -> float32 (batch, 16); always the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, WIDTH // 4, 3, padding=1),
            nn.BatchNorm2d(WIDTH // 4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
    return Backbone(network, (0.5, 0.5, 0.5), (0.15, 0.15, 0.15), feature_dim=WIDTH)
