"""Own data in folders: one folder per domain, one folder per class, any type of image that can be decoded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pydantic import field_validator

from lorisbench.benchmarks.left_out import TOPIC, note_left_out
from lorisbench.benchmarks.own.own_splits import UNDECIDED, OwnData
from lorisbench.benchmarks.tree import images_in, visible_subfolders
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.data.formats import image_suffixes
from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.data.marker import synthetic_name
from lorisbench.data.subsets import arrange, check_objects, in_stream_order

LOOKED_FOR = "<domain>/<class>/<image> or <domain>/{train,test[,validation]}/<class>/<image>"
SPLIT_FOLDERS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}


class Place(NamedTuple):
    """A folder of images of one class."""

    domain: str
    split: str
    class_name: str
    folder: Path


class Folder(OwnData, name="folder"):
    """Own images: <domain>/<class>/* or <domain>/{train,test}/<class>/* (PACS, Office-Home, DomainNet, CORe50, ...).

    Each domain is an experience, in the natural order of the names (s2 before s10) or as `domains` lists them. A class
    may be missing from a domain, which is reported. `objects`: a number, or names, of classes.
    """

    root: str | None = None
    domains: list[str] | None = None
    objects: int | list[str] | None = None

    _check_objects = field_validator("objects")(check_objects)

    def manifest(self) -> Manifest:
        if self.root is None:
            raise InputError("benchmark folder needs a folder: give benchmark.root or --data-root DIR")
        return read_folder(Path(self.root), self)


def read_folder(root: Path, settings: Folder) -> Manifest:
    """The manifest of a folder of domains.

    Raises InputError, in one line, if there is no such folder, it is not laid out that way, a domain of the settings is
    missing, or fewer than two classes have images.
    """
    places = list(find_places(root))
    domains = sorted({place.domain for place in places}, key=natural)
    if settings.domains is not None:
        domains = _chosen(settings.domains, domains)
        places = [place for place in places if place.domain in set(domains)]
    rows, empty = [], []
    for place in places:
        names = images_in(place.folder, False, image_suffixes())
        below = place.folder.relative_to(root).as_posix()
        if not names:
            empty.append(below)
        rows += [(f"{below}/{name}", place.class_name, domains.index(place.domain), place.split) for name in names]
    table = pd.DataFrame(rows, columns=["path", "class_name", "experience", "split"])
    notes = {"layout": "folder"}
    classes = sorted(set(table.class_name))
    if len(classes) < 2:
        # In these folders alone: the root may be a wrong one, with half a disk below it
        note_left_out(notes, root, table.path, [p.folder.relative_to(root).as_posix() for p in places], deep=False)
        there = f"all images are of one class, {classes[0]!r}; looked for" if classes else "no images in"
        others = f"; {TOPIC}: {notes[TOPIC]}" if TOPIC in notes else ""
        raise InputError(f"{root}: {there} {LOOKED_FOR}{_hint(root)}{others}")
    table = table.assign(
        factor="", level=0, recording="", label=table.class_name.map({n: i for i, n in enumerate(classes)})
    )
    note_left_out(notes, root, table.path, [""] if settings.domains is None else domains)
    if empty:
        notes["empty class folders"] = _some(empty)
    gaps = missing_classes(table, classes, domains)
    if gaps:
        notes["missing classes"] = gaps
    table = settings.decide(table, notes)
    name = synthetic_name(root, table.path)
    whole = Manifest(
        in_stream_order(table[COLUMNS]), root, name or root.resolve().name, name is not None, classes, domains,
        "own folder of images", notes,
    )  # fmt: skip
    return arrange(whole, settings.subset(settings.objects))


def find_places(root: Path) -> Iterator[Place]:
    """The class folders below a root. Raises InputError if the root is not a folder, or mixes splits and classes."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (looked for {LOOKED_FOR})")
    for domain in visible_subfolders(root):
        inner = visible_subfolders(root / domain)
        splits = [name for name in inner if name.lower() in SPLIT_FOLDERS]
        if not splits:
            yield from (Place(domain, UNDECIDED, name, root / domain / name) for name in inner)
            continue
        others = [name for name in inner if name.lower() not in SPLIT_FOLDERS]
        if others:
            raise InputError(f"{root / domain}: has both {splits[0]!r} and {others[0]!r}; looked for {LOOKED_FOR}")
        for split in splits:
            for name in visible_subfolders(root / domain / split):
                yield Place(domain, SPLIT_FOLDERS[split.lower()], name, root / domain / split / name)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that orders numbers by value: s2 before s10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name) if part]


def missing_classes(table: pd.DataFrame, classes: list[str], experiences: list[str]) -> str:
    """Which experiences lack which classes, in one line; empty if none does."""
    said = []
    for index, own in table.groupby("experience").class_name:
        lacking = sorted(set(classes) - set(own))
        if lacking:
            said.append(f"{experiences[int(str(index))]!r} has no {_some(lacking)}")
    return "; ".join(said)


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _chosen(wanted: list[str], there: list[str]) -> list[str]:
    for name in wanted:
        if name not in there:
            raise InputError(f"benchmark.domains: no folder {name!r}{nearest(name, there)}")
    if len(set(wanted)) < len(wanted):
        raise InputError("benchmark.domains: a folder is listed twice")
    return wanted


def _hint(root: Path) -> str:
    """Where the domains might be, if the folder given is one level too high."""
    inner = visible_subfolders(root)
    if len(inner) == 1 and any(os.scandir(root / inner[0])):
        return f"; did you mean {root / inner[0]}?"
    return ""
