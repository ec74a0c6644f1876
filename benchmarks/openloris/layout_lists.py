"""Avalanche's mirror of OpenLORIS-Object: file lists beside the unpacked archives.

Lists: `batches_filelists/domain/{clutter,illumination,occlusion,pixel,iros}/train_batch_NN.txt` (from 00) and one
`test.txt` for all batches, lines `path label` (avalanche.benchmarks.classic.openloris). Test sets of the batches, which
Avalanche's wrapper does not have, are rebuilt from the paths: an image is tested with the batch that trains on its
segment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lorisbench.benchmarks.openloris.words import (
    EVERY,
    FACTORS,
    LISTS,
    Gone,
    Group,
    Reading,
    Row,
    in_order,
    level_of,
    split_off_validation,
)  # fmt: skip
from lorisbench.benchmarks.text_lists import MOST, read_lines, whole
from lorisbench.benchmarks.tree import check_file, images_in, relative_path
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import SPLITS

TEST = "test.txt"
KINDS = (*FACTORS, "iros")


@dataclass
class _Labels:
    """Labels by object folder, with the line that first gave each."""

    label: dict[str, int] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)


class ListLayout:
    """The layout `avalanche`; see the module."""

    name = "avalanche"
    looked_for = (
        f"{LISTS}/{{{','.join(KINDS)}}}/train_batch_NN.txt and {TEST} beside the unpacked train, test and validation"
    )

    def place(self, split: str, group: Group) -> str:
        """The list of a group, relative to the root (all tests of a kind are in one)."""
        file = f"train_batch_{group.number - 1:02d}.txt" if split == "train" else TEST
        return f"{LISTS}/{group.kind}/{file}"

    def available(self, root: Path) -> list[Group]:
        """Groups with a training list, by kind and number."""
        found = []
        for kind in KINDS:
            folder = root / LISTS / kind
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            matches = [re.fullmatch(r"train_batch_(\d+)\.txt", name) for name in names]
            found += sorted(Group(kind, int(match[1]) + 1) for match in matches if match)
        return found

    def read(self, root: Path, groups: Iterable[Group], strict: bool = True) -> Reading:
        """The images of some groups in the order of their lists.

        A list that is not there is `gone`. `strict` demands that every listed file exists and is not empty. Raises
        InputError, naming list and line, for
        a line that cannot be read, a path that leaves the folder, a label that contradicts another line or is out of
        range, an image in two batches or in train and test, and a test image whose batch cannot be told from the paths.
        """
        groups = list(groups)
        rows: list[Row] = []
        notes: dict[str, str] = {}
        labels = _Labels()
        places = [(group, root / self.place("train", group)) for group in groups]
        gone = [
            Gone("train", group, f"{file}: no such list; the protocol needs it")
            for group, file in places
            if not file.is_file()
        ]
        groups = [group for group, file in places if file.is_file()]
        for kind in dict.fromkeys(group.kind for group in groups):
            whole = all(group.kind != kind for _, group, _ in gone)
            rows += self._kind(root, kind, [g for g in groups if g.kind == kind], labels, notes, strict, whole)
        names = _class_names(labels)
        rows = [row._replace(class_name=names[labels.label[row.class_name]]) for row in rows]
        rows = in_order(rows, groups)
        if not any(row.split == "validation" for row in rows):
            rows = in_order(split_off_validation(rows), groups)
            notes["validation"] = (
                f"no validation images beside the lists: every {EVERY}th training frame of a recording is used instead"
            )
        return Reading(rows, {name: label for label, name in names.items()}, notes, gone)

    def _kind(
        self,
        root: Path,
        kind: str,
        groups: list[Group],
        labels: _Labels,
        notes: dict[str, str],
        strict: bool,
        whole: bool,
    ) -> list[Row]:
        """The images of groups of one kind; `whole`: no training list is missing that tests could belong to."""
        rows: list[Row] = []
        owner: dict[str, Group] = {}  # of a segment, from the training paths
        seen: dict[str, tuple[str, str]] = {}  # path -> (list, its place in the list)
        for group in self.available(root):  # all batches of the kind: a test image may belong to one that is not wanted
            if group.kind != kind:
                continue
            file = root / self.place("train", group)
            for path, where in _entries(root, file, labels, seen, notes, strict and group in groups):
                segment = _segment(path)
                if owner.setdefault(segment, group) != group:
                    owner[segment] = Group(kind, 0)  # shared: test images of it cannot be told apart
                if group in groups:
                    rows.append(_row(path, "train", group, where))
        for folder in dict.fromkeys((row.path.rpartition("/")[0], row.group) for row in rows):
            rows += _validation(root, *folder, strict)
        file = root / LISTS / kind / TEST
        for path, where in _entries(root, file, labels, seen, notes, strict):
            segment = _segment(path)
            group = owner.get(segment, Group(kind, 0)) if segment else Group(kind, 0)
            if not whole and segment and segment not in owner:
                continue
            if group.number == 0:
                reason = (
                    "its path names no segment or task"
                    if not segment
                    else f"no training list has images of {segment!r}"
                    if segment not in owner
                    else f"several training lists have images of {segment!r}"
                )
                raise InputError(
                    f"{where}: the batch of {path!r} cannot be told from its path ({reason}), so there is no test set "
                    "for each batch"
                )
            if group in groups:
                rows.append(_row(path, "test", group, where))
        return rows


def _entries(
    root: Path, file: Path, labels: _Labels, seen: dict[str, tuple[str, str]], notes: dict[str, str], check: bool
) -> list[tuple[str, str]]:
    """(path, file:line) of the lines of a list, each path once; its labels are added to `labels`."""
    entries = []
    for number, line in enumerate(read_lines(file), start=1):
        where = f"{file}:{number}"
        if not line.strip():
            continue
        # A path may contain blanks; lists of others have a tab, a comma or a semicolon in place of the last one
        match = re.fullmatch(r"(.*?\S)(?:\s+|\s*[,;|]\s*)([^\s,;|]+)", line.strip())
        label = whole(match[2]) if match else None
        if match is None or label is None or not 0 <= label <= MOST:
            raise InputError(f"{where}: a line 'path label' was expected, with a label of 0 or more: {line.strip()!r}")
        path = relative_path(match[1], where)
        name = _object(path, where)
        if labels.label.setdefault(name, label) != label:
            raise InputError(
                f"{where}: object {name!r} has the label {label} here and {labels.label[name]} in {labels.where[name]}"
            )
        labels.where.setdefault(name, where)
        if path in seen:
            earlier, place = seen[path]
            if earlier != str(file):
                raise InputError(f"{where}: {path!r} is in {place} too")
            notes.setdefault("duplicates", f"{where}: {path!r} is in {place} too; it is used once")
            continue
        seen[path] = (str(file), where)
        if check:
            check_file(root / path, f"{where}: ")
        entries.append((path, where))
    return entries


def _object(path: str, where: str) -> str:
    folder = path.rpartition("/")[0].rpartition("/")[2]
    if not folder or folder in SPLITS:
        raise InputError(f"{where}: the path {path!r} names no object folder")
    return folder


def _segment(path: str) -> str:
    """What a path holds besides the split, the object and the file: `clutter/segment1`; empty if nothing."""
    return "/".join(part for part in path.split("/")[:-2] if part not in SPLITS)


def _row(path: str, split: str, group: Group, where: str) -> Row:
    name, segment = _object(path, where), _segment(path)
    factor, level = group.factor, group.level
    match = re.search(rf"({'|'.join(FACTORS)})/(?:segment|task)([1-9])$", segment)
    if match:
        factor, level = match[1], level_of(int(match[2]))
    return Row(path, name, split, factor, level, group, f"{segment or f'{group.kind}{group.number}'}/{name}")


def _validation(root: Path, folder: str, group: Group, strict: bool) -> list[Row]:
    """Validation images beside a training folder, whose labels are those of its object."""
    parts = folder.split("/")
    if "train" not in parts:
        return []
    parts[parts.index("train")] = "validation"
    place = "/".join(parts)
    if not (root / place).is_dir():
        return []
    return [_row(f"{place}/{image}", "validation", group, place) for image in images_in(root / place, strict)]


def _class_names(labels: _Labels) -> dict[int, str]:
    """Class name of each label: the object's folder, or what the folders of one label have in common (categories)."""
    objects: dict[int, list[str]] = {}
    for name, label in labels.label.items():
        if label >= len(labels.label):
            raise InputError(
                f"{labels.where[name]}: the label {label} is not in 0..{len(labels.label) - 1} "
                f"(the lists name {len(labels.label)} objects)"
            )
        objects.setdefault(label, []).append(name)
    gaps = sorted(set(range(max(objects, default=-1) + 1)) - set(objects))
    if gaps:
        raise InputError(f"{next(iter(labels.where.values()))}: no line of the lists has the label {gaps[0]}")
    names = {}
    for label, folders in objects.items():
        stems = {re.sub(r"_\d+$", "", name) for name in folders}
        names[label] = folders[0] if len(folders) == 1 else stems.pop() if len(stems) == 1 else f"label {label}"
    return names


AVALANCHE = ListLayout()
