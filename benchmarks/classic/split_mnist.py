"""The ten classes of MNIST, or of a set stored like it, split into tasks of a few classes each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from lorisbench.benchmarks.classic.fashion_mnist import DEBIAN
from lorisbench.benchmarks.classic.labelled import KINDS, MNIST_FILES, Idx
from lorisbench.common.cache import cache_root, cached_array
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.data.manifest import COLUMNS, POSITION, TASK, Manifest
from lorisbench.data.subsets import Arranged, arrange, in_stream_order

VERSION = 1  # of how pixels are laid out
BLOCK = 4096


class Split(Arranged, name="split"):
    """Split MNIST: the classes 0 and 1, then 2 and 3, and so on, with labels within the task or labels of their own.

    `root` is a folder of the four files of MNIST, Fashion-MNIST or another set in their format (or the folder that
    torchvision keeps MNIST in); without it, MNIST is read from where torchvision would keep it in
    `datasets/mnist` of the cache folder or, if it is not there, Fashion-MNIST from Debian's package.

    `protocol: domain` has the labels 0, 1, ... within each task, so that all tasks have the same classes and a head has
    `classes_per_task` outputs; `class` has the ten labels of the files. No task label is given in either. `task` has
    the labels of `domain` and a task label, for heads with an output layer for each task (`head.per_task`).
    `validation` images of each class (or none), evenly spaced, are held out of training. `pad` puts a black border of
    that many pixels around each image.
    """

    reads: ClassVar[str] = MNIST_FILES
    protocol: Literal["domain", "class", "task"] = "domain"
    root: str | None = None
    classes_per_task: Literal[2, 5] = 2
    validation: int = Field(100, ge=0)
    pad: int = Field(0, ge=0, le=64)

    def manifest(self) -> Manifest:
        images = Idx(find(None if self.root is None else Path(self.root)))
        tasks = [
            range(first, first + self.classes_per_task)
            for first in range(0, len(images.classes), self.classes_per_task)
        ]
        within = self.protocol != "class"
        names = list(images.classes)
        if within:
            names = [
                " / ".join(images.classes[task[place]] for task in tasks) for place in range(self.classes_per_task)
            ]
        own = np.array([images.classes.index(picture.class_name) for picture in images.pictures])
        label = own % self.classes_per_task if within else own
        split = held_out(own, np.array([picture.split for picture in images.pictures]), self.validation)
        table = pd.DataFrame(
            {
                "path": [picture.name for picture in images.pictures],
                "label": label,
                "class_name": [names[value] for value in label],
                "experience": own // self.classes_per_task,
                "split": split,
                "factor": "",
                "level": 0,
                "recording": "",
                POSITION: np.arange(len(own)),
            }
        )
        columns = [*COLUMNS, POSITION]
        if self.protocol == "task":
            table[TASK] = table.experience
            columns.append(TASK)
        pixels = pixels_of(images, self.pad)
        whole = Manifest(
            in_stream_order(table)[columns], pixels.parent, images.name, False, names,
            [" and ".join(images.classes[k] for k in task) for task in tasks], images.source,
            {"splits": held_out_note(self.validation)},
            pixels=pixels,
        )  # fmt: skip
        return arrange(whole, self.subset())


def find(root: Path | None) -> Path:
    """The folder of the four files. Raises InputError, in one line that says what to do, if there is none."""
    name = KINDS["images"][0]
    inner = (Path(), Path("MNIST/raw"), Path("raw"))
    places = (
        [root / path for path in inner] if root else [cache_root() / "datasets" / "mnist" / "MNIST" / "raw", DEBIAN]
    )
    for place in places:
        if any((place / f"train-{name}{suffix}").is_file() for suffix in ("", ".gz")):
            return place
    if root:
        raise InputError(f"{root}: has no train-{name}.gz (nor train-{name}), one of the four files of MNIST")
    raise InputError(
        f"neither MNIST (its four files in {places[0]}, or give their folder with --data-root DIR) nor Fashion-MNIST "
        f"({DEBIAN}: apt-get install dataset-fashion-mnist) was found"
    )


def held_out_note(count: int) -> str:
    """What `held_out` has done, for a manifest's notes."""
    return f"{count} training images of each class, evenly spaced, are validation images"


def held_out(classes: np.ndarray, split: np.ndarray, count: int) -> np.ndarray:
    """The splits, where `count` training images of each class, evenly spaced, are for validation. Raises InputError."""
    split = split.astype(object)
    for value in np.unique(classes):
        there = np.flatnonzero((classes == value) & (split == "train"))
        if count >= max(1, len(there)):
            raise InputError(
                f"benchmark.validation: {count} images of a class that has {len(there)} for training; give fewer, or 0"
            )
        split[there[(2 * np.arange(count) + 1) * len(there) // max(1, 2 * count)]] = "validation"
    return split


def pixels_of(images: Idx, pad: int) -> Path:
    """The file of all images in the order of `pictures`, uint8 (images, height, width, 1); made if it is missing."""
    digest = images.digest(range(len(images.pictures)))
    path = cache_root() / "pixels" / f"{digest_of({'split': digest, 'pad': pad, 'version': VERSION})}.npy"
    height, width = np.asarray(images.image(0)).shape
    border = ((0, 0), (pad, pad), (pad, pad))

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(images.pictures), BLOCK):
            indices = range(start, min(start + BLOCK, len(images.pictures)))
            yield np.pad(np.stack([np.asarray(images.image(i)) for i in indices]), border)[..., None]

    shape = (len(images.pictures), height + 2 * pad, width + 2 * pad, 1)
    cached_array(path, "|u1", shape, f"reading {images.name}", blocks)
    return path
