"""What was read of each run of an output, kept in the cache folder for as long as the run's files stay as they are.

A finished run hardly ever changes, and reading the files of a thousand takes longer than all that a report does with
them. What is kept says by which files it was made (names, sizes, times) and by which code; whatever does not fit is
read again. Nothing is lost with the cache but time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorisbench import metrics
from lorisbench.common.cache import cache_root
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of, write_bytes
from lorisbench.common.reading import read_arrays
from lorisbench.metrics.correct import Correct
from lorisbench.runs.rows import Read

KIND = "collected"
ENDINGS = (".json", ".jsonl", ".npz", ".yaml", ".csv")  # of a run's files; its log and its checkpoint are not read
SETTLED = 2.0  # seconds since the last change: a later one might leave size and time as they are

Stamp = tuple[tuple[str, int, int], ...]


def stamp_of(paths: Iterable[os.DirEntry[str] | Path]) -> Stamp | None:
    """Names, sizes and times of files; None if one is gone or has just been written."""
    found = []
    try:
        for path in paths:
            about = path.stat()
            found.append((path.name, about.st_size, about.st_mtime_ns))
    except OSError:
        return None
    newest = max((changed for _, _, changed in found), default=0)
    return tuple(sorted(found)) if newest < 1e9 * (time.time() - SETTLED) else None


def stamp_of_run(folder: Path) -> Stamp | None:
    """The stamp of the files that are read of a run."""
    try:
        with os.scandir(folder) as entries:
            return stamp_of([entry for entry in entries if entry.name.endswith(ENDINGS)])
    except OSError:
        return None


@functools.cache
def _code() -> str:
    """A digest of the code that rows are made by: the rooms whose functions of a run's files they are."""
    value = hashlib.blake2b(digest_size=16)
    rooms = (Path(__file__).parent, Path(str(metrics.__file__)).parent)
    for file in sorted(file for room in rooms for file in room.glob("*.py")):
        value.update(file.read_bytes())
    return value.hexdigest()


class _Kept(NamedTuple):
    stamp: Stamp
    read: Read


class Memory:
    """What was read of the runs of an output, and what was written of them.

    `recall` and `note` are asked for each run, `save` once all have been read.
    """

    def __init__(self, root: Path) -> None:
        self._file = cache_root() / KIND / f"{digest_of(str(root.absolute()))}.npz"
        self._runs, self._written = self._load()
        self._changed = False

    def recall(self, run_id: str, stamp: Stamp | None) -> Read | None:
        """What was read of a run whose files were as they are now; None if that is not known."""
        kept = self._runs.get(run_id)
        return kept.read if kept is not None and kept.stamp == stamp else None

    def note(self, run_id: str, stamp: Stamp | None, read: Read) -> None:
        """Keep what was read of a finished run; of any other it is forgotten."""
        if stamp is not None and read.row["status"] == "done":
            self._runs[run_id] = _Kept(stamp, read)
            self._changed = True
        elif self._runs.pop(run_id, None) is not None:
            self._changed = True

    def wrote(self, files: Iterable[Path], runs: Mapping[str, object]) -> bool:
        """Whether these files are still those that were written of exactly these runs, none of which has changed."""
        same = not self._changed and self._runs.keys() == runs.keys()
        return same and self._written is not None and self._written == _sizes(files)

    def save(self, files: Iterable[Path], runs: Iterable[str]) -> None:
        """Keep what is known of these runs for the next time; files : what was written of them."""
        present, written = set(runs), _sizes(files)
        if not self._changed and self._written == written and self._runs.keys() == present:
            return
        self._runs = {run: kept for run, kept in self._runs.items() if run in present}
        self._written, self._changed = written, False
        rows, cells, images = [], [], _Images()
        for kept in self._runs.values():
            row, cell, right = kept.read
            rows.append([kept.stamp, row, len(cell), images.add(right)])
            cells.append(cell)
        arrays = {
            "code": np.array(_code()),
            "written": np.array(json.dumps(written)),
            "rows": np.array(json.dumps(rows)),
            "cells": np.concatenate([*cells, np.empty((0, 4))]),
            **images.arrays(),
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with contextlib.suppress(InputError, OSError):  # a full disk, or one that is read-only: it is read again then
            write_bytes(self._file, buffer.getvalue())

    def _load(self) -> tuple[dict[str, _Kept], Stamp | None]:
        try:
            if not self._file.exists():
                return {}, None
            found = read_arrays(self._file, ["code", "written", "rows", "cells", *_Images.NAMES])
            if str(found["code"]) != _code():
                return {}, None
            images, at, runs = _Images.of(found), 0, {}
            for stamp, row, count, place in json.loads(str(found["rows"])):
                read = Read(row, found["cells"][at : at + count], images.get(place))
                runs[row["run_id"]] = _Kept(_frozen(stamp), read)
                at += count
            written = json.loads(str(found["written"]))
            return runs, None if written is None else _frozen(written)
        except (InputError, ValueError, KeyError, TypeError, IndexError, OSError):
            return {}, None


def _frozen(stamp: Iterable[Iterable[object]]) -> Stamp:
    return tuple(tuple(each) for each in stamp)  # type: ignore[misc]


def _sizes(files: Iterable[Path]) -> Stamp | None:
    """The stamp of files that were just written: they are replaced as a whole, by another file."""
    try:
        return tuple((f"{file.name} {(at := file.stat()).st_ino}", at.st_size, at.st_mtime_ns) for file in files)
    except OSError:
        return None


class _Images:
    """The answers of many runs, of which most are to the same images, as a few arrays."""

    NAMES = ("sets", "image", "experience", "right", "of_set")

    def __init__(self) -> None:
        self._sets: list[Correct] = []
        self._right: list[tuple[int, np.ndarray]] = []

    def add(self, right: Correct | None) -> int:
        """The number under which `get` finds it again; -1 for None."""
        if right is None:
            return -1
        alike = (number for number, each in enumerate(self._sets) if each.image is right.image or each.is_of(right))
        number = next(alike, len(self._sets))
        if number == len(self._sets):
            self._sets.append(right)
        self._right.append((number, np.packbits(right.right)))
        return len(self._right) - 1

    def arrays(self) -> dict[str, np.ndarray]:
        images = np.concatenate([*(each.image for each in self._sets), np.empty(0, np.int32)])
        experiences = np.concatenate([*(each.experience for each in self._sets), np.empty(0, np.int32)])
        return {
            "sets": np.array([len(each.image) for each in self._sets], dtype=np.int64),
            "image": images.astype(np.int32),
            "experience": experiences.astype(np.int32),
            "right": np.concatenate([*(bits for _, bits in self._right), np.empty(0, np.uint8)]).astype(np.uint8),
            "of_set": np.array([number for number, _ in self._right], dtype=np.int64),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> _Images:
        found, ends = cls(), np.cumsum(arrays["sets"])
        cut = [np.split(arrays[name], ends[:-1]) for name in ("image", "experience")]
        found._sets = [
            Correct(image, experience, np.empty(0, dtype=bool))
            for image, experience in zip(*cut, strict=True)
            if len(ends)
        ]
        sizes = [-(-len(found._sets[number].image) // 8) for number in arrays["of_set"]]
        parts = np.split(arrays["right"], np.cumsum(sizes)[:-1]) if sizes else []
        found._right = list(zip(arrays["of_set"].tolist(), parts, strict=True))
        return found

    def get(self, place: int) -> Correct | None:
        if place < 0:
            return None
        number, bits = self._right[place]
        alike = self._sets[number]
        right = np.unpackbits(bits, count=len(alike.image)).astype(bool)
        return Correct(alike.image, alike.experience, right)
