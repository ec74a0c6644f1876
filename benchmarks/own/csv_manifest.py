"""Own data in a table: a CSV file with one image per line, for whatever the other readers cannot read."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import field_validator

from lorisbench.benchmarks.left_out import note_left_out
from lorisbench.benchmarks.own import csv_columns as columns
from lorisbench.benchmarks.own.own_splits import UNDECIDED, OwnData
from lorisbench.benchmarks.text_lists import read_table
from lorisbench.benchmarks.tree import check_file
from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text
from lorisbench.data.identity import same_bytes, same_files
from lorisbench.data.manifest import COLUMNS, TASK, Manifest
from lorisbench.data.marker import synthetic_name
from lorisbench.data.subsets import arrange, check_objects, in_stream_order

REQUIRED = (("path",), ("experience",), ("class_name", "label"))
OPTIONAL = {"class_name": "", "label": "", "split": UNDECIDED, "factor": "", "level": "", "recording": "", TASK: ""}
LAYOUT = "manifest file"
HEADER_KEYS = ("root", "name", "source", "synthetic")


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
    to the root, or below it) and `experience` (whole numbers, which are sorted, or names, in order of appearance) must
    be there, and `class_name` or `label` (0 or more); optional columns are `split` (train, validation, test; empty
    where it is to be chosen), `factor`, `level`, `recording` and `task`. Whole numbers may be spelt in any way (7, 7.0,
    +7, 007); class names are text, whatever they spell. See `text_lists` for what else is read.

    Raises
    ------
    InputError : naming file and line, for a wrong column, split, number or label, a path that leaves the root or does
        not exist, and an image listed with two classes or in two splits.
    """
    table, line, header, comments = _table(file)
    root = Path(settings.root) if settings.root else file.parent / header.get("root", "")
    notes = {"layout": LAYOUT}
    if comments:
        notes["comments"] = f"{len(comments)} lines that begin with # are not read, the first is line {comments[0]}"
    table = table.assign(split=columns.splits(table, line, file), path=columns.paths(table, line, file, root))
    table = table.assign(recording=columns.recordings(table, line, file))
    table = table.assign(**{name: columns.numbers(table, name, line, file) for name in ("level", TASK)})
    table, classes = columns.classes(table, line, file)
    table, names = columns.experiences(table, line, file, notes)
    table, line = _unique(table, line, file, notes)
    for path, number in zip(table.path, line, strict=True):
        check_file(os.path.join(root, path), f"{file}:{number}: ")
    files = [os.path.join(root, path) for path in table.path]
    folders = {path.rpartition("/")[0] for path in table.path}
    this = os.path.realpath(file)
    note_left_out(notes, root, table.path, folders, False, lambda path: os.path.realpath(root / path) == this)
    table = settings.decide(table, notes, same_files(files), lambda: same_bytes(files))
    kept = [*COLUMNS, TASK] if table[TASK].any() else COLUMNS
    rendered = synthetic_name(root, table.path)
    synthetic = rendered is not None or header.get("synthetic", "").lower() == "true"
    whole = Manifest(
        in_stream_order(table[kept]), root, header.get("name") or rendered or file.stem, synthetic, classes, names,
        header.get("source", "own images, listed in a file"), notes,
    )  # fmt: skip
    return arrange(whole, settings.subset(settings.objects))


def write(manifest: Manifest, file: Path) -> None:
    """Write a manifest as a CSV file that `manifest: FILE` reads. Raises InputError if its images are not files."""
    write_text(file, csv_text(manifest, file))


def check_listable(manifest: Manifest, file: Path) -> None:
    """Raise InputError if the images of a manifest are not files, which a list in `file` could name."""
    if manifest.stacked is not None:
        raise InputError(f"{file}: the images of {manifest.name} are not files that a list could name")


def csv_text(manifest: Manifest, file: Path) -> str:
    """A manifest as the text of such a file. Raises InputError if its images are not files."""
    check_listable(manifest, file)
    root, here = manifest.root.resolve(), file.resolve().parent
    inside = root == here or here in root.parents
    said = {
        "root": os.path.relpath(root, here).replace(os.sep, "/") if inside else str(root),
        "name": manifest.name,
        "source": manifest.source,
        "synthetic": "true" if manifest.synthetic else "",
    }
    table = manifest.table.assign(experience=[manifest.experience_names[i] for i in manifest.table.experience])
    table["path"] = table.path.where(~table.path.str.startswith("#"), "./" + table.path)  # or it were a comment
    stream = io.StringIO()
    stream.writelines(f"# {key}: {' '.join(value.split())}\n" for key, value in said.items() if value)
    table.to_csv(stream, index=False)
    return stream.getvalue()


def _table(file: Path) -> tuple[pd.DataFrame, np.ndarray, dict[str, str], list[int]]:
    """The rows as text, the line of each, what the comments above give, and the lines of those below."""
    read = read_table(file, REQUIRED, list(OPTIONAL), columns.NEAR)
    header: dict[str, str] = {}
    for text in read.said:
        key, colon, value = text.partition(":")
        if colon and key.strip().lower() in HEADER_KEYS:
            header[key.strip().lower()] = value.strip()
    if not read.rows:
        raise InputError(f"{file}: lists no image")
    table = pd.DataFrame(read.rows, columns=read.names, dtype=str)
    table = table.assign(**{name: value for name, value in OPTIONAL.items() if name not in table})
    return table, np.array(read.lines), header, read.skipped


def _unique(
    table: pd.DataFrame, line: np.ndarray, file: Path, notes: dict[str, str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The table without repeated lines, where an empty split is the one that another line of the image names.

    One image in two classes or two splits is refused.
    """
    for column in ("class_name", "split"):
        named = table[column].where(table[column] != UNDECIDED).groupby(table.path).transform("first").fillna("")
        at = columns.first((table[column] != UNDECIDED) & (named != table[column]))
        if at is not None:
            here = f"{file}:{line[at]}: {table.path[at]!r} has the {column} {table[column][at]!r}"
            raise InputError(f"{here} here and {named[at]!r} before")
        table = table.assign(**{column: named})
    again = table.duplicated(["path", "experience"]).to_numpy()
    if again.any():
        number = line[np.flatnonzero(again)[0]]
        notes["duplicates"] = (
            f"{again.sum()} lines list an image again in its experience, the first is line {number}; each is used once"
        )
    return table[~again].reset_index(drop=True), line[~again]
