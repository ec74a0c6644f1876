"""Folders and lists of images on disk, read with one clear line for whatever is wrong with them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.manifest import SPLITS
from harness.errors import InputError

FACTORS = ("illumination", "occlusion", "pixel", "clutter")  # the order of the 12-task sequence (paper, section V)
SEGMENTS = 9
LEVELS = 3
TASKS = len(FACTORS) * LEVELS
MIXED = "mixed"  # factor of the challenge's nine batches, which have no level of their own (0)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
EVERY = 8  # without validation images, each eighth frame of a training recording becomes one


class Group(NamedTuple):
    """The smallest unit that a layout keeps apart: kind (a factor, `task`, `batch` or `iros`) and number from 1."""

    kind: str
    number: int

    @property
    def factor(self) -> str:
        if self.kind in FACTORS:
            return self.kind
        return MIXED if self.kind == "batch" or self.number > TASKS else FACTORS[(self.number - 1) // LEVELS]

    @property
    def level(self) -> int:
        """1 to 3; 0 for mixed factors."""
        if self.kind in FACTORS:
            return level_of(self.number)
        return 0 if self.factor == MIXED else (self.number - 1) % LEVELS + 1


class Row(NamedTuple):
    """One image as a layout tells it; `path` is relative to the root with POSIX separators."""

    path: str
    class_name: str
    split: str
    factor: str
    level: int
    group: Group
    recording: str


@dataclass
class Reading:
    """What a layout's reader found.

    Attributes
    ----------
    rows : in the order of groups, splits, objects and file names (or of the lists).
    labels : class name -> label where a list gives it; None where labels are positions of sorted names.
    notes : what was handled and must be known, by topic.
    """

    rows: list[Row]
    labels: dict[str, int] | None = None
    notes: dict[str, str] = field(default_factory=dict)


def level_of(segment: int) -> int:
    """Difficulty level 1..3 of segment 1..9."""
    return min((segment - 1) // (SEGMENTS // LEVELS) + 1, LEVELS)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; links to folders count.

    Raises InputError for a symbolic link that leads in a circle: to itself, or to a folder that holds it.
    """
    return sorted(entry.name for entry in _scan(folder) if _is_folder(entry))


def visible_subfolders(folder: Path) -> list[str]:
    """Subfolders without what systems leave behind (.git, .ipynb_checkpoints, __MACOSX)."""
    return [name for name in subfolders(folder) if not name.startswith((".", "__"))]


def images_in(folder: Path, sizes: bool, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[str]:
    """Names of the images in a folder, sorted. Raises InputError naming a link in a circle or (sizes) a 0-byte file."""
    found = []
    for entry in _scan(folder):
        if entry.name.lower().endswith(suffixes) and not entry.name.startswith("."):
            if sizes:
                check_file(entry.path)
            found.append(entry.name)
    return sorted(found)


def check_file(path: str | os.PathLike[str], where: str = "") -> None:
    """Raise InputError, beginning with `where`, unless the path is a file that holds bytes."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{where}{os.fspath(path)}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{where}{os.fspath(path)}: a folder or device, not a file")
    if found.st_size == 0:
        raise InputError(f"{where}{os.fspath(path)}: the image has no bytes")


def _scan(folder: Path) -> Iterable[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    for entry in entries:
        if not _is_text(entry.name):
            raise InputError(f"{folder}: the name {os.fsencode(entry.name)!r} is not UTF-8 text; rename it")
    return entries


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        target = os.path.realpath(entry.path, strict=True)
    except FileNotFoundError:
        return False
    except OSError as error:
        reason = "a symbolic link that leads in a circle" if error.errno == errno.ELOOP else error.strerror
        raise InputError(f"{entry.path}: {reason}") from error
    if os.path.realpath(os.path.dirname(entry.path)).startswith(target.rstrip(os.sep) + os.sep) or (
        target == os.path.realpath(os.path.dirname(entry.path))
    ):
        raise InputError(f"{entry.path}: a symbolic link that leads in a circle")
    return os.path.isdir(target)


def relative_path(text: str, where: str) -> str:
    """A path of a list, as POSIX text relative to the root. Raises InputError if it would leave the root."""
    parts = text.replace("\\", "/").split("/")
    if text.startswith(("/", "\\", "~")) or ".." in parts or (parts[0][1:2] == ":"):
        raise InputError(f"{where}: the path {text!r} leaves the data set's folder")
    return "/".join(part for part in parts if part not in ("", "."))


def read_lines(file: Path) -> list[str]:
    """Lines of a UTF-8 list. Raises InputError naming the file, and the line for bytes that are not UTF-8."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{file}:{line}: not UTF-8 text") from error


def split_off_validation(rows: list[Row]) -> list[Row]:
    """The rows with every eighth training frame of each recording (the last, of fewer than eight) in `validation`.

    For data without validation images. A recording of a single frame stays in training.
    """
    positions: dict[tuple[Group, str], list[int]] = {}
    for index, row in enumerate(rows):
        if row.split == "train":
            positions.setdefault((row.group, row.recording), []).append(index)
    moved = list(rows)
    for places in positions.values():
        chosen = places[EVERY - 1 :: EVERY] or places[-1:]
        if len(places) > 1:
            for index in chosen:
                moved[index] = rows[index]._replace(split="validation")
    return moved


def in_order(rows: list[Row], groups: list[Group]) -> list[Row]:
    """Rows by group, then by split, otherwise in the order given."""
    place = {group: index for index, group in enumerate(groups)}
    return sorted(rows, key=lambda row: (place[row.group], SPLITS.index(row.split)))
