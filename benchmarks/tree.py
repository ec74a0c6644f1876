"""Folders of images on disk, read with a clear one-line error for whatever is wrong with them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.files import is_leftover
from lorisbench.data.formats import is_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; links to folders count.

    Raises InputError for a symbolic link that leads in a circle: to itself, or to a folder that holds it.
    """
    return sorted(entry.name for entry in _scan(folder) if _is_folder(entry))


def visible_subfolders(folder: Path) -> list[str]:
    """Subfolders, except hidden ones and those that other programs leave behind (`files.LEFTOVERS`)."""
    return [name for name in subfolders(folder) if not name.startswith("__") and not passed_over(name)]


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data: hidden, or left behind by another program."""
    return name.startswith(".") or is_leftover(name)


def images_in(folder: Path, sizes: bool, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[str]:
    """Names of the images in a folder, sorted. Raises InputError naming a link in a circle or (sizes) a 0-byte file."""
    found = []
    for entry in _scan(folder):
        if is_image(entry.name, suffixes) and not passed_over(entry.name):
            if sizes:
                check_file(entry.path)
            found.append(entry.name)
    return sorted(found)


def check_file(path: str | os.PathLike[str], where: str = "") -> None:
    """Raise InputError, beginning with `where`, unless the path is a file that is not empty."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{where}{os.fspath(path)}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{where}{os.fspath(path)}: a folder or device, not a file")
    if found.st_size == 0:
        raise InputError(f"{where}{os.fspath(path)}: the image has no bytes")


def _scan(folder: Path) -> Iterable[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    for entry in entries:
        if not _is_text(entry.name):
            raise InputError(f"{folder}: the name {os.fsencode(entry.name)!r} is not UTF-8 text; rename it")
    return entries


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        target = os.path.realpath(entry.path, strict=True)
    except FileNotFoundError:
        return False
    except OSError as error:
        reason = "a symbolic link that leads in a circle" if error.errno == errno.ELOOP else error.strerror
        raise InputError(f"{entry.path}: {reason}") from error
    if os.path.realpath(os.path.dirname(entry.path)).startswith(target.rstrip(os.sep) + os.sep) or (
        target == os.path.realpath(os.path.dirname(entry.path))
    ):
        raise InputError(f"{entry.path}: a symbolic link that leads in a circle")
    return os.path.isdir(target)


def relative_path(text: str, where: str) -> str:
    """A path from a list, as POSIX text relative to the root. Raises InputError if it would leave the root."""
    parts = text.replace("\\", "/").split("/")
    if text.startswith(("/", "\\", "~")) or ".." in parts or (parts[0][1:2] == ":"):
        raise InputError(f"{where}: the path {text!r} leaves the data set's folder")
    return "/".join(part for part in parts if part not in ("", "."))
