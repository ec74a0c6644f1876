"""Protocols: which images of a tree make which experience, in what order, and how many of them.

factor     Benchmark 1: the 9 segments or tasks (3 levels x 3 views) of one factor
sequence   Benchmark 2: 12 tasks, each level of each factor
challenge  IROS 2019: the nine batches of mixed factors, or the final's 12 tasks, whichever the tree has
tasks      sequence or, where a tree has batches alone, challenge: every image, to be put into other experiences
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    Gone,
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
    if protocol == "tasks":
        protocol = "challenge" if kinds == {"batch"} else "sequence"
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


def make_manifest(root: Path, reading: Reading, experiences: list[Experience], subset: Subset) -> Manifest:
    """The manifest of what a layout's reader found, whatever it lacks (see `missing`).

    A tree rendered by OpenLORIS-Sim (known by its marker file) is synthetic however it is opened. Raises InputError.
    """
    if not reading.rows:
        raise InputError(f"{root}: holds no images where the layout has them")
    classes = _classes(reading)
    experience = {group: i for i, (_, members) in enumerate(experiences) for group in members}
    table = pd.DataFrame(reading.rows, columns=list(Row._fields))
    table["experience"] = [experience[row.group] for row in reading.rows]
    table["label"] = table.class_name.map({name: label for label, name in enumerate(classes)})
    names = [name for name, _ in experiences]
    name, source, synthetic = _identity(root)
    whole = Manifest(
        in_stream_order(table[COLUMNS]), root, name, synthetic, classes, names, source, dict(reading.notes)
    )
    return arrange(whole, subset)


def note_unread(reading: Reading, root: Path, whole_tree: bool) -> None:
    """Note the files that were not read; without `whole_tree`, images of other experiences are not among them."""
    used = [row.path for row in reading.rows]
    places = tuple({f"{path.rpartition('/')[0].rpartition('/')[0]}/" for path in used})

    def known(path: str) -> bool:
        name = path.rpartition("/")[2]
        listed = name in known_checksums() or name == LABELS or path.startswith(f"{LISTS.partition('/')[0]}/")
        return listed or not (whole_tree or path.startswith(places) or not is_image(path, IMAGE_SUFFIXES))

    note_left_out(reading.notes, root, used, known=known)


def _classes(reading: Reading) -> list[str]:
    """Class names; position is the label."""
    if reading.labels is None:
        return sorted({row.class_name for row in reading.rows})
    return sorted(reading.labels, key=reading.labels.__getitem__)


def missing(
    root: Path, reading: Reading, experiences: list[Experience], place: Callable[[str, Group], str]
) -> list[tuple[str, str]]:
    """What the experiences of a protocol lack, as (split, line): parts of the tree that are not there, and objects
    without an image in a split of a task, which were looked for where `place(split, group)` says."""
    found = [(part.split, part.line) for part in reading.gone]
    gone = {(part.split, part.group) for part in reading.gone}
    seen = {(row.class_name, row.group, row.split) for row in reading.rows}
    for task, members in experiences:
        for split in SPLITS:
            if all((split, group) in gone for group in members):
                continue
            where = ", ".join(dict.fromkeys(place(split, group) for group in members))
            found += [
                (split, f"{root}: object {name!r} has no {split} image of task {task!r}: looked in {where}")
                for name in _classes(reading)
                if not any((name, group, split) in seen for group in members)
            ]
    return found


def summary(gone: Iterable[Gone], wanted: Sequence[Group], place: Callable[[str, Group], str]) -> list[str]:
    """The missing parts among the wanted groups in a few words each: whole factors, splits and levels, else places."""
    left = {(part.split, part.group) for part in gone}
    splits = [split for split in SPLITS if any(part == split for part, _ in left)]
    said = []
    for kind in dict.fromkeys(group.kind for group in wanted):
        groups = [group for group in wanted if group.kind == kind]
        word = f"factor {kind!r}" if kind in FACTORS else f"{kind}s"
        wholes = [(word, ("train", "test"), groups), *((f"{word}, {split}", (split,), groups) for split in splits)]
        for level in sorted({group.level for group in groups}) if kind in FACTORS else ():
            wholes.append((f"level {level} of {word}", ("train", "test"), [g for g in groups if g.level == level]))
        for name, parts, members in wholes:
            whole = {(split, group) for split in parts for group in members}
            if whole <= left:
                said.append(name)
                left -= {(split, group) for split in SPLITS for group in members if len(parts) > 1 or split in parts}
        said += [place(*part) for part in sorted(left, key=lambda p: (p[1].number, p[0])) if part[1].kind == kind]
    return said


def _identity(root: Path) -> tuple[str, str, bool]:
    """Name, source and whether it is synthetic."""
    name = name_in(root)
    if name is None:
        return "OpenLORIS-Object", SOURCE, False
    return name, "rendered by lorisbench (synthetic: no image was taken by a camera)", True
