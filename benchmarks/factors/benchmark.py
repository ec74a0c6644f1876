"""Any labelled images as a stream of OpenLORIS-Object's four factors, which are computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, field_validator

from lorisbench.benchmarks.classic.labelled import Labelled, read_labelled
from lorisbench.benchmarks.factors.files import Job, pixels_of
from lorisbench.benchmarks.factors.painting import Step
from lorisbench.benchmarks.openloris.benchmark import Protocol
from lorisbench.benchmarks.openloris.words import FACTORS, LEVELS
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import COLUMNS, POSITION, SPLITS, Manifest
from lorisbench.data.subsets import arrange, check_objects, choose, in_stream_order

PART = {"test": 5, "validation": 8}  # without a number and its own folder, a split takes one image in so many


class Factors(Protocol, name="factors"):
    """Your labelled images (or Fashion-MNIST) under OpenLORIS's four factors at three levels, computed (synthetic).

    `root` is a folder of class folders, with or without train and test folders above them, or of Fashion-MNIST's four
    files; without it, Debian's package of Fashion-MNIST is read. The object of a picture is its opaque part; where
    nothing is transparent, as in photographs, the whole picture counts as the object.

    `sequence` is 12 experiences, each level of each factor; `factor` the three levels of one. Level 1 of all four
    factors means the same conditions but not the same images: each has its own placement and backdrop, as views differ
    in OpenLORIS. `train`, `validation` and `test` are images of each class in an experience (null: all there are, or a
    part where splits divide one folder), drawn by `seed`, which also seeds what is computed. With `share`, all
    experiences show the same pictures under different conditions; without it, each has its own. No picture is in two
    splits. `objects` is a number, or names, of classes, and `size` the images' side in pixels.
    """

    protocol: Literal["sequence", "factor"] = "sequence"
    root: str | None = None
    train: int | None = Field(60, ge=1)
    validation: int | None = Field(12, ge=0)
    test: int | None = Field(20, ge=1)
    share: bool = True
    objects: int | list[str] | None = None
    size: int = Field(64, ge=32, le=1024)
    seed: int = Field(0, ge=0)

    _check_objects = field_validator("objects")(check_objects)

    def manifest(self) -> Manifest:
        chosen = self.objects if isinstance(self.objects, list) else None
        images = read_labelled(None if self.root is None else Path(self.root), chosen)
        classes = choose(images.classes, self.objects)
        factors = FACTORS if self.factor is None else (self.factor,)
        steps = tuple((factor, level) for factor in factors for level in range(1, LEVELS + 1))
        wanted = {"train": self.train, "validation": self.validation, "test": self.test}
        drawn = draw(images, classes, wanted, 1 if self.share else len(steps), self.fraction, self.seed)
        jobs = [
            Job(picture, split, steps if self.share else (steps[place % len(steps)],))
            for (split, _), pictures in drawn.items()
            for place, picture in enumerate(pictures)
        ]
        pixels = pixels_of(images, jobs, self.size, self.seed)
        whole = Manifest(
            _table(images, classes, jobs, steps),
            images.root,
            f"{images.name} with computed factors",
            True,
            classes,
            [f"{factor} {level}" for factor, level in steps],
            f"{images.source}; light, occlusion, object size and clutter computed by lorisbench (no scene is real)",
            {
                **images.notes,
                "levels": f"the levels each image reached are in the cache folder: pixels/{pixels.stem}.csv",
            },
            pixels=pixels,
        )
        return arrange(whole, replace(self.subset(), fraction=1.0))  # `draw` has applied `fraction` already


def _table(images: Labelled, classes: list[str], jobs: Sequence[Job], steps: Sequence[Step]) -> pd.DataFrame:
    """A manifest's table of the images of jobs, which are in the pixels file in the order of the jobs."""
    label = {name: number for number, name in enumerate(classes)}
    experience = {step: number for number, step in enumerate(steps)}
    rows = []
    for job in jobs:
        name, class_name, _ = images.pictures[job.picture]
        for factor, level in job.steps:
            path = f"{job.split}/{factor}{level}/{class_name}/{name.rpartition('/')[2]}"
            step = experience[factor, level]
            rows.append((path, label[class_name], class_name, step, job.split, factor, level, name))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return in_stream_order(table.assign(**{POSITION: range(len(table))}))


def draw(
    images: Labelled,
    classes: Sequence[str],
    wanted: Mapping[str, int | None],
    portions: int,
    fraction: float,
    seed: int,
) -> dict[tuple[str, str], list[int]]:
    """Which pictures of each class each split gets: indices by (split, class), in an order shuffled by `seed`.

    Parameters
    ----------
    wanted : pictures of a class for each portion of a split; None for all there are or, where other splits take from
        the same folder, for a part of them (see `PART`).
    portions : number of experiences that share out a split's pictures.
    fraction : share of the numbers wanted that is taken.

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
    # Test pictures are drawn first, so that they stay the same however many others are asked for
    for split in ("test", "validation", "train"):
        pool = split if split in own else "train" if "train" in own else ""
        for name in classes:
            there = left.get((pool, name), [])
            number = wanted[split]
            if number is None:
                count = len(there) if split in (pool, "train") else len(there) // PART[split]
            else:
                count = number * portions
            count = max(portions, round(count * fraction)) if count or number is None else 0
            if number is None and split == "validation" and pool != split:  # what training needs is left to it
                count = max(0, min(count, len(there) - portions))
            if count > len(there):
                raise InputError(
                    f"{images.root}: class {name!r} has {len(there)} images left for {split}, {count} are needed; "
                    "ask for fewer with the keys train, validation and test (null: all there are)"
                )
            drawn[split, name], left[pool, name] = there[:count], there[count:]
    return {(split, name): drawn[split, name] for split in SPLITS for name in classes}


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=8).digest()
