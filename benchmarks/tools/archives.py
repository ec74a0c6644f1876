"""What archives hold, checked as a whole before any of it is written."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lorisbench.common.errors import InputError
from lorisbench.common.files import contents

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
HEADER_LIMIT = 1 << 24  # bytes of one tar header; a longer one is an attempt to exhaust memory
BLOCK = 1 << 20
LONGEST_NAME = 255  # bytes of a file name on common file systems
ENCRYPTED = 0x1  # flag bit of a zip member


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive; `path` is relative with POSIX separators, `crc` is CRC-32 where it is known."""

    path: str
    size: int
    is_folder: bool
    crc: int | None
    entry: zipfile.ZipInfo | tarfile.TarInfo


@dataclass(frozen=True)
class Archive:
    """An open archive: its members in the order they are stored, and `read(member)`, a stream of a member's bytes."""

    file: Path
    members: list[Member]
    read: Callable[[Member], IO[bytes]]


def find_archives(sources: Sequence[Path]) -> list[Path]:
    """The archives that `sources` name: files, and all archives in folders (not in their subfolders), each once.

    Raises InputError for a path that does not exist, a folder without archives and a file of another kind.
    """
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = [path for path in contents(source) if _is_archive(path) and path.is_file()]
            if not inside:
                raise InputError(f"{source}: holds no archives ({', '.join(SUFFIXES)})")
            found += inside
        elif not source.is_file():
            raise InputError(f"{source}: no such archive or folder")
        elif not _is_archive(source):
            raise InputError(f"{source}: not an archive of a known kind ({', '.join(SUFFIXES)})")
        else:
            found.append(source)
    return list({path.resolve(): path for path in found}.values())


def _is_archive(file: Path) -> bool:
    return file.name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def open_archive(file: Path) -> Iterator[Archive]:
    """Open an archive and read and check the list of its members; tar.gz is decompressed once for that.

    Raises
    ------
    InputError : it is cut off, damaged, encrypted, or a member is neither a plain file nor a folder or has a name that
        could lead out of the folder it is unpacked in.
    """
    with contextlib.ExitStack() as stack:
        with damage_named(file):
            opened = (_open_zip if file.name.lower().endswith(".zip") else _open_tar)(file, stack)
        yield opened


def fault_of(file: Path) -> str:
    """Why an archive cannot be unpacked, for which all of it is read; empty text if it can. Other files need bytes."""
    if file.stat().st_size == 0:
        return "the archive has no bytes"
    if not _is_archive(file):
        return ""
    try:
        with open_archive(file) as archive:
            for member in archive.members:
                if member.is_folder:
                    continue
                size = 0
                with damage_named(file, member.path), archive.read(member) as stream:
                    while block := stream.read(BLOCK):
                        size += len(block)
                    if size != member.size:
                        raise EOFError(f"{size} of {member.size} bytes")
    except InputError as error:
        return str(error).removeprefix(f"{file}: ").removeprefix(f"{file} ")
    return ""


@contextlib.contextmanager
def damage_named(file: Path, member: str = "") -> Iterator[None]:
    """Turn whatever readers raise on damaged archives (they raise all sorts) into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        where = f"{file}: member {member!r}" if member else f"{file}"
        raise InputError(
            f"{where} cannot be read; cut off or damaged ({str(error) or type(error).__name__})"
        ) from error


def _open_zip(file: Path, stack: contextlib.ExitStack) -> Archive:
    archive = stack.enter_context(zipfile.ZipFile(file))
    members = []
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        where = f"{file}: member {info.orig_filename!r}"
        mode = stat.S_IFMT(info.external_attr >> 16)
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{where} is {'a symbolic link' if stat.S_ISLNK(mode) else 'not a plain file'}; refused")
        if info.flag_bits & ENCRYPTED:
            raise InputError(f"{where} is encrypted; refused")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{where} is compressed by a method other than deflate; refused")
        path = safe_path(info.orig_filename, where)
        if path:
            is_folder = info.is_dir() or stat.S_ISDIR(mode)
            members.append(Member(path, 0 if is_folder else info.file_size, is_folder, info.CRC, info))
    return Archive(file, members, lambda member: archive.open(member.entry))  # type: ignore[arg-type]


def _open_tar(file: Path, stack: contextlib.ExitStack) -> Archive:
    raw: IO[bytes] = stack.enter_context(file.open("rb"))
    if not file.name.lower().endswith(".tar"):
        raw = stack.enter_context(gzip.GzipFile(fileobj=raw))  # type: ignore[arg-type]
    archive = stack.enter_context(tarfile.TarFile(fileobj=_Bounded(raw)))  # type: ignore[arg-type]
    members = []
    while (info := archive.next()) is not None:
        where = f"{file}: member {info.name!r}"
        if not (info.isreg() or info.isdir()):
            kind = "a symbolic link" if info.issym() else "a hard link" if info.islnk() else "not a plain file"
            raise InputError(f"{where} is {kind}; refused")
        if info.size < 0:
            raise InputError(f"{where} has a negative size; refused")
        path = safe_path(info.name, where)
        if path:
            members.append(Member(path, 0 if info.isdir() else info.size, info.isdir(), None, info))
    # tarfile takes a header that it cannot read, or a hole of zeros, for the end. Reading on to the end of the file is
    # also what makes gzip compare its checksum
    raw.seek(archive.offset)
    end = raw.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise tarfile.ReadError(f"neither a header nor the end of the archive at byte {archive.offset}")
    while block := raw.read(BLOCK):
        if block.count(0) < len(block):
            raise tarfile.ReadError(f"more data after the end of the archive at byte {archive.offset}")
    return Archive(file, members, lambda member: archive.extractfile(member.entry))  # type: ignore[arg-type, return-value]


class _Bounded(io.RawIOBase):
    """A file for tarfile that refuses to read more at once than a reasonable header holds."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_LIMIT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()


def safe_path(name: str, where: str) -> str:
    """A member's name as a relative POSIX path without empty parts; empty for the archive's top folder.

    Raises InputError, beginning with `where`, if the name is absolute, leads upwards, has a drive letter, a backslash,
    control characters or bytes that are not UTF-8, or is too long for a file system.
    """
    if "\\" in name or re.match(r"[A-Za-z]:", name) or name.startswith("/"):
        raise InputError(f"{where} has an absolute name, a backslash or a drive letter; refused")
    parts = name.split("/")
    if ".." in parts:
        raise InputError(f"{where} leads out of its folder; refused")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise InputError(f"{where} has control characters or is not UTF-8; refused")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
        raise InputError(f"{where} has too long a name; refused")
    return "/".join(part for part in parts if part not in ("", "."))


class Names:
    """Names taken by members so far, to find those that would overwrite each other on some file system."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[str, Member | None, Path]] = {}  # None: a folder

    def take(self, member: Member, archive: Path) -> bool:
        """Add a member; False for a file that an earlier archive has with the same bytes, which need not be written.

        Raises InputError if it is a file whose name is taken (letters of either case and of either Unicode
        normal form are the same), or if a file is where it needs a folder.
        """
        parent = member.path
        while parent := parent.rpartition("/")[0]:
            if not self._folder(parent, member, archive):
                break  # known, and so are the folders above it
        if member.is_folder:
            self._folder(member.path, member, archive)
            return True
        name, other, where = self._taken.setdefault(_key(member.path), (member.path, member, archive))
        if other is member:
            return True
        same = other is not None and (name, other.size, other.crc) == (member.path, member.size, member.crc)
        if same and member.crc is not None and where != archive:
            return False
        raise InputError(f"{archive}: member {member.path!r} would overwrite {name!r} of {where}; refused")

    def _folder(self, path: str, member: Member, archive: Path) -> bool:
        """Whether the folder is new."""
        key = _key(path)
        if key not in self._taken:
            self._taken[key] = (path, None, archive)
            return True
        name, other, where = self._taken[key]
        if other is not None:
            raise InputError(
                f"{archive}: member {member.path!r} needs a folder where {name!r} of {where} is a file; refused"
            )
        return False


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
