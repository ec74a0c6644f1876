"""Features in a file, in place of images: what authors publish where the images cannot be had."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from lorisbench.benchmarks.features import values
from lorisbench.benchmarks.features.arrays import Array
from lorisbench.benchmarks.features.names import Found, find
from lorisbench.benchmarks.own.own_splits import UNDECIDED, OwnData
from lorisbench.common.cache import Cached, cache_root
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.common.rehearsal import noted, stand_in
from lorisbench.data.identity import remembered_digest, same_rows
from lorisbench.data.increments import ClassOrder, in_classes
from lorisbench.data.manifest import COLUMNS, POSITION, TASK, Manifest
from lorisbench.data.subsets import arrange, check_objects
from lorisbench.data.usable import some

VERSION = 1  # of how features are laid out in the cache
LAYOUT = "feature file"
TYPES = ("float16", "float32", "float64")
LISTED = 5  # rows that are named; the others are only counted


class Features(OwnData, name="features"):
    """Features with their labels from a file (.npz, .npy, .safetensors, .parquet): {features: FILE, labels: ...}.

    Arrays are known by usual names (`X` or `features`, `y` or `labels`, `X_train` and `y_test`, `class_names`,
    `experience`, `split`, `recording`, ...); `columns` says what others are, as `{features: emb, labels_test: t.npy}`,
    by their names in the file or as files of their own, or by nothing that there is none, whatever one is called.
    `labels` is a file of labels or an array's name.

    Where no experience is given, all images are one, unless there is `classes_per_experience`: then each has so many
    classes, whatever experiences the file gives, in the order of their labels or in `class_order`, their names or
    {seed: 3}. A test split that is not given is drawn, and a validation split if `validation_share` says so.
    """

    gives: ClassVar[Literal["images", "features"]] = "features"

    file: str
    labels: Path | None = None
    columns: dict[str, str | None] = {}
    classes_per_experience: int | None = Field(None, ge=1)
    class_order: ClassOrder = None
    objects: int | list[str] | None = None
    validation_share: float = Field(0.0, ge=0, lt=1)  # what authors publish stays as it is

    _check_objects = field_validator("objects")(check_objects)

    @model_validator(mode="after")
    def _ordered(self) -> Features:
        if self.class_order is not None and self.classes_per_experience is None:
            raise ValueError("the key 'class_order' goes with classes_per_experience")
        return self

    def manifest(self) -> Manifest:
        file = Path(self.file)
        found = find(file, self.labels, self.columns)
        rows = [array["features"].shape[0] if array["features"].shape else 1 for array in found.parts.values()]
        _check_forms(found)
        stored = _copied(found, self.file)
        about = _about(found)
        notes = {"layout": LAYOUT, "arrays": found.told()}
        table, classes, names = self._table(found, rows, notes)
        images = np.arange(len(table))
        table = self.decide(table, notes, images, None if noted() else lambda: same_rows(stored.path))
        kept = [*COLUMNS, TASK] if table[TASK].any() else COLUMNS
        whole = Manifest(
            table[kept], file.parent, str(about.get("name") or file.stem), about.get("synthetic") is True, classes,
            names, str(about.get("source") or "features of images, in a file"), notes, features=stored.path,
        )  # fmt: skip
        return self._in_file_order(self._arranged(whole))

    def _arranged(self, whole: Manifest) -> Manifest:
        """With the experiences, classes and images that the settings select."""
        subset = self.subset(self.objects)
        if self.classes_per_experience is None:
            return arrange(whole, subset)
        return in_classes(whole, subset, self.classes_per_experience, self.class_order)

    @staticmethod
    def _in_file_order(manifest: Manifest) -> Manifest:
        """The rows as they are in the file: as long as none is left out, all processes map one file into memory."""
        table = manifest.with_positions().sort_values(POSITION, kind="stable")
        return replace(manifest, table=table.reset_index(drop=True))

    def _table(self, found: Found, rows: list[int], notes: dict[str, str]) -> tuple[pd.DataFrame, list[str], list[str]]:
        """The columns of a manifest, the names of the classes and of the experiences."""
        parts, shared = found.parts, found.shared
        label, classes, note = values.classes_of(
            [arrays.get("labels") for arrays in parts.values()],
            [arrays.get("class_name") for arrays in parts.values()],
            shared.get("class_names"),
        )
        if note:
            notes["labels"] = note
        experience, names = self._experiences(found, rows, label, classes, notes)

        def column(role: str, read: Any) -> np.ndarray:
            return np.concatenate(
                [read(part.get(role), count) for part, count in zip(parts.values(), rows, strict=True)]
            )

        split = [
            np.full(count, part or UNDECIDED, dtype=object)
            if "split" not in arrays
            else values.as_splits(arrays["split"])
            for (part, arrays), count in zip(parts.items(), rows, strict=True)
        ]
        paths = [
            _numbered(arrays["features"].name, count)
            if "path" not in arrays
            else values.as_texts(arrays["path"], count)
            for arrays, count in zip(parts.values(), rows, strict=True)
        ]
        table = pd.DataFrame(
            {
                "path": np.concatenate(paths).astype(str),
                "label": label,
                "class_name": np.array(classes, dtype=object)[label].astype(str),
                "experience": experience,
                "split": np.concatenate(split).astype(str),
                "factor": column("factor", values.as_texts).astype(str),
                "level": column("level", values.as_counts),
                "recording": column("recording", values.as_texts).astype(str),
                TASK: column("task", values.as_counts),
            }
        )
        return table, classes, names

    def _experiences(
        self, found: Found, rows: list[int], label: np.ndarray, classes: list[str], notes: dict[str, str]
    ) -> tuple[np.ndarray, list[str]]:
        """The experience of each image, and their names. What is decided is added to `notes`."""
        arrays = {part: own["experience"] for part, own in found.parts.items() if "experience" in own}
        if self.classes_per_experience is not None:  # they are made of classes later
            if arrays:
                notes["experiences"] = "those of the file are not used, as each has classes of its own"
            return np.zeros(len(label), dtype=np.int64), ["all"]
        if not arrays:
            notes["experiences"] = "none are given, so all images are one; classes_per_experience makes several"
            return np.zeros(len(label), dtype=np.int64), ["all"]
        lacking = [part for part in found.parts if part not in arrays]
        place, names = values.experiences_of(list(arrays.values()), found.shared.get("experience_names"))
        if not lacking:
            return place, names
        known = np.concatenate([np.full(n, part in arrays) for part, n in zip(found.parts, rows, strict=True)])
        pairs = pd.DataFrame({"label": label[known], "experience": place}).drop_duplicates()
        several = pairs[pairs.label.duplicated()]
        gone = sorted(set(label[~known].tolist()) - set(pairs.label.tolist()))
        features = found.parts[lacking[0]]["features"]
        if len(several) or gone:
            which = classes[int(several.label.iloc[0]) if len(several) else gone[0]]
            why = "is in several experiences" if len(several) else "is in no experience"
            raise InputError(
                f"{features.told}: the {lacking[0]} images have no experience, and class {which!r} {why} elsewhere; "
                f"give benchmark.columns.experience_{lacking[0]}"
            )
        notes["experiences"] = f"{' and '.join(lacking)} images are of the experience that has their class"
        of = dict(pairs.itertuples(index=False, name=None))
        every = np.empty(len(label), dtype=np.int64)
        every[known] = place
        every[~known] = [of[each] for each in label[~known].tolist()]
        return every, names


def _numbered(name: str, count: int) -> np.ndarray:
    """Names of rows that sort in their order, as objects (count,)."""
    digits = len(str(count - 1))
    return np.array([f"{name}[{row:0{digits}d}]" for row in range(count)], dtype=object)


def _check_forms(found: Found) -> None:
    """Raise InputError, naming the array, for features that are not (images, width), of a type that is not read, or
    of another width than those of another part."""
    first: Array | None = None
    for arrays in found.parts.values():
        array = arrays["features"]
        if array.kind not in TYPES:
            raise InputError(f"{array.told}: is {array.kind}, where {', '.join(TYPES)} was expected")
        if len(array.shape) != 2 or not all(array.shape):
            hint = "; reshape(len(x), -1) makes one of it" if len(array.shape) > 2 and all(array.shape) else ""
            raise InputError(f"{array.told}: has the shape {array.shape}, where (images, features) was expected{hint}")
        first = first or array
        if array.shape[1] != first.shape[1]:
            raise InputError(
                f"{array.told}: has {array.shape[1]} features an image, and {first.name!r} {first.shape[1]}"
            )


def _copied(found: Found, file: str) -> Cached:
    """The features of all parts as one file of the cache, float32 (images, width), made if it is missing.

    Raises InputError, naming array and rows, if some are not finite.
    """
    arrays = [own["features"] for own in found.parts.values()]
    sources = {str(array.file): remembered_digest(array.file) for array in arrays}
    key = digest_of(["features, float32", VERSION, [[sources[str(array.file)], array.name] for array in arrays]])
    shape = (sum(array.shape[0] for array in arrays), arrays[0].shape[1])
    entry = Cached(cache_root() / "features" / f"{key}.npy", "<f4", shape, f"reading {file}")

    def blocks() -> Iterator[np.ndarray]:
        for array in arrays:
            yield from _finite(array)

    entry.made(blocks)
    if entry.there():
        return entry
    for _ in blocks():  # a rehearsal makes nothing, and finds the same faults
        pass
    folder = stand_in(key, lambda place: np.lib.format.open_memmap(place / f"{key}.npy", "w+", np.float32, shape=shape))
    return entry._replace(path=folder / f"{key}.npy")


def _finite(array: Array) -> Iterator[np.ndarray]:
    """Its rows as float32, in parts; raises InputError at the end if some are not finite."""
    bad: list[np.ndarray] = []
    start = 0
    for part in array.parts():
        with np.errstate(over="ignore", invalid="ignore"):
            block = part.astype(np.float32)
        bad.append(start + np.flatnonzero(~np.isfinite(block).all(axis=1)))
        start += len(block)
        yield block
    rows = np.concatenate(bad) if bad else np.empty(0, dtype=np.int64)
    if start != array.shape[0]:
        raise InputError(f"{array.told}: has {start} rows, and its header says {array.shape[0]}")
    if len(rows):
        many = f"row {rows[0]} is" if len(rows) == 1 else f"{len(rows)} of {start} rows are"
        which = "" if len(rows) == 1 else f": {some(map(str, rows), ', ', LISTED)}"
        raise InputError(f"{array.told}: {many} not finite (NaN, infinite, or too large for float32){which}")


def _about(found: Found) -> Mapping[str, Any]:
    """What a file of `lorisbench data features` says of itself; empty for any other."""
    array = found.shared.get("about")
    if array is None:
        return {}
    try:
        told = json.loads(str(values.values_of(array)[0]))
        return told if isinstance(told, dict) else {}
    except (InputError, ValueError, IndexError):
        return {}
