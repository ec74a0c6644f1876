"""The three layouts of OpenLORIS-Object that are folders: release, benchmark 1 and challenge."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lorisbench.benchmarks.openloris.words import (  # fmt: skip
    EVERY,
    FACTORS,
    Group,
    Reading,
    Row,
    in_order,
    split_off_validation,
)
from lorisbench.benchmarks.tree import (  # fmt: skip
    check_file,
    images_in,
    read_lines,
    relative_path,
    subfolders,
    visible_subfolders,
)
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import SPLITS

LABELS = "label.csv"
LABEL_COLUMNS = ["file name", "label"]


@dataclass(frozen=True)
class FolderLayout:
    """A layout whose groups are folders named by a template.

    Attributes
    ----------
    template : place of a group below the root, with {split}, {kind} and {number}.
    kinds : the kinds of group in the layout.
    recording : name of a recording, with {kind}, {number} and {object}.
    may_lack_validation : the layout ships without validation frames; they are then split off train.
    """

    name: str
    looked_for: str
    template: str
    kinds: tuple[str, ...]
    recording: str
    may_lack_validation: bool = False

    def place(self, split: str, group: Group) -> str:
        """The group's folder, relative to the root."""
        return self.template.format(split=split, kind=group.kind, number=group.number)

    def available(self, root: Path) -> list[Group]:
        """Groups with a folder in any split, by kind and number. Folders with unknown names are ignored."""
        found = set()
        for kind in self.kinds:
            for split in SPLITS:
                folder, _, last = self.template.format(split=split, kind=kind, number="*").rpartition("/")
                pattern = re.compile(re.escape(last).replace(r"\*", r"([1-9]\d*)"))
                if (root / folder).is_dir():
                    matches = (pattern.fullmatch(name) for name in subfolders(root / folder))
                    found |= {Group(kind, int(match[1])) for match in matches if match}
        return sorted(found, key=lambda group: (self.kinds.index(group.kind), group.number))

    def read(self, root: Path, groups: Iterable[Group], strict: bool = True) -> Reading:
        """The images of some groups, in their order.

        Parameters
        ----------
        strict : every folder must exist and hold objects, and no image may have 0 bytes; otherwise gaps are left for
            the caller to see (`lorisbench data verify` lists every bad file instead of stopping at the first).

        Raises
        ------
        InputError : one line that names the folder or file (and line, of a label.csv).
        """
        groups, rows, lists = list(groups), [], []
        notes: dict[str, str] = {}
        lacking = self.may_lack_validation and not any((root / self.place("validation", g)).is_dir() for g in groups)
        for group in groups:
            for split in SPLITS:
                if split == "validation" and lacking:
                    continue
                folder = root / self.place(split, group)
                if not folder.is_dir():
                    if strict:
                        raise InputError(f"{folder}: no such folder; the protocol needs it")
                    continue
                if self.name == "challenge" and split == "test" and (folder / LABELS).is_file():
                    lists.append(group)
                    continue
                found = self._objects(root, split, group, strict)
                if strict and not found:
                    raise InputError(f"{folder}: holds no object folders")
                rows += found
        classes = sorted({row.class_name for row in rows})
        for group in lists:
            rows += self._labelled(root, group, classes, strict, notes)
        rows = in_order(rows, groups)
        if lacking:
            rows = in_order(split_off_validation(rows), groups)
            notes["validation"] = (
                f"the folder has no validation images: every {EVERY}th training frame of a recording is used instead"
            )
        return Reading(rows, None, notes)

    def _row(self, split: str, group: Group, name: str, path: str) -> Row:
        recording = self.recording.format(kind=group.kind, number=group.number, object=name)
        return Row(path, name, split, group.factor, group.level, group, recording)

    def _objects(self, root: Path, split: str, group: Group, strict: bool) -> list[Row]:
        place = self.place(split, group)
        return [
            self._row(split, group, name, f"{place}/{name}/{image}")
            for name in visible_subfolders(root / place)
            for image in images_in(root / place / name, strict)
        ]

    def _labelled(self, root: Path, group: Group, classes: list[str], strict: bool, notes: dict[str, str]) -> list[Row]:
        """Test images of a group whose labels are in label.csv: a position in the sorted class names, or a name."""
        place = self.place("test", group)
        file = root / place / LABELS
        lines = read_lines(file)
        header = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
        if header != LABEL_COLUMNS:
            raise InputError(f"{file}:1: the columns {','.join(LABEL_COLUMNS)!r} were expected")
        rows: list[Row] = []
        seen: dict[str, str] = {}
        for number, fields in enumerate(csv.reader(lines[1:]), start=2):
            where = f"{file}:{number}"
            if not fields:
                continue
            if len(fields) != 2:
                raise InputError(f"{where}: two columns were expected, not {len(fields)}")
            path = relative_path(fields[0].strip(), where)
            name = _class_of(fields[1].strip(), classes, where)
            if path in seen:
                if seen[path] != name:
                    raise InputError(f"{where}: {path!r} has the label {name!r} here and {seen[path]!r} before")
                notes.setdefault("duplicates", f"{where}: {path!r} is listed twice; it is used once")
                continue
            seen[path] = name
            if strict:
                check_file(root / place / path, f"{where}: ")
            rows.append(self._row("test", group, name, f"{place}/{path}"))
        unlisted = _images_below(root / place) - set(seen)
        if unlisted:
            notes[f"unlisted in {place}"] = f"{len(unlisted)} images without a line in {LABELS} are left out"
        return rows


def _class_of(label: str, classes: list[str], where: str) -> str:
    if label in classes:
        return label
    if not re.fullmatch(r"[+-]?\d+", label):
        raise InputError(f"{where}: the label {label!r} is neither a number nor one of the object folders")
    if not 0 <= int(label) < len(classes):
        raise InputError(f"{where}: the label {label} is not in 0..{len(classes) - 1}")
    return classes[int(label)]


def _images_below(folder: Path) -> set[str]:
    """Images in a folder and in its subfolders, relative to it."""
    places = ["", *(f"{name}/" for name in visible_subfolders(folder))]
    return {f"{place}{image}" for place in places for image in images_in(Path(os.path.join(folder, place)), False)}


RELEASE = FolderLayout(
    "release",
    "{train,test,validation}/{illumination,occlusion,pixel,clutter}/segment{1..9}/<object>_NN/*.jpg",
    "{split}/{kind}/segment{number}",
    FACTORS,
    "{kind}/segment{number}/{object}",
)
BENCHMARK1 = FolderLayout(
    "benchmark1",
    "{illumination,occlusion,pixel,clutter}/{train,test}[,validation]/task{1..9}/<object>_NN/*.jpg",
    "{kind}/{split}/task{number}",
    FACTORS,
    "{kind}/segment{number}/{object}",  # a task of benchmark 1 is a segment of the release
    may_lack_validation=True,
)
CHALLENGE = FolderLayout(
    "challenge",
    "{train,validation,test}/{task{1..12} or batch{1..9}}/<object>_NN/*.jpg, or label.csv in a test folder",
    "{split}/{kind}{number}",
    ("batch", "task"),
    "{kind}{number}/{object}",
)
