"""Which names stand for the same image: by the file behind them, or by its bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from lorisbench.common.cache import cache_root, cached_array, remembered
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of, digest_of_file

CHUNK = 256  # files that a thread takes at a time
KEPT_FROM = 1 << 26  # bytes: comparing fewer takes no time worth remembering

Answer = TypeVar("Answer")


def same_files(files: Sequence[str]) -> np.ndarray:
    """A number for each file, int64 (files,), equal where names lead to one file: by links, or spelt in another way.

    A file that cannot be looked at counts as another one.
    """
    return _numbered(_each(_file_key, files))


def same_bytes(files: Sequence[str]) -> np.ndarray:
    """A number for each file, int64 (files,), equal where the files' bytes are equal.

    Only files whose size another one has are read; where that is much, what was found is kept in the cache folder until
    a file changes. Files that are empty or cannot be read count as different.
    """
    stamps = _each(_stamp, files)
    sizes = pd.Series([size for size, _ in stamps], dtype=np.int64)
    alike = np.flatnonzero((sizes.duplicated(keep=False) & (sizes > 0)).to_numpy()).tolist()

    def numbers() -> Iterator[np.ndarray]:
        keys: list[object] = list(range(len(files)))
        for row, digest in zip(alike, _each(_digest, [files[row] for row in alike]), strict=True):
            keys[row] = digest or row
        yield _numbered(keys)

    if sizes[alike].sum() < KEPT_FROM:
        return next(numbers())
    path = cache_root() / "hashes" / f"{digest_of(['equal bytes, v1', list(files), stamps])}.npy"
    return np.array(cached_array(path, "<i8", (len(files),), "comparing images", numbers), dtype=np.int64)


def digests(files: Sequence[str]) -> np.ndarray:
    """BLAKE2b (128 bit) of each file's bytes, uint8 (files, 16). Raises InputError for one that cannot be read."""
    try:
        found = _each(digest_of_file, files)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return np.frombuffer(bytes.fromhex("".join(found)), dtype=np.uint8).reshape(-1, 16)


def same_rows(file: Path) -> np.ndarray:
    """A number for each row of a .npy file named by its content, int64 (rows,), equal where all bytes of a row are.

    What was found is kept in the cache folder.
    """
    stored = np.load(file, mmap_mode="r", allow_pickle=False)

    def numbers() -> Iterator[np.ndarray]:
        yield _numbered(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in stored)

    path = cache_root() / "hashes" / f"{digest_of(['equal pixels, v1', file.stem])}.npy"
    return np.array(cached_array(path, "<i8", (len(stored),), "comparing images", numbers), dtype=np.int64)


def remembered_digest(file: Path) -> str:
    """`files.digest_of_file` of a large file, remembered in the cache folder until its size or time of change differs.

    Raises InputError if it cannot be read.
    """
    try:
        status = os.stat(file)
        stamp = digest_of([os.path.abspath(file), status.st_size, status.st_mtime_ns])
        return remembered(stamp, lambda: digest_of_file(file), file=str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def _numbered(keys: Iterable[object]) -> np.ndarray:
    return pd.factorize(pd.Series(list(keys), dtype=object))[0].astype(np.int64)


def _each(function: Callable[[str], Answer], files: Sequence[str]) -> list[Answer]:
    """What a function says of each file, asked in threads, as a disk far away answers slowly."""
    if len(files) <= CHUNK:
        return [function(file) for file in files]
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda chunk: [function(file) for file in chunk], chunks))
    return [answer for part in answers for answer in part]


def _file_key(file: str) -> object:
    try:
        status = os.stat(file)
    except OSError:
        return os.path.normpath(file)
    return status.st_dev, status.st_ino


def _stamp(file: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; (-1, 0) if they are not known."""
    try:
        status = os.stat(file)
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _digest(file: str) -> str:
    """Of a file's bytes; empty if it cannot be read."""
    try:
        return digest_of_file(file)
    except OSError:
        return ""
