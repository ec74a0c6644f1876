"""Any labelled images as a stream of OpenLORIS-Object's four factors, which are computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from benchmarks.factor_files import Job, pixels_of
from benchmarks.labelled import Labelled, read_labelled
from benchmarks.manifest import COLUMNS, SPLITS, Manifest
from benchmarks.openloris import Protocol, Shuffle
from benchmarks.protocols import _order as order_of
from benchmarks.tree import FACTORS, LEVELS
from harness.errors import InputError

PART = {"test": 5, "validation": 8}  # without a number, and a folder of its own, each so-many-th image is for the split


class Factors(Protocol, name="factors"):
    """Your labelled images (or Fashion-MNIST) under OpenLORIS's four factors at three levels, computed (synthetic).

    `root` is a folder of class folders, with train and test folders above them or without, or of Fashion-MNIST's four
    files; without it, Debian's package of Fashion-MNIST is read. `sequence` is 12 experiences, each level of each
    factor; `factor` the three levels of one. The three levels 1 are the same conditions but not the same images: each
    image has a placement and a backdrop of its own, as views differ in OpenLORIS.

    `train`, `validation` and `test` are images of each class in an experience (null: all there are), drawn by `seed`,
    which also seeds what is computed. With `share`, all experiences show the same pictures under different conditions;
    without, each has its own. No picture is in two splits. `size` is the images' side in pixels.
    """

    protocol: Literal["sequence", "factor"] = "sequence"
    root: str | None = None
    train: int | None = Field(60, ge=1)
    validation: int | None = Field(12, ge=1)
    test: int | None = Field(20, ge=1)
    share: bool = True
    size: int = Field(64, ge=32, le=1024)
    seed: int = Field(0, ge=0)

    def manifest(self) -> Manifest:
        images = read_labelled(None if self.root is None else Path(self.root))
        factors = FACTORS if self.factor is None else (self.factor,)
        steps = tuple((factor, level) for factor in factors for level in range(1, LEVELS + 1))
        wanted = {"train": self.train, "validation": self.validation, "test": self.test}
        drawn = draw(images, wanted, 1 if self.share else len(steps), self.fraction, self.seed)
        jobs = [
            Job(index, split, steps if self.share else (steps[place % len(steps)],))
            for (split, _), indices in drawn.items()
            for place, index in enumerate(indices)
        ]
        order = order_of(self.order.seed if isinstance(self.order, Shuffle) else self.order, len(steps))
        experience = {steps[old]: new for new, old in enumerate(order)}
        label = {name: number for number, name in enumerate(images.classes)}
        rows = [
            (f"{split}/{factor}{level}/{class_name}/{Path(name).name}", label[class_name], class_name,
             experience[factor, level], split, factor, level, name)
            for index, split, own in jobs
            for name, class_name in [images.pictures[index][:2]]
            for factor, level in own
        ]  # fmt: skip
        pixels = pixels_of(images, jobs, self.size, self.seed)
        return Manifest(
            pd.DataFrame(rows, columns=COLUMNS),
            images.root,
            f"{images.name} with computed factors",
            True,
            images.classes,
            [f"{steps[old][0]} {steps[old][1]}" for old in order],
            f"{images.source}; light, occlusion, object size and clutter computed by lorisbench (no scene is real)",
            {"levels": f"what each image's came to is in the cache folder: pixels/{pixels.stem}.csv"},
            self.val_as_replay,
            pixels,
        )


def draw(
    images: Labelled, wanted: Mapping[str, int | None], portions: int, fraction: float, seed: int
) -> dict[tuple[str, str], list[int]]:
    """Which pictures each split has of each class: indices by (split, class), in an order that `seed` shuffles.

    Parameters
    ----------
    wanted : pictures of a class for each portion of a split; None for all that are there, or, where other splits take
        from the same folder, for a part of them (see `PART`).
    portions : experiences among which a split's pictures are divided.
    fraction : of the numbers wanted, so much.

    Raises
    ------
    InputError : a class has too few pictures.
    """
    left: dict[tuple[str, str], list[int]] = {}
    for index in sorted(range(len(images.pictures)), key=lambda i: _rank(seed, images.pictures[i].name)):
        picture = images.pictures[index]
        left.setdefault((picture.split, picture.class_name), []).append(index)
    own = {split for split, _ in left}
    drawn = {}
    # The tests' pictures are drawn first: they stay the same whatever number of others is asked for
    for split in ("test", "validation", "train"):
        pool = split if split in own else "train" if "train" in own else ""
        for name in images.classes:
            there = left.get((pool, name), [])
            number = wanted[split]
            if number is None:
                count = len(there) if split in (pool, "train") else len(there) // PART[split]
            else:
                count = number * portions
            count = max(portions, round(count * fraction))
            if count > len(there):
                raise InputError(
                    f"{images.root}: class {name!r} has {len(there)} images left for {split}, {count} are needed; "
                    "ask for fewer by the keys train, validation and test (null: all there are)"
                )
            drawn[split, name], left[pool, name] = there[:count], there[count:]
    return {(split, name): drawn[split, name] for split in SPLITS for name in images.classes}


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=8).digest()
