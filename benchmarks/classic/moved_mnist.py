"""MNIST, or a set stored like it, shown in each task with its pixels permuted, or turned by an angle."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from lorisbench.benchmarks.classic.labelled import MNIST_FILES, Idx
from lorisbench.benchmarks.classic.split_mnist import find, held_out, held_out_note, pixels_of
from lorisbench.data.manifest import COLUMNS, MOVE, POSITION, SPLITS, Manifest
from lorisbench.data.subsets import Arranged, arrange

Kind = Literal["permuted", "rotated"]
LARGEST_ANGLE = 180.0  # degrees


@dataclass(frozen=True)
class Draw:
    """Draws from a seed how the images of each task are shown, the same way everywhere.

    Calling it gives int64 (tasks, side * side): from which pixel each pixel comes, -1 for black.
    """

    kind: Kind
    tasks: int
    side: int

    def __call__(self, seed: int) -> np.ndarray:
        if self.kind == "rotated":
            return np.stack([turned(angle, self.side) for angle in self.angles(seed)])
        return np.stack([self._permutation(seed, task) for task in range(self.tasks)])

    def angles(self, seed: int) -> list[float]:
        """Degrees, counter-clockwise, uniform from 0 up to `LARGEST_ANGLE`: one for each task."""
        return [_numbers(self.kind, seed, task).uniform(0, LARGEST_ANGLE) for task in range(self.tasks)]

    def _permutation(self, seed: int, task: int) -> np.ndarray:
        order = list(range(self.side**2))
        _numbers(self.kind, seed, task).shuffle(order)
        return np.array(order, dtype=np.int64)


def _numbers(kind: Kind, seed: int, task: int) -> random.Random:
    """Python keeps these sequences across versions; a task's numbers do not depend on how many there are."""
    return random.Random(f"lorisbench {kind} {seed} {task}")


def turned(angle: float, side: int) -> np.ndarray:
    """int64 (side * side,): from which pixel each pixel of an image comes that Pillow turns by `angle` degrees,
    counter-clockwise, with the nearest neighbour; -1 where there was none."""
    from PIL import Image

    numbered = np.arange(1, side**2 + 1, dtype=np.int32).reshape(side, side)
    image = Image.fromarray(numbered).rotate(angle, Image.Resampling.NEAREST)
    return np.asarray(image, dtype=np.int64).ravel() - 1


class Moved(Arranged):
    """The settings of `permuted` and `rotated`.

    `root` and what is read without it are as for `split`, and so are `validation` and `pad`. Every task has all
    training and all test images, and the same ten labels; there is no task label. `stream_seed` draws what the tasks do
    to the pixels: a number, for one stream that all runs share, or `run`, for each run that of its own seed.
    """

    kind: ClassVar[Kind]
    reads: ClassVar[str] = MNIST_FILES
    tasks: int = Field(20, ge=1, le=1000)
    stream_seed: Annotated[int, Field(ge=0)] | Literal["run"] = 0
    root: str | None = None
    validation: int = Field(100, ge=0)
    pad: int = Field(0, ge=0, le=64)

    def manifest(self) -> Manifest:
        images = Idx(find(None if self.root is None else Path(self.root)))
        labels = np.array([images.classes.index(picture.class_name) for picture in images.pictures])
        split = held_out(labels, np.array([picture.split for picture in images.pictures]), self.validation)
        place = np.argsort([SPLITS.index(each) for each in split], kind="stable")  # as `in_stream_order` has them
        once = pd.DataFrame(
            {
                "path": np.array([picture.name for picture in images.pictures], dtype=object)[place],
                "label": labels[place],
                "class_name": np.array(images.classes, dtype=object)[labels[place]],
                "split": split[place],
                POSITION: place,
            }
        )
        table = pd.concat([once] * self.tasks, ignore_index=True)
        task = np.repeat(np.arange(self.tasks), len(once))
        table = table.assign(experience=task, factor="", level=0, recording="", **{MOVE: task})
        pixels = pixels_of(images, self.pad)
        draw = Draw(self.kind, self.tasks, images.side + 2 * self.pad)
        seed = 0 if self.stream_seed == "run" else self.stream_seed
        whole = Manifest(
            table[[*COLUMNS, POSITION, MOVE]], pixels.parent, f"{self.kind.capitalize()} {images.name}", False,
            images.classes, self._names(draw), images.source,
            {"splits": held_out_note(self.validation), "stream": self._told()},
            pixels=pixels, moves=draw(seed), draw=draw if self.stream_seed == "run" else None,
        )  # fmt: skip
        return arrange(whole, self.subset())

    def _names(self, draw: Draw) -> list[str]:
        if self.kind == "rotated" and self.stream_seed != "run":
            return [f"{task}: {angle:.1f}°" for task, angle in enumerate(draw.angles(self.stream_seed))]
        what = "permutation" if self.kind == "permuted" else "angle"
        return [f"{what} {task}" for task in range(self.tasks)]

    def _told(self) -> str:
        what = "a permutation of the pixels" if self.kind == "permuted" else "an angle from 0 to 180 degrees"
        whose = "each run's own seed" if self.stream_seed == "run" else f"seed {self.stream_seed}"
        return f"each task has {what}, drawn from {whose}"


class Permuted(Moved, name="permuted"):
    """Permuted MNIST: in each task, the first included, the pixels of all images are permuted in one way.

    Goodfellow et al. 2013 (arXiv 1312.6211), section 5; as Buzzega et al. 2020 (arXiv 2004.07211) have it, with 20
    tasks. Settings: `tasks`, `stream_seed`, `root`, `validation`, `pad`; see `Moved`.
    """

    kind: ClassVar[Kind] = "permuted"


class Rotated(Moved, name="rotated"):
    """Rotated MNIST: in each task all images are turned by one angle, from 0 to 180 degrees, nearest neighbour.

    Lopez-Paz and Ranzato 2017 (arXiv 1706.08840), section 4; as Buzzega et al. 2020 (arXiv 2004.07211) have it, with 20
    tasks and angles drawn uniformly. Settings: `tasks`, `stream_seed`, `root`, `validation`, `pad`; see `Moved`.
    """

    kind: ClassVar[Kind] = "rotated"
