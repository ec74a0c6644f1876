"""Which array of a file is what: features, labels and the rest, of all images or of each split, by name or as told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lorisbench.benchmarks.features.arrays import Array, arrays_of
from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_text
from lorisbench.common.registry import nearest
from lorisbench.data.manifest import SPLITS

ROLES = {
    "features": "features feature feats feat x embeddings embedding embeds emb representations vectors data",
    "labels": "labels label y targets target class_ids class_id label_ids label_id",
    "class_name": "class_name class category object",
    "experience": "experience experiences experience_id exp session sessions domain domains",
    "split": "split splits subset",
    "recording": "recording recordings recording_id video videos video_id video_ids clip clips",
    "factor": "factor factors",
    "level": "level levels",
    "task": "task tasks task_label task_labels task_id task_ids",
    "path": "path paths file files filename filenames image_path image_paths",
}
"""What an array of one value (or row) for each image may be called, in any case, by what it is."""
SHARED = {
    "class_names": "class_names classnames classes categories label_names",
    "experience_names": "experience_names session_names domain_names",
    "about": "about",
}
"""The same for arrays that are about all images."""
PARTS = {
    "train": "training train tr",
    "validation": "validation valid val dev",
    "test": "testing test te",
}
"""The words in an array's name that say of which split it is."""
WHOLE = ""  # the part that holds all images
KEYS = [*(f"{role}{part}" for part in ("", *(f"_{split}" for split in SPLITS)) for role in ROLES), *SHARED]
LISTS = (".txt", ".csv")  # a value a line
ARRAYS = (".npy", ".npz", ".safetensors", ".parquet")
FILES = (*ARRAYS, *LISTS)

Key = tuple[str, str]
"""What an array is, and of which part: a split, or `WHOLE`."""


@dataclass(frozen=True)
class Found:
    """The arrays of a benchmark.

    Attributes
    ----------
    parts : by split, or `WHOLE` where there is one of all images: arrays by what they are, `features` and `labels` (or
        `class_name`) always among them, of as many rows each.
    shared : those that are about all images. unread : those that nothing is known of.
    """

    parts: dict[str, dict[str, Array]]
    shared: dict[str, Array] = field(default_factory=dict)
    unread: list[Array] = field(default_factory=list)

    def told(self) -> str:
        """Which arrays are what, in a line."""
        said = [
            f"{role}{f' ({part})' if part else ''} {array.name!r}"
            for part, arrays in self.parts.items()
            for role, array in arrays.items()
        ]
        said += [f"{role} {array.name!r}" for role, array in self.shared.items()]
        left = f"; not read: {', '.join(repr(array.name) for array in self.unread)}" if self.unread else ""
        return ", ".join(said) + left


def find(file: Path, labels: Path | None, columns: Mapping[str, str | None]) -> Found:
    """The arrays of a file, those that `columns` names, and those of a file of labels.

    columns : what an array is, one of `KEYS`, and its name or the file that holds it, or None where there is none,
        whatever one is called. Others are known by their names.

    Raises InputError, naming file and array, for a key or name that there is not, with the nearest; for an array that
    is missing, or two that may be the same thing; and for one that has another number of rows than its features.
    """
    arrays = arrays_of(file)
    chosen: dict[Key, Array] = {}
    for key, name in columns.items():
        if key not in KEYS:
            raise InputError(f"benchmark.columns: nothing is called {key!r}{nearest(key, KEYS)}")
        if name:
            chosen[_key(key)] = _named(name, key, arrays, file)
    if labels is not None:
        if ("labels", WHOLE) in chosen:
            raise InputError("benchmark.labels and benchmark.columns.labels: give one of them")
        _add_labels(labels, arrays, chosen, file)
    taken = {id(array) for array in chosen.values()}
    unread = []
    for array in arrays.values():
        if id(array) in taken:
            continue
        guess = guessed(array.name)
        if guess is None or guess in _told_keys(columns, labels):
            unread.append(array)
        elif guess in chosen:
            raise InputError(
                f"{file}: {chosen[guess].name!r} and {array.name!r} may both be its {guess[0]}; say which by "
                f"benchmark.columns.{_text(guess)}"
            )
        else:
            chosen[guess] = array
    _by_form(chosen, unread, file)
    _of_rows(chosen, _told_keys(columns, labels))
    shared = {role: array for (role, _), array in chosen.items() if role in SHARED}
    parts = _parts({key: array for key, array in chosen.items() if key[0] in ROLES})
    for arrays_of_part in parts.values():
        _check_rows(arrays_of_part)
    return Found(parts, shared, unread)


def guessed(name: str) -> Key | None:
    """What an array of this name is, and of which part; None if that cannot be told."""
    text = name.rpartition("/")[2].strip().lower().replace("-", "_").replace(" ", "_").replace(".", "_")
    known = {alias: role for roles in (ROLES, SHARED) for role, aliases in roles.items() for alias in aliases.split()}
    if text in known:
        return known[text], WHOLE
    for part, words in PARTS.items():
        for word in words.split():
            rest = text.removeprefix(word) if text.startswith(word) else text.removesuffix(word)
            if rest == "":
                return "features", part
            if rest != text and known.get(rest.strip("_")) in ROLES:
                return known[rest.strip("_")], part
    return None


def _key(text: str) -> Key:
    role, _, part = text.rpartition("_")
    return (role, part) if part in SPLITS and role in ROLES else (text, WHOLE)


def _text(key: Key) -> str:
    return "_".join(filter(None, key))


def _told_keys(columns: Mapping[str, str | None], labels: Path | None) -> set[Key]:
    return {_key(key) for key in columns} | ({("labels", WHOLE)} if labels is not None else set())


def _named(name: str, key: str, arrays: Mapping[str, Array], file: Path) -> Array:
    """The array of this name, or that of the file that it names, beside the features or from here."""
    if name in arrays:
        return arrays[name]
    where = f"benchmark.columns.{key}"
    if Path(name).suffix.lower() not in FILES:
        raise InputError(f"{where}: {file} has no array {name!r}{nearest(name, arrays)}")
    place = _beside(Path(name), file)
    if place is None:
        raise InputError(f"{where}: {file} has no array {name!r}, and there is no such file beside it")
    inside = _lists(place) if place.suffix.lower() in LISTS else arrays_of(place)
    fitting = [array for array in inside.values() if len(inside) == 1 or guessed(array.name) == _key(key)]
    if len(fitting) != 1:
        raise InputError(f"{where}: {place} holds {len(inside)} arrays ({_listed(inside)}); a file of one was expected")
    return fitting[0]


def _add_labels(labels: Path, arrays: dict[str, Array], chosen: dict[Key, Array], file: Path) -> None:
    """Add the array, or the arrays, of the file of labels, or the one of that name, to those that are known."""
    if str(labels) in arrays:
        chosen["labels", WHOLE] = arrays[str(labels)]
        return
    place = _beside(labels, file)
    if place is None:
        names = nearest(str(labels), arrays)
        raise InputError(f"benchmark.labels: {labels}: no such file, and no array of {file} either{names}")
    inside = _lists(place) if place.suffix.lower() in LISTS else arrays_of(place)
    if len(inside) == 1:
        chosen["labels", WHOLE] = next(iter(inside.values()))
        return
    for name, array in inside.items():
        if guessed(name) not in (None, ("features", WHOLE)):
            if name in arrays:
                raise InputError(f"{place} and {file} both hold {name!r}; say which by benchmark.columns")
            arrays[name] = array


def _beside(name: Path, file: Path) -> Path | None:
    folder = file if file.is_dir() else file.parent
    places = (folder / name.expanduser(), Path(name).expanduser())
    return next((place for place in places if place.is_file()), None)


def _lists(place: Path) -> dict[str, Array]:
    """The lines of a text file as one array of text; a first line that says what they are is left out."""
    lines = [line.strip() for line in read_text(place).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > 1 and guessed(lines[0]) is not None and lines[0] not in lines[1:]:
        del lines[0]
    values = np.array(lines, dtype=object)
    return {place.stem: Array(place, "", values.shape, "text", lambda: iter([values]))}


def _by_form(chosen: dict[Key, Array], unread: list[Array], file: Path) -> None:
    """Find features, and labels, that no name tells by their form, if one array alone has it. Raises InputError."""
    if not any(role == "features" for role, _ in chosen):
        tables = [array for array in unread if len(array.shape) == 2 and array.kind.startswith(("float", "bfloat"))]
        if len(tables) != 1:
            known = {array.name: array for array in (*chosen.values(), *unread)}
            raise InputError(
                f"{file}: which of its arrays holds the features? {_listed(known)}; say so by "
                "benchmark.columns.features"
            )
        chosen["features", WHOLE] = tables[0]
        unread.remove(tables[0])
    if not any(role in ("labels", "class_name") for role, _ in chosen) and ("features", WHOLE) in chosen:
        rows = chosen["features", WHOLE].shape[:1]
        fitting = [array for array in unread if array.shape == rows and array.kind.startswith(("int", "uint"))]
        if len(fitting) == 1:
            chosen["labels", WHOLE] = fitting[0]
            unread.remove(fitting[0])


def _of_rows(chosen: dict[Key, Array], told: set[Key]) -> None:
    """What is called like the names of all classes, but has one for each image, says the class of each."""
    names, features = chosen.get(("class_names", WHOLE)), chosen.get(("features", WHOLE))
    if names is None or features is None or ("class_names", WHOLE) in told or names.shape[:1] != features.shape[:1]:
        return
    if ("class_name", WHOLE) not in chosen:
        chosen["class_name", WHOLE] = chosen.pop(("class_names", WHOLE))


def _parts(chosen: Mapping[Key, Array]) -> dict[str, dict[str, Array]]:
    """The arrays of each part. Raises InputError for one of no part, and for features without labels."""
    names = [part for part in (WHOLE, *SPLITS) if ("features", part) in chosen]
    home = {part: part for part in names}
    if len(names) == 1:  # of one split only, however it is called: others are drawn
        home = {WHOLE: WHOLE, names[0]: WHOLE}
    elif WHOLE in names and "train" not in names:
        home[WHOLE] = "train"
    found: dict[str, dict[str, Array]] = {}
    for (role, part), array in chosen.items():
        if part not in home:
            whose = f"of the {part} split, of which there are no features" if part else "of no split, and there are"
            splits = "" if part else f" several: give benchmark.columns.{role}_{names[0]} and the others"
            raise InputError(f"{array.told}: {role} {whose}{splits}")
        if role in found.setdefault(home[part], {}):
            raise InputError(f"{array.told}: {role} are in {found[home[part]][role].name!r} too; name one of them")
        found[home[part]][role] = array
    for part, arrays in found.items():
        if not {"labels", "class_name"} & set(arrays):
            raise InputError(
                f"{arrays['features'].told}: has no labels; give benchmark.labels (a file, or an array's name) or "
                f"benchmark.columns.{_text(('labels', part))}"
            )
        if part != WHOLE and "split" in arrays:
            raise InputError(f"{arrays['split'].told}: gives splits to images that are all of the {part} split")
    return {part: found[part] for part in (WHOLE, *SPLITS) if part in found}


def _check_rows(arrays: Mapping[str, Array]) -> None:
    features = arrays["features"]
    for array in arrays.values():
        if array.shape[:1] != features.shape[:1]:
            raise InputError(
                f"{array.told}: has {array.shape[0] if array.shape else 1:,} rows, and {features.name!r} "
                f"{features.shape[0] if features.shape else 1:,}; one for each image was expected"
            )


def _listed(arrays: Mapping[str, Array]) -> str:
    """Names, types and shapes of arrays, for a message."""

    def told() -> Iterator[str]:
        for name, array in list(arrays.items())[:8]:
            yield f"{name!r} {array.kind} {array.shape}"
        if len(arrays) > 8:
            yield f"and {len(arrays) - 8} more"

    return ", ".join(told())
