"""Atomic writes, content hashes and checks of disk space."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lorisbench.common.errors import InputError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success it is synced to disk and renamed to `path`.

    If the block raises, `path` keeps what it held before and the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    with atomic(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; floats that are not finite are refused (ValueError), as JSON cannot express them."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def digest_of(value: Any) -> str:
    """BLAKE2b (128 bit, hex) of a JSON-able value, independent of the order of mapping keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def digest_of_file(path: str | Path) -> str:
    """BLAKE2b (128 bit, hex) of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def existing_folder(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    path = path.absolute()
    return path if path.exists() else existing_folder(path.parent)


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise InputError, before anything is written, if a folder's disk has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(f"{folder}: {what} needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's mapping, or None if there is no such file or it is not valid."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None
