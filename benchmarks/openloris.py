"""OpenLORIS-Object as released: folders of factors and segments, read into a manifest.

Layout (She et al., ICRA 2020): `{train,test,validation}/{clutter,illumination,occlusion,pixel}/segment{1..9}/
<object>_NN/*.jpg`; segments 1-3 are level 1, 4-6 level 2 and 7-9 level 3 of the factor.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import model_validator

from benchmarks import MARKER
from benchmarks.base import Benchmark
from benchmarks.manifest import COLUMNS, SPLITS, Manifest
from harness.errors import InputError

FACTORS = (
    "illumination",
    "occlusion",
    "pixel",
    "clutter",
)  # the order of the 12-task sequence (paper, section V)
SEGMENTS = 9
LEVELS = 3
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
Factor = Literal["illumination", "occlusion", "pixel", "clutter"]


class Protocol(Benchmark):
    """How segments become experiences: 12 tasks (sequence), or the 9 tasks of one factor (illumination if not said)."""

    protocol: Literal["sequence", "factor"] = "sequence"
    factor: Factor | None = None

    @model_validator(mode="before")
    @classmethod
    def _match_factor(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("protocol") == "factor":
                return {**values, "factor": values.get("factor") or FACTORS[0]}
            if values.get("factor") is not None:
                raise ValueError("the key 'factor' goes with protocol: factor")
        return values


class OpenLORIS(Protocol, name="openloris"):
    """OpenLORIS-Object in its released layout, as 12 tasks (sequence) or the 9 tasks of one factor."""

    root: str | None = None

    def manifest(self) -> Manifest:
        if self.root is None:
            raise InputError("benchmark openloris needs the folder of the data set: give --data-root DIR")
        return read_release(Path(self.root), self.protocol, self.factor)


def tasks(protocol: str, factor: str | None) -> list[tuple[str, str, list[int]]]:
    """The experiences of a protocol as (name, factor, segments).

    `sequence` is Benchmark 2 of the paper: each level of each factor is a task of three segments, factor by factor.
    `factor` is Benchmark 1: each segment (level x view) of one factor is a task.
    """
    per_level = SEGMENTS // LEVELS
    if protocol == "factor" and factor is not None:
        return [(f"{factor} {level_of(s)}.{(s - 1) % per_level + 1}", factor, [s]) for s in range(1, SEGMENTS + 1)]
    return [
        (f"{name} {level}", name, list(range((level - 1) * per_level + 1, level * per_level + 1)))
        for name in FACTORS
        for level in range(1, LEVELS + 1)
    ]


def level_of(segment: int) -> int:
    """Difficulty level 1..3 of segment 1..9."""
    return (segment - 1) // (SEGMENTS // LEVELS) + 1


def read_release(root: Path, protocol: str = "sequence", factor: str | None = None) -> Manifest:
    """Read a tree in the released layout.

    Labels are positions in the sorted list of object folders. A tree rendered by OpenLORIS-Sim (known by its marker
    file) keeps the flag `synthetic` and its own name whatever way it is opened.

    Raises
    ------
    InputError : the folder is no such tree, a segment is missing, an object has no image in some split of an
        experience, or an image has no bytes; the message names the folder or file.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (looked for an OpenLORIS-Object release tree)")
    wanted = tasks(protocol, factor)
    if not any((root / split).is_dir() for split in SPLITS):
        raise InputError(
            f"{root} is not an OpenLORIS-Object release tree: looked for "
            f"{{train,test,validation}}/{{{','.join(FACTORS)}}}/segment{{1..{SEGMENTS}}}/<object>_NN/*.jpg "
            "and found none of train, test, validation"
        )
    records: list[tuple[str, str, int, str, str, int, str]] = []
    objects: set[str] = set()
    for experience, (_, task_factor, segments) in enumerate(wanted):
        for split in SPLITS:
            for segment in segments:
                folder = f"{split}/{task_factor}/segment{segment}"
                for name, images in _objects_in(root, folder):
                    objects.add(name)
                    recording = f"{task_factor}/segment{segment}/{name}"
                    level = level_of(segment)
                    records.extend(
                        (f"{folder}/{name}/{image}", name, experience, split, task_factor, level, recording)
                        for image in images
                    )
    classes = sorted(objects)
    seen = {(name, experience, split) for _, name, experience, split, *_ in records}
    for experience, (task_name, task_factor, segments) in enumerate(wanted):
        for split in SPLITS:
            for name in classes:
                if (name, experience, split) not in seen:
                    where = ", ".join(f"{split}/{task_factor}/segment{s}/{name}" for s in segments)
                    raise InputError(
                        f"{root}: object {name!r} has no {split} image of task {task_name!r}: looked in {where}"
                    )
    table = pd.DataFrame(records, columns=["path", "class_name", "experience", "split", "factor", "level", "recording"])
    table["label"] = table.class_name.map({name: index for index, name in enumerate(classes)})
    marker = root / MARKER
    synthetic = marker.is_file()
    name, source = "OpenLORIS-Object", "She et al., ICRA 2020 (arXiv 1911.06487)"
    if synthetic:
        stored = json.loads(marker.read_text("utf-8"))
        name, source = (
            str(stored["name"]),
            "rendered by lorisbench (synthetic: no image was taken by a camera)",
        )
    return Manifest(table[COLUMNS], root, name, synthetic, classes, [task[0] for task in wanted], source)


def _objects_in(root: Path, folder: str) -> list[tuple[str, list[str]]]:
    """Object folders below a segment, sorted, each with its sorted image names. Raises InputError if it is missing."""
    try:
        names = sorted(entry.name for entry in os.scandir(root / folder) if entry.is_dir())
    except FileNotFoundError as error:
        raise InputError(f"{root / folder}: no such folder; the protocol needs it") from error
    if not names:
        raise InputError(f"{root / folder}: holds no object folders")
    found = []
    for name in names:
        images = []
        for entry in os.scandir(root / folder / name):
            if entry.name.lower().endswith(IMAGE_SUFFIXES):
                if entry.stat().st_size == 0:
                    raise InputError(f"{entry.path}: the image has no bytes")
                images.append(entry.name)
        found.append((name, sorted(images)))
    return found
