"""Subsets and orders of a stream: experiences permuted or shuffled, fewer classes, fewer images."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lorisbench.common.errors import InputError
from lorisbench.data.benchmark import Benchmark
from lorisbench.data.manifest import SPLITS, Manifest
from lorisbench.data.usable import some, told


class Shuffle(BaseModel):
    """`order: {seed: 3}`: the experiences shuffled, the same way for the same seed everywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int = Field(ge=0)


class Shots(BaseModel):
    """`shots: {recordings: 1}`, or `{frames: 25}`: how little of each class an experience trains on.

    `recordings` of each class are drawn, and of their images, or of all, `frames` of each class, evenly spaced. `test`
    images of each class, evenly spaced, are tested on. Whoever has fewer gives all. `seed` draws the recordings; the
    validation images stay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    recordings: int | None = Field(None, ge=1)
    frames: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _some(self) -> Shots:
        if self.recordings is None and self.frames is None and self.test is None:
            raise ValueError("how many `recordings` or `frames` of each class was expected, or `test` images")
        return self


class Arranged(Benchmark):
    """A benchmark whose stream can be put in another order and thinned out.

    `order` is a permutation such as [2, 0, 1] (of 0..n-1: the experience that comes first, second, ...) or {seed: 3}, a
    seeded shuffle. `fraction` keeps that share of each recording (of each class, where there are no recordings).
    `shots` leaves a few recordings or frames of each class in each experience (see `Shots`). `val_as_replay` adds the
    validation images of earlier experiences to the training data of later ones, as the IROS 2019 challenge allowed.
    """

    order: list[int] | Shuffle | None = None
    fraction: float = Field(1.0, gt=0, le=1)
    shots: Shots | None = None
    val_as_replay: bool = False

    @field_validator("order")
    @classmethod
    def _check_order(cls, value: Any) -> Any:
        if isinstance(value, list) and sorted(value) != list(range(len(value))):
            raise ValueError("each of 0..n-1 must occur exactly once")
        return value

    def subset(self, objects: int | Sequence[str] | None = None) -> Subset:
        order = self.order.seed if isinstance(self.order, Shuffle) else self.order
        return Subset(order, objects, self.fraction, self.val_as_replay, self.shots)


def check_objects(value: Any) -> Any:
    """The setting `objects`: a number of classes, or their names. Raises ValueError for none."""
    if isinstance(value, int) and value < 1:
        raise ValueError("at least 1 object is needed")
    if isinstance(value, list) and (not value or len(set(value)) < len(value)):
        raise ValueError("different names are needed, at least 1")
    return value


@dataclass(frozen=True)
class Subset:
    """Which part of a stream is used, and in what order.

    Attributes
    ----------
    order : the experiences in the order they come, a permutation of 0..n-1; or the seed of a shuffle.
    objects : how many classes to take, from the first, or their names.
    fraction : share of the images of each recording and split, evenly spaced, at least one.
    val_as_replay : validation images of earlier experiences join the training data of later ones.
    shots : how few recordings and frames of each class remain.
    """

    order: Sequence[int] | int | None = None
    objects: int | Sequence[str] | None = None
    fraction: float = 1.0
    val_as_replay: bool = False
    shots: Shots | None = None


def in_stream_order(table: pd.DataFrame) -> pd.DataFrame:
    """The rows sorted by experience and split, otherwise in their present order, and renumbered."""
    split = table.split.map(dict(zip(SPLITS, range(len(SPLITS)), strict=True)))
    place = np.lexsort((split.to_numpy(), table.experience.to_numpy()))
    return table.iloc[place].reset_index(drop=True)


def arrange(manifest: Manifest, subset: Subset) -> Manifest:
    """The manifest with the experiences, classes and images that `subset` selects, and notes on them (`usable.told`).

    Raises InputError if its order is not a permutation of the experiences, or it names unknown classes.
    """
    table, notes = manifest.with_positions(), dict(manifest.notes)
    order = order_of(subset.order, manifest.experiences)
    classes = choose(list(manifest.classes), subset.objects)
    if classes != list(manifest.classes):
        table = table[table.class_name.isin(classes)]
        table = table.assign(label=table.class_name.map({name: label for label, name in enumerate(classes)}))
    if order != list(range(len(order))):
        moved = {old: new for new, old in enumerate(order)}
        table = in_stream_order(table.assign(experience=table.experience.map(moved)))
    if subset.fraction < 1:
        table = thin(table, subset.fraction)
        notes["fraction"] = f"{subset.fraction:g} of each recording"
    if subset.shots is not None:
        table = few(table, subset.shots, notes)
    arranged = replace(
        manifest, table=table.reset_index(drop=True), classes=classes, notes=notes,
        experience_names=[manifest.experience_names[old] for old in order], val_as_replay=subset.val_as_replay,
    )  # fmt: skip
    return told(arranged)


def first_experiences(manifest: Manifest, count: int) -> Manifest:
    """The stream cut off after its first `count` experiences. Raises InputError if it has fewer or `count` < 1."""
    if not 1 <= count <= manifest.experiences:
        raise InputError(f"the first {count} experiences are wanted, but {manifest.name} has {manifest.experiences}")
    table = manifest.with_positions()
    table = table[table.experience < count].reset_index(drop=True)
    return replace(manifest, table=table, experience_names=list(manifest.experience_names[:count]))


def order_of(order: Sequence[int] | int | None, experiences: int) -> list[int]:
    if order is None:
        return list(range(experiences))
    if isinstance(order, int):
        shuffled = list(range(experiences))
        random.Random(f"lorisbench order {order}").shuffle(shuffled)  # Python keeps this sequence across versions
        return shuffled
    if sorted(order) != list(range(experiences)):
        raise InputError(
            f"benchmark.order: a permutation of 0..{experiences - 1} was expected, one number for each experience, "
            f"not {list(order)}"
        )
    return list(order)


def choose(classes: list[str], objects: int | Sequence[str] | None) -> list[str]:
    """The first `objects` classes, or those of the given names, in the order of `classes`. Raises InputError."""
    if objects is None:
        return classes
    if isinstance(objects, int):
        if objects > len(classes):
            raise InputError(f"benchmark.objects: {objects} were asked for, but the folder has {len(classes)}")
        return classes[:objects]
    for name in objects:
        if name not in classes:
            close = difflib.get_close_matches(name, classes, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(classes[:5])}, ..."
            raise InputError(f"benchmark.objects: no object {name!r} in the folder{hint}")
    return [name for name in classes if name in set(objects)]


def thin(table: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """Evenly spaced rows of each recording and split: max(1, round(fraction * images)), always the same."""
    keys = table.groupby(["experience", "split", "recording", "class_name"], sort=False)
    place = keys.cumcount().to_numpy()
    size = keys.path.transform("size").to_numpy()
    kept = np.maximum(1, np.rint(size * fraction)).astype(np.int64)
    # row p is kept if it is floor((i + 1/2) * size / kept) for some i: in integers, to be the same everywhere
    i = (2 * place * kept) // (2 * size)
    spots = [((2 * j + 1) * size) // (2 * kept) for j in (i, np.minimum(i + 1, kept - 1), np.maximum(i - 1, 0))]
    return table[np.logical_or.reduce([place == spot for spot in spots])]


def few(table: pd.DataFrame, shots: Shots, notes: dict[str, str]) -> pd.DataFrame:
    """The rows that `shots` leaves of each class in each experience; a note says what.

    Raises InputError if recordings are to be counted and an image has none.
    """
    kept = np.ones(len(table), dtype=bool)
    short: set[str] = set()
    for split, recordings, frames in (("train", shots.recordings, shots.frames), ("test", None, shots.test)):
        rows = np.flatnonzero((table.split == split).to_numpy())
        groups = table.iloc[rows].groupby(["experience", "class_name"], sort=False).indices
        for key, inside in groups.items():
            name = str(key[1])  # type: ignore[index]
            own = rows[np.sort(inside)]
            chosen = own
            if recordings is not None:
                chosen = _recorded(table, own, recordings, shots.seed)
                short |= {name} if table.recording.iloc[own].nunique() < recordings else set()
            if frames is not None:
                short |= {name} if len(chosen) < frames else set()
                count = min(frames, len(chosen))
                chosen = chosen[(2 * np.arange(count) + 1) * len(chosen) // (2 * count)]
            kept[np.setdiff1d(own, chosen)] = False
    counts = {"recording": shots.recordings, "training image": shots.frames, "test image": shots.test}
    words = [f"{count} {what}{'s' if count > 1 else ''}" for what, count in counts.items() if count is not None]
    fewer = f"; {some(sorted(short))} {'has' if len(short) == 1 else 'have'} fewer" if short else ""
    notes["shots"] = f"{', '.join(words)} of each class in each experience (seed {shots.seed}){fewer}"
    return table[kept]


def _recorded(table: pd.DataFrame, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Those of the rows that belong to `count` of their recordings, drawn by `seed`."""
    names = table.recording.iloc[rows].to_numpy()
    if (names == "").any():
        path = table.path.iloc[rows[names == ""][0]]
        raise InputError(f"benchmark.shots: {path} belongs to no recording that could be counted; give frames instead")
    known = sorted(set(names))  # among which the draw depends on nothing else, such as the order of experiences
    drawn = random.Random(f"lorisbench shots {seed} {known}").sample(known, min(count, len(known)))
    return rows[np.isin(names, drawn)]
