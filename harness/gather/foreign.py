"""A result from elsewhere: an accuracy matrix that other code has measured, and what is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.common.reading import as_text, read_bytes

Matrix = NDArray[np.float64]
LARGEST = 64_000_000
"""Bytes of a file that is read."""
MOST = 1000
"""Experiences of a matrix."""


@dataclass(frozen=True)
class Foreign:
    """One run of other code.

    matrix : shape (T, T), fractions, NaN where not measured; R[i, j] as everywhere. label : what its file calls the
    method, empty if it does not. seed : None if its file does not say. known : metrics that the file states although
    the matrix does not determine them. notes : how the file was understood, sentences without a full stop.
    """

    matrix: Matrix
    label: str = ""
    seed: int | None = None
    known: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def text_of(path: Path) -> str:
    """A file's text. Raises InputError, naming it, if it cannot be read, is too large or is no text."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: has more than {LARGEST // 1_000_000} MB: too large for a log of accuracies")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return as_text(read_bytes(path), str(path))


def matrix_of(cells: dict[tuple[int, int], float], size: int, path: Path) -> Matrix:
    """A matrix of cells by (after, tested), fractions. Raises InputError if one is no accuracy, or for no cell."""
    if not cells:
        raise InputError(f"{path}: holds no accuracy on an experience after training")
    if size > MOST:
        raise InputError(f"{path}: tells of {size} experiences, more than {MOST}")
    matrix = np.full((size, size), np.nan)
    for (after, tested), value in cells.items():
        check(value, f"{path}: accuracy on experience {tested} after experience {after}")
        matrix[after, tested] = value
    return matrix


def check(value: float, what: str, most: float = 1.0) -> None:
    """Raise InputError, beginning with `what`, unless a value is an accuracy of at most `most`."""
    if not np.isfinite(value):
        raise InputError(f"{what} is {value}, not a number")
    if value < 0:
        raise InputError(f"{what} is {value:g}: an accuracy is not negative")
    if value > most * (1 + 1e-9):
        raise InputError(f"{what} is {value:g}, more than {most:g}")


def unmeasured_future(matrix: Matrix) -> bool:
    """Whether all cells above the diagonal of a matrix are missing."""
    return bool(len(matrix) > 1 and np.isnan(matrix[np.triu_indices(len(matrix), 1)]).all())


def sentence(notes: Sequence[str]) -> str:
    """Notes in one line."""
    return "; ".join(notes)
