"""The columns of a CSV manifest: what their texts mean, and the line of the first that means nothing.

The functions take the table of texts, the line of each row and the file, and raise InputError that names the line.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from lorisbench.benchmarks.own.own_splits import UNDECIDED
from lorisbench.benchmarks.text_lists import MOST, NUMBER, whole
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.data.manifest import SPLITS, TASK

# What others call the columns, folded: too much of a guess to be read, and good for a hint
NAMES = {
    "path": "filename file filepath image imagepath imagefile imagename img imgpath imgname paths fname files images "
    "filenames url uri relpath relativepath location",
    "class_name": "class classes category categoryname object objectname labelname classlabel species name tag",
    "label": "labels classid labelid target targets y classidx classindex categoryid",
    "experience": "experiences exp session domain batch experienceid experiencename step sessionid domainname "
    "environment",
    "split": "set subset fold partition phase splits usage",
    "recording": "video clip sequence recordingid videoid recordings",
    TASK: "taskid tasklabel tasks",
    "level": "levels difficulty",
    "factor": "factors",
}
NEAR = {other: name for name, others in NAMES.items() for other in others.split()}
# No number, and among numbers no name either
MISSING = frozenset(
    ["nan", "-nan", "na", "n/a", "<na>", "nat", "none", "null", "-", "inf", "+inf", "-inf", "infinity", "-infinity"]
)
LEAVES = r"^(?:[/\\~]|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)"


def first(wrong: np.ndarray | pd.Series) -> int | None:
    places = np.flatnonzero(wrong)
    return int(places[0]) if len(places) else None


def splits(table: pd.DataFrame, line: np.ndarray, file: Path) -> pd.Series:
    split = table.split.str.lower().replace({"val": "validation", "valid": "validation"})
    at = first(~split.isin([*SPLITS, UNDECIDED]))
    if at is not None:
        hint = nearest(split[at], SPLITS)
        raise InputError(f"{file}:{line[at]}: the split {table.split[at]!r} is none of {', '.join(SPLITS)}{hint}")
    return split


def paths(table: pd.DataFrame, line: np.ndarray, file: Path, root: Path) -> pd.Series:
    path = table.path
    at = first(path == "")
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the path is empty")
    urls = path.str.match(r"file:/", case=False)
    if urls.any():
        path = path.where(~urls, path.str.replace(r"(?i)^file:(?://(?:localhost)?)?", "", regex=True).map(unquote))
    at = first(path.str.match(r"[A-Za-z][A-Za-z0-9+.-]+://"))
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the path {path[at]!r} is an address; images have to be files")
    top = os.path.abspath(root).rstrip(os.sep) + os.sep
    path = path.str.replace("\\", "/", regex=False)
    path = path.where(~path.str.startswith(top), path.str.slice(len(top)))
    at = first(path.str.contains(LEAVES))
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the path {table.path[at]!r} leaves the data set's folder ({root})")
    return path.str.replace(r"(?:^|(?<=/))(?:\./|/)+", "", regex=True)


def _spelt(column: pd.Series) -> pd.Series:
    """The whole number that each text spells, or None, as objects."""
    numbers = {text: whole(text) for text in column.unique()}
    return pd.Series([numbers[text] for text in column], index=column.index, dtype=object)


def _counted(column: pd.Series, line: np.ndarray, file: Path) -> pd.Series:
    """Whole numbers of 0 or more (int64). Raises InputError for the first text that is none."""
    numbers = _spelt(column)
    at = first(numbers.map(lambda number: number is None or not 0 <= number <= MOST))
    if at is None:
        return numbers.astype(np.int64)
    text = column[at]
    where = f"{file}:{line[at]}: the {column.name}"
    if not text:
        raise InputError(f"{where} is empty, and other lines have a number")
    if numbers[at] is not None and numbers[at] > MOST:
        raise InputError(f"{where} {text!r} is too large; {MOST:,} is the most")
    hint = "; names go in the column class_name" if column.name == "label" and not NUMBER.fullmatch(text) else ""
    raise InputError(f"{where} {text!r} is not a number of 0 or more, and a whole one{hint}")


def numbers(table: pd.DataFrame, name: str, line: np.ndarray, file: Path) -> pd.Series:
    """An optional column of numbers, 0 where all of it is empty, and a level where there is no factor to have one."""
    column = table[name]
    nothing = column == ""
    if name == "level" and (table.factor != "").any():
        nothing &= table.factor == ""
    elif not nothing.all():
        nothing &= False
    return _counted(column.where(~nothing, "0").rename(name), line, file)


def recordings(table: pd.DataFrame, line: np.ndarray, file: Path) -> pd.Series:
    """Names of recordings; numbers are spelt in one way, and none may be missing among them."""
    column = table.recording
    numbers = _spelt(column)
    numbered = numbers.notna()
    if not numbered.any() or not (numbered | (column == "")).all():
        return column
    at = first(column == "")
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the recording is empty, and other lines have a number")
    plain = column.str.fullmatch(r"[0-9]+").to_numpy(dtype=bool)
    return column.where(plain | (numbers.abs() > MOST).to_numpy(dtype=bool), numbers.astype(str))


def classes(table: pd.DataFrame, line: np.ndarray, file: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table with class names and labels, one name per label, and the names by label."""
    name = table.class_name
    if (table.label == "").all():
        at = first(name == "")
        if at is not None:
            raise InputError(f"{file}:{line[at]}: the class_name is empty")
        classes = sorted(set(name))
        return table.assign(label=name.map({n: i for i, n in enumerate(classes)})), classes
    number = _counted(table.label, line, file)
    name = name.where(name != "", "class " + number.astype(str))
    at = first(number >= number.nunique())
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the label {number[at]} is not in 0..{number.nunique() - 1}, one a class")
    for column, other, said in ((number, name, "label"), (name, number, "class_name")):
        before = other.groupby(column).transform("first")
        at = first(before != other)
        if at is not None:
            here = f"{file}:{line[at]}: the {said} {str(column[at])!r} goes with {str(other[at])!r}"
            raise InputError(f"{here} here and {str(before[at])!r} before")
    names = dict(zip(number, name, strict=True))
    return table.assign(class_name=name, label=number), [names[i] for i in range(len(names))]


def experiences(
    table: pd.DataFrame, line: np.ndarray, file: Path, notes: dict[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """The table with experiences by position, and their names.

    Whole numbers are sorted. Where names are among them, all are names, in order of appearance, which is noted; what
    stands for a missing or unbounded number, or has a fraction, is not taken for a name there.
    """
    text = table.experience
    at = first(text == "")
    if at is not None:
        raise InputError(f"{file}:{line[at]}: the experience is empty")
    spelt = {name: whole(name) for name in text.unique()}  # in order of appearance
    numbered = [name for name, number in spelt.items() if number is not None]
    named = [
        n for n, number in spelt.items() if number is None and not NUMBER.fullmatch(n) and n.lower() not in MISSING
    ]
    if numbered and not named:
        number = _counted(text, line, file)
        order = sorted(set(number))
        shown = [f"experience {_shown(n, [name for name in numbered if spelt[name] == n])}" for n in order]
        return table.assign(experience=number.map({n: i for i, n in enumerate(order)})), shown
    if numbered:
        notes["experiences"] = (
            f"names and numbers are mixed, such as {named[0]!r} and {numbered[0]!r}: all are taken for names, in the "
            "order they appear in"
        )
    names = list(spelt)
    return table.assign(experience=text.map({name: i for i, name in enumerate(names)})), names


def _shown(number: int, spellings: list[str]) -> str:
    """A number as it is written, if that is in digits and always the same."""
    return spellings[0] if len(spellings) == 1 and re.fullmatch(r"[0-9]+", spellings[0]) else str(number)
