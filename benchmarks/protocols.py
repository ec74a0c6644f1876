"""Protocols: which images of a tree make which experience, in what order, and how many of them.

factor     Benchmark 1: the 9 segments or tasks (3 levels x 3 views) of one factor
sequence   Benchmark 2: 12 tasks, each level of each factor
challenge  IROS 2019: the nine batches of mixed factors, or the final's 12 tasks, whichever the tree has
"""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import MARKER
from benchmarks.manifest import COLUMNS, SPLITS, Manifest
from benchmarks.tree import FACTORS, LEVELS, SEGMENTS, TASKS, Group, Reading, Row, level_of
from harness.errors import InputError

Experience = tuple[str, list[Group]]
BATCHES = 9


@dataclass(frozen=True)
class Subset:
    """What of a protocol is used.

    Attributes
    ----------
    order : the protocol's experiences in the order they come, a permutation of 0..n-1; or the seed of a shuffle.
    objects : the first so many classes, or those of these names.
    fraction : share of the images of each recording and split, evenly spaced, at least one.
    val_as_replay : validation images of earlier experiences join the training data of later ones.
    """

    order: Sequence[int] | int | None = None
    objects: int | Sequence[str] | None = None
    fraction: float = 1.0
    val_as_replay: bool = False


def experiences_of(layout: str, available: list[Group], protocol: str, factor: str | None) -> list[Experience]:
    """Names and groups of the experiences of a protocol in a tree of some layout.

    `available` tells only which kinds of group there are: a missing one of a known number is still listed, so that the
    reader says which folder it is. `natural` is every group that is there (see `layouts.read_root`).

    Raises InputError if the layout has no such protocol.
    """
    kinds = {group.kind for group in available}
    if protocol == "natural":
        return _natural(layout, available)
    if protocol == "challenge" and "batch" in kinds:
        return [(f"batch {n}", [Group("batch", n)]) for n in range(1, BATCHES + 1)]
    if protocol == "factor" and factor is not None and (kinds & set(FACTORS) or layout != "challenge"):
        if layout == "avalanche" and factor not in kinds:
            raise InputError(f"the lists of factor {factor!r} are not there (found: {', '.join(sorted(kinds))})")
        return [(_name(Group(factor, n)), [Group(factor, n)]) for n in range(1, SEGMENTS + 1)]
    if protocol in ("sequence", "challenge"):
        for kind in ("iros", "task"):  # 12 tasks as the tree itself has them
            if kind in kinds:
                groups = [Group(kind, n) for n in range(1, TASKS + 1)]
                return [(f"{group.factor} {group.level}", [group]) for group in groups]
        if layout != "challenge":
            return _levels(FACTORS)
    raise InputError(
        f"layout {layout!r} with {', '.join(sorted(kinds))} numbered folders or lists has no experiences of "
        f"protocol {protocol!r}"
    )


def _name(group: Group) -> str:
    """`clutter 2.1`: factor, level, view."""
    return f"{group.kind} {group.level}.{(group.number - 1) % (SEGMENTS // LEVELS) + 1}"


def _levels(factors: Sequence[str]) -> list[Experience]:
    """Each level of each factor: three segments."""
    segments = range(1, SEGMENTS + 1)
    return [
        (f"{factor} {level}", [Group(factor, s) for s in segments if level_of(s) == level])
        for factor in factors
        for level in range(1, LEVELS + 1)
    ]


def _natural(layout: str, available: list[Group]) -> list[Experience]:
    there = set(available)
    if layout == "release":
        present = [(name, [group for group in members if group in there]) for name, members in _levels(FACTORS)]
        return [(name, members) for name, members in present if members]
    if layout == "challenge":
        return [(f"{group.kind} {group.number}", [group]) for group in available]
    groups = [group for group in available if group.kind in FACTORS] or available
    return [(_name(group) if group.kind in FACTORS else f"{group.factor} {group.level}", [group]) for group in groups]


def make_manifest(
    root: Path,
    reading: Reading,
    experiences: list[Experience],
    place: Callable[[str, Group], str],
    subset: Subset,
    strict: bool = True,
) -> Manifest:
    """The manifest of what a layout's reader found.

    `place(split, group)` names a group's folder or list for error messages. With `strict`, each class must have an
    image in every split of every experience; without, gaps become notes. A tree rendered by OpenLORIS-Sim (known by
    its marker file) is synthetic whatever way it is opened. Raises InputError.
    """
    label = reading.labels or {n: i for i, n in enumerate(sorted({row.class_name for row in reading.rows}))}
    experience = {group: i for i, (_, members) in enumerate(experiences) for group in members}
    table = pd.DataFrame(reading.rows, columns=list(Row._fields))
    table["experience"] = [experience[row.group] for row in reading.rows]
    classes = sorted(label, key=lambda name: label[name])
    gap = _first_gap(table, classes, len(experiences))
    if gap is not None:
        name, index, split = gap
        task, members = experiences[index]
        where = ", ".join(dict.fromkeys(place(split, group) for group in members))
        said = f"object {name!r} has no {split} image of task {task!r}: looked in {where}"
        if strict:
            raise InputError(f"{root}: {said}")
        reading.notes["missing classes"] = said
    order = _order(subset.order, len(experiences))
    chosen = choose(classes, subset.objects)
    if chosen != classes:
        table = table[table.class_name.isin(chosen)]
    table = table.assign(label=table.class_name.map({name: i for i, name in enumerate(chosen)}))
    table["experience"] = table.experience.map({old: new for new, old in enumerate(order)})
    table["split"] = pd.Categorical(table.split, SPLITS)
    table = table.sort_values(["experience", "split"], kind="stable")
    table["split"] = table.split.astype(str)
    if subset.fraction < 1:
        table = thin(table, subset.fraction)
        reading.notes["fraction"] = f"{subset.fraction:g} of each recording"
    names = [experiences[index][0] for index in order]
    name, source, synthetic = _identity(root)
    return Manifest(
        table[COLUMNS].reset_index(drop=True), root, name, synthetic, chosen, names, source, dict(reading.notes),
        subset.val_as_replay,
    )  # fmt: skip


def _first_gap(table: pd.DataFrame, classes: list[str], experiences: int) -> tuple[str, int, str] | None:
    """The first class, experience and split without any image, by experience, split and class."""
    seen = set(table[["class_name", "experience", "split"]].drop_duplicates().itertuples(index=False, name=None))
    for index in range(experiences):
        for split in SPLITS:
            for name in classes:
                if (name, index, split) not in seen:
                    return name, index, split
    return None


def _order(order: Sequence[int] | int | None, experiences: int) -> list[int]:
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
    """The first so many classes, or those of the given names, in the order of `classes`. Raises InputError."""
    if objects is None:
        return classes
    if isinstance(objects, int):
        if objects > len(classes):
            raise InputError(f"benchmark.objects: {objects} were asked for, the folder has {len(classes)}")
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


def _identity(root: Path) -> tuple[str, str, bool]:
    """Name, source and whether it is synthetic."""
    marker = root / MARKER
    if not marker.is_file():
        return "OpenLORIS-Object", "She et al., ICRA 2020 (arXiv 1911.06487)", False
    try:
        stored: Any = json.loads(marker.read_text("utf-8"))
        name = str(stored["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{marker}: not the marker of a rendered set ({type(error).__name__})") from error
    return name, "rendered by lorisbench (synthetic: no image was taken by a camera)", True
