"""Unpack archives into a folder, and nowhere else; what is there already is not unpacked again."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorisbench.benchmarks.openloris.checksums import known_among, releases, told
from lorisbench.benchmarks.tools.archives import BLOCK, Archive, Member, Names, damage_named, open_archive
from lorisbench.common.console import say, track
from lorisbench.common.errors import InputError
from lorisbench.common.files import check_space, existing_folder, make_folder, written

CLUSTER = 4096  # a file takes whole blocks of the disk, which matters for a million small ones


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive: how many files were written and how many were already there, and its topmost names."""

    archive: Path
    written: int
    skipped: int
    tops: list[str]


def unpack(files: Sequence[Path], into: Path, checksums: bool = True) -> list[Unpacked]:
    """Unpack archives into one folder.

    Every member of every archive is checked before the first byte is written. A file appears under its name when it is
    complete, with mode 0644. A file that is there with the right size (zip: and CRC) is left as it is, any other of
    that name is replaced. So the same call resumes after an interruption.

    Parameters
    ----------
    checksums : say of archives with known names which release they are of.

    Raises
    ------
    InputError : an archive is refused (see `archives.open_archive`), two members have the same name, the disk has too
        little space, a symbolic link in the folder is in the way (all of these before anything is written); or a member
        is damaged (it is named, and what was unpacked before is kept).
    """
    if into.exists() and not into.is_dir():
        raise InputError(f"{into}: is not a folder")
    for file in files:
        if file.stat().st_size == 0:
            raise InputError(f"{file}: the archive has no bytes")
    known = known_among(files) if checksums else []
    for file, found in releases(known).items() if known else ():
        say(f"{file}: {told(found)}")
    with contextlib.ExitStack() as stack:
        archives = [stack.enter_context(open_archive(file)) for file in files]
        target = _Target(into)
        names = Names()
        wanted = [[member for member in archive.members if names.take(member, archive.file)] for archive in archives]
        sources = {os.path.relpath(file.resolve(), into.resolve()) for file in files}
        needed = 0
        for archive, members in zip(archives, wanted, strict=True):
            for member in members:
                there = target.size(member, archive.file)
                if member.path in sources:
                    raise InputError(f"{archive.file}: member {member.path!r} would overwrite an archive; refused")
                if there != member.size:
                    needed += -(-member.size // CLUSTER) * CLUSTER
        check_space(existing_folder(into), needed, "unpacking")
        make_folder(into)
        total = sum(member.size for members in wanted for member in members)
        with track("unpacking", total, unit="bytes") as advance:
            return [_unpack(a, members, target, advance) for a, members in zip(archives, wanted, strict=True)]


def _unpack(archive: Archive, members: list[Member], target: _Target, advance: Callable[[int], None]) -> Unpacked:
    new = skipped = 0
    for member in members:
        target.make_folder(member.path if member.is_folder else member.path.rpartition("/")[0])
        if member.is_folder:
            continue
        place = target.root / member.path
        if target.size(member, archive.file) == member.size and _same_bytes(place, member):
            skipped += 1
            advance(member.size)
        else:
            _write(archive, member, place, advance)
            new += 1
    tops = sorted({member.path.partition("/")[0] for member in members})
    return Unpacked(archive.file, new, skipped, tops)


def _same_bytes(place: Path, member: Member) -> bool:
    """Whether a file of the right size has the right CRC, if the archive gives one."""
    if member.crc is None:
        return True
    crc = 0
    with open(place, "rb") as stream:
        while block := stream.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc == member.crc


def _write(archive: Archive, member: Member, place: Path, advance: Callable[[int], None]) -> None:
    """Write one file under another name and rename it. Not synced: a crash costs a check, not hours for each run."""
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".unpacking-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            size = 0
            for block in _blocks(archive, member):
                size += len(block)
                if size > member.size:
                    raise InputError(f"{archive.file}: member {member.path!r} has more bytes than it says; refused")
                out.write(block)
                advance(len(block))
            os.fchmod(out.fileno(), 0o644)
        if size < member.size:
            raise InputError(f"{archive.file}: member {member.path!r} is cut off ({size} of {member.size} bytes)")
        os.replace(name, place)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"{place}: cannot be written ({error.strerror})") from error
        raise


def _blocks(archive: Archive, member: Member) -> Iterator[bytes]:
    with damage_named(archive.file, member.path), archive.read(member) as stream:
        while block := stream.read(BLOCK):
            yield block


class _Target:
    """The folder that is unpacked into. No symbolic link below it is followed or replaced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: set[str] = set()  # known to be there and not to be links

    def size(self, member: Member, archive: Path) -> int | None:
        """Size of the file that is there under a member's name, 0 for its folder; None where nothing is.

        Raises InputError if a link, or something of another kind, is in its place or where a parent folder has to be.
        """
        if member.is_folder:
            return 0 if self._has_folder(member.path) else None
        if not self._has_folder(member.path.rpartition("/")[0]):
            return None
        place = self.root / member.path
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{place}: stands where {archive} has a file and is {_kind(status.st_mode)}; refused")
        return status.st_size

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it. Raises InputError like `size`."""
        if not self._has_folder(path):
            if path:
                self.make_folder(path.rpartition("/")[0])
            with written(self.root / path):
                os.mkdir(self.root / path)
            self._folders.add(path)

    def _has_folder(self, path: str) -> bool:
        if path in self._folders:
            return True
        place = self.root / path
        if path and not self._has_folder(path.rpartition("/")[0]):
            return False
        try:
            mode = os.lstat(place).st_mode if path else os.stat(place).st_mode  # the target itself may be a link
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(mode):
            raise InputError(f"{place}: stands where a folder is needed and is {_kind(mode)}; refused")
        self._folders.add(path)
        return True


def _kind(mode: int) -> str:
    return "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a file"
