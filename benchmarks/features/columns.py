"""The columns of a Parquet file as arrays: lists of numbers, and numbered columns, become one array of features."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError

EXTRA = "pip install 'lorisbench[parquet]'"
NUMBERED = re.compile(r"(.*?)[ _.-]*(\d+)")


def columns_of(path: Path) -> dict[str, np.ndarray]:
    """Each column by name: numbers of shape (rows,) or, of lists, (rows, length); anything else as objects.

    Columns such as `x_0`, `x_1`, ... become one array `x`, of shape (rows, columns); where they are numbers only, one
    called `features`. Raises InputError, naming the file, if no package is installed that reads it, or for a list that
    is longer or shorter than the others.
    """
    table = _read(path)
    found: dict[str, np.ndarray] = {}
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in map(str, table.columns):
        match = NUMBERED.fullmatch(name)
        if match and pd.api.types.is_float_dtype(table[name]):
            numbered.setdefault(match[1], []).append((int(match[2]), name))
    grouped = {stem: sorted(group) for stem, group in numbered.items() if _counts([number for number, _ in group])}
    taken = {name for group in grouped.values() for _, name in group}
    for name in map(str, table.columns):
        if name not in taken:
            found[name] = _values(table[name], path)
    for stem, group in grouped.items():
        found[stem or "features"] = table[[name for _, name in group]].to_numpy()
    return found


def _read(path: Path) -> pd.DataFrame:
    if importlib.util.find_spec("pyarrow") is not None:
        table = pd.read_parquet(path, engine="pyarrow")
    elif importlib.util.find_spec("fastparquet") is not None:
        import fastparquet

        table = fastparquet.ParquetFile(str(path)).to_pandas()
    else:
        raise InputError(f"{path}: Parquet is read with another package: {EXTRA}")
    table.columns = table.columns.astype(str)
    return table


def _counts(numbers: list[int]) -> bool:
    """Whether numbers, at least two, count on from 0 or 1, each once."""
    first = min(numbers)
    return len(numbers) > 1 and first in (0, 1) and sorted(numbers) == list(range(first, first + len(numbers)))


def _values(column: pd.Series, path: Path) -> np.ndarray:
    values: Any = column.to_numpy()
    if column.dtype != object or not len(column) or not isinstance(column.iloc[0], list | tuple | np.ndarray):
        return values if pd.api.types.is_numeric_dtype(column) else column.to_numpy(dtype=object)
    lengths = np.array([len(each) if isinstance(each, list | tuple | np.ndarray) else -1 for each in values])
    wrong = np.flatnonzero(lengths != lengths[0])
    if len(wrong):
        row = int(wrong[0])
        has = f"{lengths[row]} numbers" if lengths[row] >= 0 else "no list"
        raise InputError(f"{path}: {str(column.name)!r}: row {row} has {has}, and row 0 has {lengths[0]}")
    return np.array([np.asarray(each) for each in values])
