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
from lorisbench.data.identity import same_bytes, same_files
from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.data.marker import synthetic_name
from lorisbench.data.subsets import arrange, check_objects, in_stream_order
from lorisbench.data.usable import some

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

    Each domain is an experience, in the natural order of the names (s2 before s10) or as `domains` lists them; a root
    with train and test folders of its own is one domain. A class may be missing from a domain, which is reported.
    `objects`: a number, or names, of classes.
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

    Domains without images are no experiences, and are noted. Raises InputError, in one line, if there is no such
    folder, it is not laid out that way, or a domain of the settings is missing or has no images.
    """
    there = find_domains(root)
    if settings.domains is not None:
        there = {name: there[name] for name in _chosen(settings.domains, list(there))}
    places = [place for name, folder in there.items() for place in find_places(name, folder)]
    rows, empty = [], []
    for place in places:
        names = images_in(place.folder, False, image_suffixes())
        below = place.folder.relative_to(root).as_posix()
        if not names:
            empty.append(below)
        rows += [(f"{below}/{name}", place.class_name, place.domain, place.split) for name in names]
    notes = {"layout": "folder"}
    if not rows:
        # In these folders alone: the root may be a wrong one, with half a disk below it
        note_left_out(notes, root, (), [p.folder.relative_to(root).as_posix() for p in places], deep=False)
        others = f"; {TOPIC}: {notes[TOPIC]}" if TOPIC in notes else ""
        raise InputError(f"{root}: no images in {LOOKED_FOR}{_hint(root)}{others}")
    filled = {domain for _, _, domain, _ in rows}
    unused = [name for name in there if name not in filled]
    if unused and settings.domains is not None:
        raise InputError(f"benchmark.domains: {there[unused[0]]} holds no images (looked for {LOOKED_FOR})")
    domains = [name for name in there if name in filled]
    table = pd.DataFrame(rows, columns=["path", "class_name", "experience", "split"])
    classes = sorted(set(table.class_name))
    table = table.assign(
        experience=table.experience.map({name: index for index, name in enumerate(domains)}),
        factor="",
        level=0,
        recording="",
        label=table.class_name.map({name: label for label, name in enumerate(classes)}),
    )
    if unused:
        notes["empty domains"] = f"{some(unused)}: no images there, so no experience"
    if empty:
        notes["empty class folders"] = some(empty)
    note_left_out(notes, root, table.path, [""] if settings.domains is None else domains)
    files = [os.path.join(root, path) for path in table.path]
    table = settings.decide(table, notes, same_files(files), lambda: same_bytes(files))
    name = synthetic_name(root, table.path)
    whole = Manifest(
        in_stream_order(table[COLUMNS]), root, name or root.resolve().name, name is not None, classes, domains,
        "own folder of images", notes,
    )  # fmt: skip
    return arrange(whole, settings.subset(settings.objects))


def find_domains(root: Path) -> dict[str, Path]:
    """The folder of each domain below a root, in the natural order of their names.

    A root with train and test folders of its own is one domain. Raises InputError if the root is not a folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (looked for {LOOKED_FOR})")
    inner = sorted(visible_subfolders(root), key=natural)
    splits = {SPLIT_FOLDERS.get(name.lower(), UNDECIDED) for name in inner}
    if UNDECIDED not in splits and {"train", "test"} <= splits:
        return {root.resolve().name: root}
    return {name: root / name for name in inner}


def find_places(domain: str, folder: Path) -> Iterator[Place]:
    """The class folders of a domain. Raises InputError if it mixes splits and classes."""
    inner = visible_subfolders(folder)
    splits = [name for name in inner if name.lower() in SPLIT_FOLDERS]
    if not splits:
        yield from (Place(domain, UNDECIDED, name, folder / name) for name in inner)
        return
    others = [name for name in inner if name.lower() not in SPLIT_FOLDERS]
    if others:
        raise InputError(f"{folder}: has both {splits[0]!r} and {others[0]!r}; looked for {LOOKED_FOR}")
    for split in splits:
        for name in visible_subfolders(folder / split):
            yield Place(domain, SPLIT_FOLDERS[split.lower()], name, folder / split / name)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that orders numbers by value: s2 before s10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name) if part]


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
