"""The files from elsewhere that can be read, by format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.gather.avalanche import read_avalanche
from lorisbench.gather.foreign import Foreign, text_of
from lorisbench.gather.mammoth import read_mammoth
from lorisbench.gather.matrix_files import read_matrix

FORMATS: dict[str, Callable[[Path], list[Foreign]]] = {
    "avalanche": lambda path: [read_avalanche(path)],
    "mammoth": read_mammoth,
    "facil": lambda path: [read_matrix(path)],
    "matrix": lambda path: [read_matrix(path)],
}


def read_foreign(kind: str, path: Path) -> list[Foreign]:
    """The runs of a file of a format. Raises InputError for an unknown format, or as its reader does."""
    if kind not in FORMATS:
        raise InputError(f"unknown format {kind!r}{nearest(kind, FORMATS)}")
    return FORMATS[kind](path)


def read_one(path: Path, transpose: bool = False) -> Foreign:
    """The only run of a file, whose format is found out: a log of Avalanche or Mammoth, or else a matrix.

    transpose : of a matrix, as `read_matrix` takes it. Raises InputError as its reader does, and for several runs.
    """
    start = text_of(path)[:100_000].lstrip()
    if start.startswith(("eval_exp,", "training_exp,")) or ("experience" in start and "stream --" in start):
        found = [read_avalanche(path)]
    elif start.startswith(("{", "[{")):
        found = read_mammoth(path)
    else:
        return read_matrix(path, transpose)
    if transpose:
        raise InputError(f"{path}: is a log, which says what was trained and what tested: --transpose is for matrices")
    if len(found) > 1:
        raise InputError(f"{path}: holds {len(found)} runs; `lorisbench import` takes them all")
    return found[0]
