"""Protocols: which images of a tree make which experience, in what order, and how many of them.

factor     Benchmark 1: the 9 segments or tasks (3 levels x 3 views) of one factor
sequence   Benchmark 2: 12 tasks, each level of each factor
challenge  IROS 2019: the nine batches of mixed factors, or the final's 12 tasks, whichever the tree has
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from lorisbench.benchmarks.left_out import note_left_out
from lorisbench.benchmarks.openloris.checksums import known_checksums
from lorisbench.benchmarks.openloris.words import (
    FACTORS,
    LABELS,
    LEVELS,
    LISTS,
    SEGMENTS,
    SOURCE,
    TASKS,
    Group,
    Reading,
    Row,
    level_of,
)  # fmt: skip
from lorisbench.benchmarks.tree import IMAGE_SUFFIXES
from lorisbench.common.errors import InputError
from lorisbench.data.formats import is_image
from lorisbench.data.manifest import COLUMNS, SPLITS, Manifest
from lorisbench.data.marker import name_in
from lorisbench.data.subsets import Subset, arrange, in_stream_order

Experience = tuple[str, list[Group]]
BATCHES = 9


def experiences_of(layout: str, available: list[Group], protocol: str, factor: str | None) -> list[Experience]:
    """Names and groups of the experiences of a protocol in a tree of some layout.

    `available` only shows which kinds of group there are: a missing one with a known number is still listed, so that
    the reader can name its folder. `natural` is every group that is there (see `layouts.read_root`).

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
        f"layout {layout!r} with {', '.join(sorted(kinds))} numbered folders or lists has no experiences for "
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
    image in every split of every experience; otherwise gaps become notes. A tree rendered by OpenLORIS-Sim (known by
    its marker file) is synthetic however it is opened. Raises InputError.
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
    table["label"] = table.class_name.map(label)
    names = [name for name, _ in experiences]
    name, source, synthetic = _identity(root)
    _note_left_out(reading, root, whole_tree=not strict)
    whole = Manifest(
        in_stream_order(table[COLUMNS]), root, name, synthetic, classes, names, source, dict(reading.notes)
    )
    return arrange(whole, subset)


def _note_left_out(reading: Reading, root: Path, whole_tree: bool) -> None:
    """Note the files that were not read; without `whole_tree`, images of other experiences are not among them."""
    used = [row.path for row in reading.rows]
    places = tuple({f"{path.rpartition('/')[0].rpartition('/')[0]}/" for path in used})

    def known(path: str) -> bool:
        name = path.rpartition("/")[2]
        listed = name in known_checksums() or name == LABELS or path.startswith(f"{LISTS.partition('/')[0]}/")
        return listed or not (whole_tree or path.startswith(places) or not is_image(path, IMAGE_SUFFIXES))

    note_left_out(reading.notes, root, used, known=known)


def _first_gap(table: pd.DataFrame, classes: list[str], experiences: int) -> tuple[str, int, str] | None:
    """The first class, experience and split without any image, by experience, split and class."""
    seen = set(table[["class_name", "experience", "split"]].drop_duplicates().itertuples(index=False, name=None))
    for index in range(experiences):
        for split in SPLITS:
            for name in classes:
                if (name, index, split) not in seen:
                    return name, index, split
    return None


def _identity(root: Path) -> tuple[str, str, bool]:
    """Name, source and whether it is synthetic."""
    name = name_in(root)
    if name is None:
        return "OpenLORIS-Object", SOURCE, False
    return name, "rendered by lorisbench (synthetic: no image was taken by a camera)", True
