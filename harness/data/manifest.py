"""The manifest: one table of images, from which the stream, the features and every report are made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd

from lorisbench.common.cache import load_array, remembered
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.data.identity import digests

COLUMNS = ["path", "label", "class_name", "experience", "split", "factor", "level", "recording"]
TASK = "task"  # optional column: task labels of task-incremental streams, int64; 0 everywhere without it
POSITION = "position"  # optional column: row of the image in the file `pixels` or `features`; without it, its own
MOVE = "move"  # optional column, with `moves`: which of them the image is shown by
SPLITS = ("train", "validation", "test")


class Pixels(Sequence[np.ndarray]):
    """Some images of a memory-mapped array, read when they are asked for.

    Parameters
    ----------
    stored : uint8 (stored images, height, width, channels). rows : int64 (images,), which of them.
    moves : see `Manifest`. which : int64 (images,), by which of the moves each image is shown.
    """

    def __init__(
        self, stored: np.ndarray, rows: np.ndarray, moves: np.ndarray | None = None, which: np.ndarray | None = None
    ) -> None:
        self.stored, self.rows, self.moves, self.which = stored, rows, moves, which

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> Pixels: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | Pixels:
        if isinstance(index, slice):
            return self.at(index)
        image = self.stored[self.rows[index]]
        if self.moves is None or self.which is None:
            return image
        source = self.moves[self.which[index]]
        moved = image.reshape(len(source), -1)[source]
        moved[source < 0] = 0
        return moved.reshape(image.shape)

    def at(self, chosen: slice | np.ndarray) -> Pixels:
        """Those at a slice of positions, or at the positions `chosen`, int64 (images,)."""
        return Pixels(self.stored, self.rows[chosen], self.moves, None if self.which is None else self.which[chosen])


@dataclass(frozen=True)
class Manifest:
    """A table of images with what is needed to make a stream from them.

    Attributes
    ----------
    table : one row per image with the columns `COLUMNS`; `path` is relative to `root` (POSIX separators), `label` and
        `experience` are 0-based integers, `split` is one of `SPLITS`, `level` an integer, the rest text. May have the
        column `TASK`: task labels, which strategies see; as a rule the same for all images of an experience.
    root : folder the paths are relative to.
    name : name of the data set, as shown in reports.
    synthetic : True for anything that is not a recording of the real world.
    classes : class names; position is the label.
    experience_names : a short name for each experience.
    source : where the data come from, one line.
    notes : what a reader dealt with that the user should know, by topic (layout, duplicates, missing classes, ...).
    val_as_replay : validation images of earlier experiences join the training data of later ones.
    placed : what an experience holds depends on its place, as where classes arrive beside new data of those before.
    order : the permutation by which `in_order` has moved the experiences; empty in the stream's own order.
    pixels : a .npy file, uint8 of shape (images, height, width, 1 or 3), that holds the images where they are not files
        of their own, in table order or as the column `POSITION` says; `path` is then only a name.
    moves : by which the images of `pixels` are shown, int64 (moves, height * width): from which pixel of the stored
        image each pixel is taken, -1 for black. The column `MOVE` says which of them shows an image.
    draw : makes `moves` from a seed where each run has those of its own (`for_seed`); `moves` are then those of seed 0.
    parts : the stream that there was, and the images of the last experience, which came later; None for any other.
    features : a .npy file, float32 of shape (rows, width), that holds what a backbone elsewhere made of the images, in
        the same order, where there are no images at all; `path` is then only a name.

    Raises
    ------
    InputError : on construction, and so after every change, if a column is missing, a split, label or experience is out
        of range, or a label stands for two class names. What a run needs besides is checked after the last change, see
        `usable.faults`.
    """

    table: pd.DataFrame
    root: Path
    name: str
    synthetic: bool
    classes: Sequence[str]
    experience_names: Sequence[str]
    source: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    val_as_replay: bool = False
    pixels: Path | None = None
    order: tuple[int, ...] = ()
    placed: bool = False
    moves: np.ndarray | None = None
    draw: Callable[[int], np.ndarray] | None = None
    parts: tuple[Manifest, Manifest] | None = None
    features: Path | None = None

    def __post_init__(self) -> None:
        table = self.table
        missing = [column for column in COLUMNS if column not in table.columns]
        if missing:
            raise InputError(f"{self.name}: the manifest lacks the column {missing[0]!r}")
        self._refuse(~table.label.between(0, len(self.classes) - 1), "label", f"0..{len(self.classes) - 1}")
        self._refuse(~table.experience.between(0, self.experiences - 1), "experience", f"0..{self.experiences - 1}")
        self._refuse(~table.split.isin(SPLITS), "split", ", ".join(SPLITS))
        if self.moves is not None:
            if MOVE not in table.columns:
                raise InputError(f"{self.name}: the manifest has moves and lacks the column {MOVE!r}")
            self._refuse(~table[MOVE].between(0, len(self.moves) - 1), MOVE, f"0..{len(self.moves) - 1}")
        named = table[["label", "class_name", "path"]].drop_duplicates(["label", "class_name"])
        twice = named[named.label.duplicated(keep=False)].sort_values("label", kind="stable")
        if len(twice):
            one, two = twice.itertuples(index=False, name=None), twice.iloc[1]
            label, name, path = next(iter(one))
            raise InputError(
                f"{self.name}: the label {label} is class {name!r} for {path} and class {two.class_name!r} for "
                f"{two.path}; a label stands for one class in all splits and experiences"
            )

    def _refuse(self, wrong: pd.Series, column: str, known: str) -> None:
        """Raise InputError for the first image whose value in a column is wrong."""
        if wrong.any():
            rows = self.table[wrong]
            raise InputError(f"{rows.path.iloc[0]}: {column} {rows[column].iloc[0]} is not in {known}")

    @property
    def experiences(self) -> int:
        return len(self.experience_names)

    @cached_property
    def increments(self) -> Literal["data", "classes", "both"]:
        """What arrives with the experiences, in training: new `data` of the same classes, new `classes`, or `both`."""
        pairs = self.table[self.table.split == "train"][["experience", "label"]].drop_duplicates()
        last = int(pairs.groupby("label").experience.min().max())
        if last == int(pairs.experience.min()):
            return "data"
        return "both" if pairs.label.duplicated().any() else "classes"

    def rows(self, split: str, experience: int) -> np.ndarray:
        """Positions (int64) of the images of one split of one experience, in table order."""
        return self._rows.get((split, experience), np.empty(0, dtype=np.int64)).copy()

    @cached_property
    def _rows(self) -> dict[tuple[str, int], np.ndarray]:
        """`rows` of each split and experience with images, found at once: every run of a suite asks for all of them."""
        groups: dict[Any, np.ndarray] = self.table.groupby(["split", "experience"]).indices  # type: ignore[assignment]
        return {key: np.sort(rows) for key, rows in groups.items()}

    @property
    def origin(self) -> Manifest:
        """The stream before anything came later; itself if nothing did."""
        return self if self.parts is None else self.parts[0].origin

    @property
    def stacked(self) -> Path | None:
        """The one file that holds all images, or the features in place of them; None if images are files."""
        return self.pixels or self.features

    def with_positions(self) -> pd.DataFrame:
        """The table, with the column `POSITION` if the images are in one file: rows may then be left out or moved."""
        if self.stacked is None or POSITION in self.table:
            return self.table
        return self.table.assign(**{POSITION: np.arange(len(self.table))})

    def files(self) -> list[str]:
        """Absolute names of the files that hold the images: one per image in table order, or just that of all."""
        if self.stacked is not None:
            return [str(self.stacked)]
        return [os.path.join(self.root, path) for path in self.table.path]

    def sources_at(self, rows: np.ndarray) -> Sequence[str] | Pixels:
        """What `sources` gives, of some of the rows."""
        sources = self.sources()
        return sources.at(rows) if isinstance(sources, Pixels) else [sources[row] for row in rows]

    def sources(self) -> Sequence[str] | Pixels:
        """What `images.decode` takes, in table order: file names, or arrays, uint8 (height, width, 1 or 3).

        Raises InputError if the `pixels` file is missing or does not hold the images, or if there are only features.
        """
        if self.features is not None:
            raise InputError(f"{self.name}: holds features, and this needs images, which nobody has given")
        if self.pixels is None:
            return self.files()
        stored = self._stored(self.pixels, "uint8 (images, height, width, 1 or 3)")
        rows = self._positions(self.pixels, len(stored))
        if self.moves is None:
            return Pixels(stored, rows)
        if self.moves.shape[1:] != (stored.shape[1] * stored.shape[2],):
            raise InputError(
                f"{self.pixels}: holds {stored.shape} where moves of {self.moves.shape[1]} pixels are given"
            )
        return Pixels(stored, rows, self.moves, self.table[MOVE].to_numpy(dtype=np.int64))

    def given_features(self) -> np.ndarray:
        """What is in the place of images, float32 (images, width) in table order, memory-mapped where it is all rows.

        Raises InputError if the `features` file is missing or does not hold them.
        """
        assert self.features is not None
        stored = self._stored(self.features, "float32 (images, width)")
        rows = self._positions(self.features, len(stored))
        return stored if np.array_equal(rows, np.arange(len(stored))) else stored[rows]

    @property
    def width(self) -> int:
        """How many features are given for each image; 0 where images are given."""
        return 0 if self.features is None else int(self._stored(self.features, "float32 (images, width)").shape[1])

    def _stored(self, file: Path, wanted: str) -> np.ndarray:
        stored = load_array(file)
        if stored is None:
            raise InputError(f"{file}: not a readable .npy file; {wanted} was expected")
        if wanted.startswith("uint8"):
            fits = stored.ndim == 4 and stored.shape[3] in (1, 3) and all(stored.shape) and stored.dtype == np.uint8
        else:
            fits = stored.ndim == 2 and all(stored.shape) and stored.dtype == np.float32
        if not fits:
            raise InputError(f"{file}: holds {stored.dtype} {stored.shape} where {wanted} was expected")
        return stored

    def _positions(self, file: Path, stored: int) -> np.ndarray:
        """The row in a file of so many, int64 (images,), of each image."""
        given = POSITION in self.table.columns
        if not given and stored != len(self.table):
            raise InputError(f"{file}: holds {stored} images where {len(self.table)} were expected")
        rows = self.table[POSITION].to_numpy(dtype=np.int64) if given else np.arange(len(self.table))
        if len(rows) and not 0 <= rows.min() <= rows.max() < stored:
            raise InputError(f"{file}: holds {stored} images, {self.name} needs number {rows.max()}")
        return rows

    def for_seed(self, seed: int) -> Manifest:
        """The stream that a run of this seed has: another one only if `draw` makes it."""
        if self.draw is None:
            return self
        own = replace(self, moves=self.draw(seed), draw=None)
        vars(own)["content_hash"] = digest_of([self.content_hash, seed])
        return own

    def in_order(self, order: Sequence[int]) -> Manifest:
        """The same stream with its experiences in another order: number `order[k]` comes as number k.

        Rows stay where they are, so that pixels and features are those of the stream in its own order; the content hash
        is that stream's, too. Task labels, names and everything else go with their experience.

        Raises InputError if what an experience holds depends on its place.
        """
        if list(order) == list(range(self.experiences)):
            return self
        if self.placed:
            raise InputError(
                "orders: in this stream, which images an experience has depends on its place; with protocol: both, "
                "give several streams, each with its own benchmark.order or benchmark.class_order"
            )
        moved = replace(
            self,
            table=self.table.assign(experience=np.argsort(order)[self.table.experience.to_numpy()]),
            experience_names=[self.experience_names[own] for own in order],
            order=tuple(order),
        )
        vars(moved)["content_hash"] = self.content_hash
        return moved

    def recorded_order(self) -> np.ndarray:
        """int64 (images,): the place of each image if recordings follow one another, each with its object's frames.

        A recording of several objects counts as one of each; images without a recording keep their places in the table.
        """
        names = self.table.recording.where(self.table.recording != "", self.table.path).astype(str)
        video = pd.factorize(names + "\0" + self.table.label.astype(str))[0]  # numbered as they first occur
        return np.argsort(np.argsort(video, kind="stable"), kind="stable").astype(np.int64)

    def task_labels(self) -> np.ndarray:
        """int64 of shape (images,)."""
        if TASK in self.table.columns:
            return self.table[TASK].to_numpy(dtype=np.int64, copy=True)  # torch wants writable memory
        return np.zeros(len(self.table), dtype=np.int64)

    @cached_property
    def digests(self) -> np.ndarray:
        """Of the bytes of each of `files`, uint8 (files, 16). Raises InputError for one that cannot be read."""
        return digests(self.files())

    @cached_property
    def content_hash(self) -> str:
        """BLAKE2b (128 bit, hex) of the table and of the bytes of every image.

        Hashing many gigabytes is slow, so the result is remembered in the cache folder for a given list of names,
        sizes and modification times. Raises InputError for a missing or zero-byte image.
        """
        if self.parts is not None:
            return digest_of([part.content_hash for part in self.parts])[:32]
        files = self.files()
        table = hashlib.blake2b(digest_size=16)
        columns = [*COLUMNS, *(column for column in (TASK, POSITION, MOVE) if column in self.table.columns)]
        table.update(self.table[columns].to_csv(index=False).encode("utf-8"))
        table.update("\n".join([*self.classes, "", *self.experience_names]).encode("utf-8"))
        if self.moves is not None:
            table.update(np.ascontiguousarray(self.moves, dtype="<i8").tobytes())
            table.update(b"drawn for each seed" if self.draw is not None else b"")
        stamp = table.copy()
        for file in files:
            try:
                stat = os.stat(file)
            except OSError as error:
                raise InputError(f"{file}: cannot be read ({error.strerror})") from error
            if stat.st_size == 0:
                raise InputError(f"{file}: the image has no bytes")
            stamp.update(f"{file}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())

        def with_images() -> str:
            table.update(self.digests.tobytes().hex().encode("ascii"))
            return table.hexdigest()

        return remembered(stamp.hexdigest(), with_images, root=str(self.root), images=len(files))

    def counts(self) -> pd.DataFrame:
        """One row per experience: its number, name, factor, level and images per split.

        An experience of several factors or levels has none of its own: an empty text, and 0.
        """
        grouped = self.table.groupby(["experience", "split"]).size().unstack(fill_value=0)
        own = self.table.groupby("experience")[["factor", "level"]]
        first, alike = own.first(), own.nunique() == 1
        first = first.assign(factor=first.factor.where(alike.factor, ""), level=first.level.where(alike.level, 0))
        frame = pd.DataFrame(
            {"name": list(self.experience_names)}, index=pd.RangeIndex(self.experiences, name="experience")
        )
        counts = grouped.reindex(index=frame.index, columns=list(SPLITS), fill_value=0)
        return frame.join(first).join(counts).reset_index()

    def describe(self) -> dict[str, object]:
        """What a report says about the data: see data.json in the output. `drawn` tells of a stream for each seed."""
        return {
            "name": self.name,
            "synthetic": self.synthetic,
            "source": self.source,
            "classes": list(self.classes),
            "images": len(self.table),
            "content_hash": self.content_hash,
            "increments": self.increments,
            "notes": dict(self.notes),
            **({"features": self.width} if self.features is not None else {}),
            **({"drawn": "for each seed"} if self.draw is not None else {}),
        }
