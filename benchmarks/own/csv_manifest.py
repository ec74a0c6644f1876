"""Own data in a table: a CSV file with one image per line, for whatever the other readers cannot read."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import field_validator

from lorisbench.benchmarks.own.own_splits import UNDECIDED, OwnData
from lorisbench.benchmarks.tree import check_file, read_lines
from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text
from lorisbench.common.registry import nearest
from lorisbench.data.identity import same_bytes, same_files
from lorisbench.data.manifest import COLUMNS, SPLITS, TASK, Manifest
from lorisbench.data.marker import synthetic_name
from lorisbench.data.subsets import arrange, check_objects, in_stream_order

REQUIRED = ("path", "experience")
OPTIONAL = {"class_name": "", "label": "", "split": UNDECIDED, "factor": "", "level": "0", "recording": "", TASK: "0"}
HEADER_KEYS = ("root", "name", "source", "synthetic")
LEAVES = r"^(?:[/\\~]|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)"


class ManifestFile(OwnData, name="manifest"):
    """Own images listed in a CSV file: path, class_name (or label), experience, split, ... (see benchmarks/README.md).

    `root`: the folder that the paths are relative to; else the one in the file's line `# root:`; else the file's
    folder.
    """

    file: str
    root: str | None = None
    objects: int | list[str] | None = None

    _check_objects = field_validator("objects")(check_objects)

    def manifest(self) -> Manifest:
        return read_csv(Path(self.file), self)


def read_csv(file: Path, settings: ManifestFile) -> Manifest:
    """The manifest that a CSV file lists.

    Lines `# key: value` before the columns may give root, name, source and `synthetic: true`. Columns: `path` (relative
    to the root) and `experience` (numbers, which are sorted, or names, in order of appearance) must be there, and
    `class_name` or `label` (0 or more); optional columns are `split` (train, validation, test; empty where it is to be
    chosen), `factor`, `level`, `recording` and `task`.

    Raises
    ------
    InputError : naming file and line, for a wrong column, split, number or label, a path that leaves the root or does
        not exist, and an image listed with two classes or in two splits.
    """
    lines = read_lines(file)
    start, header = _header(lines, file)
    table = _table(lines, start, file)
    line = np.arange(start + 2, start + 2 + len(table))
    full = (table[[*REQUIRED, "class_name", "label", "split"]] != "").any(axis=1).to_numpy()
    table, line = table[full].reset_index(drop=True), line[full]
    if table.empty:
        raise InputError(f"{file}: lists no image")
    root = Path(settings.root) if settings.root else file.parent / header.get("root", "")
    notes = {"layout": "manifest file"}
    table = table.assign(split=_splits(table, line, file), path=_paths(table, line, file))
    for column in ("level", TASK):
        table[column] = _numbers(table, column, line, file)
    table, classes = _classes(table, line, file)
    table, names = _experiences(table, line, file)
    table, line = _unique(table, line, file, notes)
    for path, number in zip(table.path, line, strict=True):
        check_file(os.path.join(root, path), f"{file}:{number}: ")
    files = [os.path.join(root, path) for path in table.path]
    table = settings.decide(table, notes, same_files(files), lambda: same_bytes(files))
    columns = [*COLUMNS, TASK] if table[TASK].any() else COLUMNS
    rendered = synthetic_name(root, table.path)
    synthetic = rendered is not None or header.get("synthetic", "").lower() == "true"
    whole = Manifest(
        in_stream_order(table[columns]), root, header.get("name") or rendered or file.stem, synthetic, classes, names,
        header.get("source", "own images, listed in a file"), notes,
    )  # fmt: skip
    return arrange(whole, settings.subset(settings.objects))


def write(manifest: Manifest, file: Path) -> None:
    """Write a manifest as a CSV file that `manifest: FILE` reads. Raises InputError if its images are not files."""
    write_text(file, csv_text(manifest, file))


def csv_text(manifest: Manifest, file: Path) -> str:
    """A manifest as the text of such a file. Raises InputError if its images are not files."""
    if manifest.pixels is not None:
        raise InputError(f"{file}: the images of {manifest.name} are not files that a list could name")
    root, here = manifest.root.resolve(), file.resolve().parent
    inside = root == here or here in root.parents
    said = {
        "root": os.path.relpath(root, here).replace(os.sep, "/") if inside else str(root),
        "name": manifest.name,
        "source": manifest.source,
        "synthetic": "true" if manifest.synthetic else "",
    }
    table = manifest.table.assign(experience=[manifest.experience_names[i] for i in manifest.table.experience])
    stream = io.StringIO()
    stream.writelines(f"# {key}: {' '.join(value.split())}\n" for key, value in said.items() if value)
    table.to_csv(stream, index=False)
    return stream.getvalue()


def _header(lines: list[str], file: Path) -> tuple[int, dict[str, str]]:
    """The number of comment lines at the top and what they say."""
    header: dict[str, str] = {}
    for number, text in enumerate(lines):
        if not text.startswith("#"):
            return number, header
        key, colon, value = text[1:].partition(":")
        if colon and key.strip() in HEADER_KEYS:
            header[key.strip()] = value.strip()
    return len(lines), header


def _table(lines: list[str], start: int, file: Path) -> pd.DataFrame:
    """The lines below the comments, all text; missing columns are filled in."""
    if start == len(lines):
        raise InputError(f"{file}: has no line of column names; at least path, experience and class_name are needed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # otherwise an overlong first line is cut
            table = pd.read_csv(
                io.StringIO("\n".join(lines[start:])), dtype=str, keep_default_na=False, skip_blank_lines=False,
                skipinitialspace=True, index_col=False, on_bad_lines="error",
            )  # fmt: skip
    except pd.errors.ParserWarning as error:
        raise InputError(f"{file}:{start + 2}: has more fields than there are columns") from error
    except ValueError as error:
        match = re.search(r"(?:line|row) (\d+)", str(error))
        place = f":{start + int(match[1])}" if match else ""
        raise InputError(f"{file}{place}: not a table ({str(error).strip().rpartition('error: ')[2]})") from error
    table.columns = [str(name).strip() for name in table.columns]
    where = f"{file}:{start + 1}"
    for name in REQUIRED:
        if name not in table:
            raise InputError(f"{where}: the column {name!r} is missing")
    if "class_name" not in table and "label" not in table:
        raise InputError(f"{where}: the column 'class_name' (or 'label') is missing")
    for name in map(str, table):
        if name not in REQUIRED and name not in OPTIONAL:
            raise InputError(f"{where}: unknown column {name!r}{nearest(name, [*REQUIRED, *OPTIONAL])}")
    if not table.columns.is_unique:
        raise InputError(f"{where}: a column occurs twice")
    return table.assign(**{name: value for name, value in OPTIONAL.items() if name not in table}).fillna("")


def _first(wrong: np.ndarray) -> int | None:
    places = np.flatnonzero(wrong)
    return int(places[0]) if len(places) else None


def _splits(table: pd.DataFrame, line: np.ndarray, file: Path) -> pd.Series:
    split = table.split.str.strip().str.lower().replace({"val": "validation", "valid": "validation"})
    at = _first(~split.isin([*SPLITS, UNDECIDED]).to_numpy())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the split {table.split[at]!r} is none of {', '.join(SPLITS)}")
    return split


def _paths(table: pd.DataFrame, line: np.ndarray, file: Path) -> pd.Series:
    path = table.path.str.strip()
    at = _first((path == "").to_numpy())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the path is empty")
    at = _first(path.str.contains(LEAVES).to_numpy())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the path {path[at]!r} leaves the data set's folder")
    return path.str.replace("\\", "/", regex=False).str.replace(r"(?:^|(?<=/))(?:\./|/)+", "", regex=True)


def _numbers(table: pd.DataFrame, column: str, line: np.ndarray, file: Path) -> pd.Series:
    text = table[column].str.strip().replace("", "0")
    at = _first(~text.str.fullmatch(r"\d{1,9}").to_numpy())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the {column} {table[column][at]!r} is not a number of 0 or more")
    return text.astype(np.int64)


def _classes(table: pd.DataFrame, line: np.ndarray, file: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table with class names and labels, one name per label, and the names by label."""
    name, label = table.class_name.str.strip(), table.label.str.strip()
    if (label == "").all():
        at = _first((name == "").to_numpy())
        if at is not None:
            raise InputError(f"{file}:{line[at]}: the class_name is empty")
        classes = sorted(set(name))
        return table.assign(class_name=name, label=name.map({n: i for i, n in enumerate(classes)})), classes
    at = _first(~label.str.fullmatch(r"\d{1,9}").to_numpy())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the label {table.label[at]!r} is not a number of 0 or more")
    number = label.astype(np.int64)
    name = name.where(name != "", "class " + number.astype(str))
    at = _first((number >= number.nunique()).to_numpy())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the label {number[at]} is not in 0..{number.nunique() - 1}, one a class")
    for column, other, said in ((number, name, "label"), (name, number, "class_name")):
        first = other.groupby(column).transform("first")
        at = _first((first != other).to_numpy())
        if at is not None:
            here = f"{file}:{line[at]}: the {said} {str(column[at])!r} goes with {str(other[at])!r}"
            raise InputError(f"{here} here and {str(first[at])!r} before")
    names = dict(zip(number, name, strict=True))
    return table.assign(class_name=name, label=number), [names[i] for i in range(len(names))]


def _experiences(table: pd.DataFrame, line: np.ndarray, file: Path) -> tuple[pd.DataFrame, list[str]]:
    text = table.experience.str.strip()
    at = _first((text == "").to_numpy())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the experience is empty")
    names = list(dict.fromkeys(text))
    if all(re.fullmatch(r"\d+", name) for name in names):
        names.sort(key=int)
        shown = [f"experience {name}" for name in names]
    else:
        shown = names
    return table.assign(experience=text.map({name: i for i, name in enumerate(names)})), shown


def _unique(
    table: pd.DataFrame, line: np.ndarray, file: Path, notes: dict[str, str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The table without repeated lines, where an empty split is the one that another line of the image names.

    One image in two classes or two splits is refused.
    """
    for column in ("class_name", "split"):
        first = table[column].where(table[column] != UNDECIDED).groupby(table.path).transform("first").fillna("")
        at = _first(((table[column] != UNDECIDED) & (first != table[column])).to_numpy())
        if at is not None:
            here = f"{file}:{line[at]}: {table.path[at]!r} has the {column} {table[column][at]!r}"
            raise InputError(f"{here} here and {first[at]!r} before")
        table = table.assign(**{column: first})
    again = table.duplicated(["path", "experience"]).to_numpy()
    if again.any():
        notes["duplicates"] = (
            f"{again.sum()} lines list an image again in its experience, the first is line {line[_first(again)]}; "
            "each is used once"
        )
    return table[~again].reset_index(drop=True), line[~again]
