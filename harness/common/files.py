"""Atomic writes, content hashes, checks of disk space, and what other programs leave in folders."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lorisbench.common.errors import InputError

LEFTOVERS = (
    # file managers: macOS, Windows, KDE
    ".DS_Store", "._*", ".AppleDouble", ".AppleDB", ".AppleDesktop", ".Spotlight-V100", ".Trashes", ".fseventsd",
    ".TemporaryItems", ".DocumentRevisions-V100", ".apdisk", ".localized", "Icon\r", "__MACOSX", "Network Trash Folder",
    "Temporary Items", "Thumbs.db*", "ehthumbs*.db", "desktop.ini", "$RECYCLE.BIN",
    "System Volume Information", ".directory", ".Trash", ".Trash-*", ".thumbnails", ".hidden",
    # file systems and network storage
    "lost+found", ".nfs*", ".fuse_hidden*", ".smbdelete*", ".gluster*", ".snapshot", ".snapshots", "#snapshot",
    "@eaDir", "@Recycle", "@Recently-Snapshot", ".@__thumb", "#recycle", ".zfs",
    # programs that synchronise
    ".dropbox", ".dropbox.*", ".stfolder*", ".stignore", ".stversions", ".syncthing.*", ".sync", ".owncloudsync*",
    ".nextcloudsync*", "._sync_*", ".tmp.drivedownload", ".tmp.driveupload",
    # editors, notebooks and Python
    "*~", "#*#", ".#*", ".*.sw?", "~$*", ".~lock.*#", ".ipynb_checkpoints", "__pycache__", ".pytest_cache",
    ".mypy_cache", ".ruff_cache", ".idea", ".vscode",
    # version control
    ".git", ".gitignore", ".gitkeep", ".gitattributes", ".gitmodules", ".keep", ".hg", ".hgignore", ".svn", ".dvc",
    ".dvcignore", ".nomedia", "Picasa.ini", ".picasa.ini",
)  # fmt: skip
"""Patterns of names that file managers, network storage, editors and version control leave behind in any folder."""
_LEFT = re.compile("|".join(map(fnmatch.translate, map(str.lower, LEFTOVERS))))


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is left behind by another program (see `LEFTOVERS`), in any spelling."""
    return _LEFT.match(name.lower()) is not None


def contents(folder: Path) -> list[Path]:
    """What a folder holds besides leftovers, sorted by name; nothing if it is no folder.

    Raises InputError if it cannot be listed.
    """
    if not folder.is_dir():
        return []
    try:
        return sorted(path for path in folder.iterdir() if not is_leftover(path.name))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from error


_STORAGE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM,
    errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT,
}  # fmt: skip


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Where a disk is full or read-only, or a folder is gone, the block's error becomes an InputError that names it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORAGE:
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}); what was written before is kept") from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises InputError if a file is in its place or in that of one above it, or if the disk does not take it.
    """
    with written(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{path}: a file, where a folder is needed") from error


_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")  # as `atomic` and `tempfile` name them


@contextlib.contextmanager
def atomic(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success it is synced to disk, unless told not to, and renamed to `path`.

    If the block raises, `path` keeps what it held before and the temporary file is removed. Raises InputError if a
    folder is in the file's place, or a file in a folder's, or if the disk does not take the file (see `written`).
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder, where a file is to be written")
    make_folder(path.parent)
    with written(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def unfinished(folder: Path) -> dict[Path, str]:
    """The temporary files that `atomic` left in a folder when its process was killed, and which file each was to be."""
    found = ((path, _TEMPORARY.fullmatch(path.name)) for path in folder.glob(".*"))
    return {path: name[1] for path, name in found if name and path.is_file()}


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
