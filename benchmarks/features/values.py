"""The values of the arrays beside the features: whole numbers or texts, one for each image, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lorisbench.benchmarks.features.arrays import Array
from lorisbench.benchmarks.text_lists import MOST, whole
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.data.manifest import SPLITS

SPELT = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test"}


def values_of(array: Array) -> np.ndarray:
    """One value for each row: int64 (rows,), or texts as objects (rows,).

    Raises InputError, naming array and row, for any other type or shape, and for a missing or fractional number.
    """
    shape = array.shape
    if len(shape) > 1 and any(length != 1 for length in shape[1:]):
        hint = "; of labels with a column for each class, take the argmax" if len(shape) == 2 else ""
        raise InputError(f"{array.told}: has the shape {shape}, where one value a row was expected{hint}")
    values = array.whole().reshape(-1)
    if values.dtype.kind in "biu":
        wrong = np.flatnonzero((values > MOST) | (values < -MOST)) if values.dtype.itemsize > 4 else np.empty(0, int)
        if len(wrong):
            raise InputError(f"{array.told}: row {wrong[0]} has {values[wrong[0]]}, which is too large")
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~(np.isfinite(values) & (np.abs(values) <= MOST) & (values == np.floor(values))))
        if len(wrong):
            raise InputError(f"{array.told}: row {wrong[0]} has {values[wrong[0]]}, where a whole number was expected")
        return values.astype(np.int64)
    if values.dtype.kind in "USOT":
        return _texts(array, values)
    raise InputError(f"{array.told}: is {array.kind}, where whole numbers or text were expected")


def _texts(array: Array, values: np.ndarray) -> np.ndarray:
    found: list[Any] = values.tolist()
    for row, value in enumerate(found):
        if isinstance(value, bytes):
            try:
                found[row] = value.decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{array.told}: row {row} is not UTF-8 text") from None
    kinds = {type(value) for value in found}
    if kinds and kinds <= {int, bool}:
        return np.array(found, dtype=np.int64)
    wrong = next((row for row, value in enumerate(found) if not isinstance(value, str)), None)
    if wrong is not None:
        raise InputError(f"{array.told}: row {wrong} has {found[wrong]!r:.40}, where text was expected, as in others")
    return np.array([text.strip() for text in found], dtype=object)


def names_in(array: Array, different: bool = True) -> list[str]:
    """Names, by position. Raises InputError if they are no texts, or one is empty or, if `different`, there twice."""
    values = values_of(array)
    if values.dtype != object:
        raise InputError(f"{array.told}: holds numbers, where names were expected")
    names = [str(name) for name in values]
    if "" in names:
        raise InputError(f"{array.told}: row {names.index('')} has no name")
    if different and len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise InputError(f"{array.told}: the name {twice!r} is there twice")
    return names


def as_texts(array: Array | None, rows: int) -> np.ndarray:
    """Texts as objects (rows,); empty ones without an array."""
    if array is None:
        return np.full(rows, "", dtype=object)
    values = values_of(array)
    return values if values.dtype == object else np.array([str(value) for value in values], dtype=object)


def as_counts(array: Array | None, rows: int) -> np.ndarray:
    """Whole numbers of 0 or more, int64 (rows,); zeros without an array. Raises InputError for others."""
    if array is None:
        return np.zeros(rows, dtype=np.int64)
    values = values_of(array)
    if values.dtype == object:
        raise InputError(f"{array.told}: row 0 has {values[0]!r}, where whole numbers were expected")
    if (wrong := np.flatnonzero(values < 0)).size:
        raise InputError(
            f"{array.told}: row {wrong[0]} has {values[wrong[0]]}, where numbers of 0 or more are expected"
        )
    return values


def as_splits(array: Array) -> np.ndarray:
    """Splits as objects (rows,), empty where one is to be drawn. Raises InputError, naming the row, for other words."""
    values = values_of(array)
    if values.dtype != object:
        raise InputError(f"{array.told}: row 0 has {values[0]}, where one of {', '.join(SPLITS)} was expected")
    words = np.array([SPELT.get(text.lower(), text.lower()) for text in values], dtype=object)
    for row, word in enumerate(words):
        if word not in SPLITS and word:
            hint = nearest(word, SPLITS)
            raise InputError(f"{array.told}: row {row} has {values[row]!r}, which is none of {', '.join(SPLITS)}{hint}")
    return words


def classes_of(
    labels: Sequence[Array | None], rows: Sequence[Array | None], names: Array | None
) -> tuple[np.ndarray, list[str], str]:
    """Labels of all images, int64 counted from 0, the names of the classes, and a note on labels that were renumbered.

    Parameters
    ----------
    labels, rows : for each part, its labels (numbers, or texts that name classes) and the class's name in each row.
    names : the names of all classes, by label.

    Raises
    ------
    InputError : naming array and row: a label is negative or has no name, or stands for two names.
    """
    given = [label if label is not None else row for label, row in zip(labels, rows, strict=True)]
    arrays = [array for array in given if array is not None]
    parts = [_labels(array) for array in arrays]
    known = None if names is None else names_in(names)
    if len({values.dtype == object for values in parts}) > 1:
        text, number = sorted(range(len(parts)), key=lambda place: parts[place].dtype != object)[:: len(parts) - 1]
        raise InputError(f"{arrays[text].told}: holds names, and {arrays[number].name!r} numbers; give labels alike")
    if parts[0].dtype == object:
        for array, values in zip(arrays, parts, strict=True):
            for row, name in enumerate(values):
                if not name or (known is not None and name not in known):
                    hint = nearest(name, known) if name and known else ""
                    what = f"the class {name!r}, which class_names lacks" if name else "no class"
                    raise InputError(f"{array.told}: row {row} has {what}{hint}")
        every = np.concatenate(parts)
        classes = known or sorted(set(every))
        place = {name: label for label, name in enumerate(classes)}
        return np.array([place[name] for name in every], dtype=np.int64), classes, ""
    for array, values in zip(arrays, parts, strict=True):
        wrong = np.flatnonzero((values < 0) | (values >= (len(known) if known is not None else MOST + 1)))
        if len(wrong):
            row = int(wrong[0])
            wanted = f"0 to {len(known) - 1}, one for each of class_names" if known is not None else "0 or more"
            raise InputError(f"{array.told}: row {row} has the label {values[row]}, where {wanted} was expected")
    every = np.concatenate(parts)
    if known is not None:
        return every, known, ""
    found, renumbered = np.unique(every, return_inverse=True)
    told = _rows_names(arrays, labels, rows, every)
    classes = [told.get(int(label), f"class {label}") for label in found]
    note = ""
    if len(found) and int(found[-1]) != len(found) - 1:
        note = f"{len(found)} different ones from {found[0]} to {found[-1]}, counted from 0 here"
    return renumbered.astype(np.int64).reshape(-1), classes, note


def _labels(array: Array) -> np.ndarray:
    """Numbers or names; texts that all spell whole numbers are numbers."""
    values = values_of(array)
    if values.dtype == object and len(values):
        spelt = {text: whole(text) for text in set(values)}
        if all(number is not None for number in spelt.values()):
            return np.array([spelt[text] for text in values], dtype=np.int64)
    return values


def _rows_names(
    arrays: Sequence[Array], labels: Sequence[Array | None], rows: Sequence[Array | None], every: np.ndarray
) -> dict[int, str]:
    """The name of each label by what its rows say, where labels and names are both given. Raises InputError."""
    if any(label is None or row is None for label, row in zip(labels, rows, strict=True)):
        return {}
    told: dict[int, str] = {}
    holders: dict[str, int] = {}
    place = 0
    for array in rows:
        assert array is not None
        for row, name in enumerate(as_texts(array, 0)):
            label = int(every[place])
            place += 1
            if told.setdefault(label, name) != name:
                raise InputError(
                    f"{array.told}: row {row} calls label {label} {name!r}, and another row {told[label]!r}"
                )
            if holders.setdefault(name, label) != label:
                raise InputError(
                    f"{array.told}: row {row} calls label {label} {name!r}, as label {holders[name]} is too"
                )
    return told


def experiences_of(arrays: Sequence[Array], names: Array | None) -> tuple[np.ndarray, list[str]]:
    """The experience of each image, int64 counted from 0, and their names.

    Numbers come in their order, texts in that in which they appear; where the names are given, numbers are positions
    among them, and texts come in their order. Raises InputError, naming the array, for one that has no name.
    """
    parts = [values_of(array) for array in arrays]
    if len({values.dtype == object for values in parts}) > 1:
        raise InputError(f"{arrays[0].told} and {arrays[1].name!r}: names and numbers; give experiences alike")
    known = None if names is None else names_in(names, different=parts[0].dtype == object)
    every = np.concatenate(parts)
    if parts[0].dtype != object and known is None:
        found, place = np.unique(every, return_inverse=True)
        return place.astype(np.int64).reshape(-1), [f"experience {number}" for number in found]
    order: list[Any] = list(dict.fromkeys(every.tolist()))
    if known is not None:
        order = list(known) if parts[0].dtype == object else list(range(len(known)))
    position = {value: index for index, value in enumerate(order)}
    for array, values in zip(arrays, parts, strict=True):
        for row, value in enumerate(values.tolist()):
            if value == "" or value not in position:
                what = "no experience" if value == "" else f"the experience {value!r}, which experience_names lacks"
                raise InputError(f"{array.told}: row {row} has {what}")
    return np.array([position[value] for value in every.tolist()], dtype=np.int64), known or [str(v) for v in order]
