"""Where a command is going to write: checked before its work, which may take hours.

One rule for all: folders that are missing are made, files are replaced, and the suffix of a file is that of its format.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.files import existing_folder

LONGEST_NAME = 255  # bytes of a file name on common file systems


def output_folder(folder: Path, option: str = "--out") -> Path:
    """`folder`, if files can be written there once it has been made; raises InputError, naming `option`, otherwise."""
    what = f"{option} {folder}"
    _check_names(folder, what)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{what}: is not a folder")
    _check_place(folder, what)
    return folder


def output_file(file: Path, suffixes: Sequence[str] = (), option: str = "--out") -> Path:
    """`file`, if it can be written there and ends in one of `suffixes` (`.csv`); raises InputError otherwise."""
    what = f"{option} {file}"
    _check_names(file, what)
    if file.is_dir() or os.fspath(file).endswith(os.sep) or file.name in ("", ".."):
        raise InputError(f"{what}: no file can be written there: it is a folder, but a file name was expected")
    if suffixes and file.suffix.lower() not in suffixes:
        raise InputError(f"{what}: the name must end in {' or '.join(suffixes)}")
    if file.exists() and not file.is_file():
        raise InputError(f"{what}: no file can be written there: it is a device")
    _check_place(file.parent, f"{what}: no file can be written there")
    return file


def _check_place(folder: Path, what: str) -> None:
    """Raise InputError, beginning with `what`, if a folder cannot be made, or nothing may be written in it."""
    there = existing_folder(folder)
    if not there.is_dir():
        raise InputError(f"{what}: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{what}: nothing may be written in {there}")


def _check_names(path: Path, what: str) -> None:
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise InputError(f"{what}: a name of more than {LONGEST_NAME} bytes")
