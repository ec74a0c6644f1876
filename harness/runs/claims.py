"""Claims: which process works on a folder, told by files alone, so that any number may share an output.

A claim is a file `claim-N` that its owner creates exclusively, which is atomic on local and network file systems alike,
and touches every `BEAT` seconds. Whoever finds its owner dead creates `claim-N+1`: only one can, and the highest number
is the owner's. So no claim is ever taken away or overwritten, and an owner that was asleep for long (a suspended
machine, a network that was gone) sees that it has lost the folder, and stops.

An owner is dead if its processes have ended, where that can be seen (the same machine since its last start, the same
container), or if its file has not been touched for `EXPIRY` seconds. These are counted by the clock of the one who
waits, as clocks of machines differ and jump: it sees a time stamp that stays the same, and never subtracts two clocks.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.files import make_folder, write_json, written

BEAT = 5.0  # seconds between two signs of life
EXPIRY = 60.0  # seconds without one, after which an owner counts as dead: more than network file systems cache
_NAME = re.compile(r"claim-(\d{6})")


class Lost(Exception):
    """Another process has taken over what this one had claimed, since it gave no sign of life for too long."""


class Taken(InputError):
    """Another process does at present what only one may do at a time."""


@dataclass(frozen=True)
class Holder:
    """What the newest claim on a folder says.

    Attributes
    ----------
    owner : who holds it, for people: host and process id. released : whether the owner has given it up.
    place : machine, start of the machine and container, within which process ids mean something; empty if unknown.
    processes : (id, start) of the owner's processes, all of which must have ended for the owner to be dead.
    beat : the time stamp of its last sign of life, by the clock of the file system, in nanoseconds.
    """

    file: Path
    number: int
    owner: str = "an unknown process"
    released: bool = False
    place: str = ""
    processes: tuple[tuple[int, str], ...] = ()
    beat: int = 0


def holder_of(folder: Path) -> Holder | None:
    """The newest claim on a folder; None if there is none. A claim whose owner died while writing it has no details."""
    number = _newest(folder)
    if number is None:
        return None
    file = _file(folder, number)
    try:
        with open(file, encoding="utf-8") as stream:  # opening it makes a network file system look again
            beat = os.fstat(stream.fileno()).st_mtime_ns
            text = stream.read()
    except OSError:
        return None  # released just now
    try:
        told = json.loads(text)
        return Holder(
            file, number, str(told["owner"]), bool(told["released"]), str(told["place"]),
            tuple((int(pid), str(start)) for pid, start in told["processes"]), beat,
        )  # fmt: skip
    except (ValueError, TypeError, KeyError):
        return Holder(file, number, beat=beat)


class Watch:
    """Tells dead owners from living ones; keeps when each sign of life was first seen."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, float]] = {}

    def silence(self, holder: Holder) -> float:
        """Seconds for which this process has seen no sign of life from an owner."""
        beat, since = self._seen.get(holder.file, (None, 0.0))
        if beat != holder.beat:
            since = time.monotonic()
            self._seen[holder.file] = holder.beat, since
        return time.monotonic() - since

    def is_free(self, holder: Holder | None) -> bool:
        """Whether a folder with this newest claim may be claimed."""
        if holder is None or holder.released:
            return True
        return _have_ended(holder) or self.silence(holder) > EXPIRY


class Claim:
    """A folder claimed by this process. Make one with `claim`."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self._processes = [(os.getpid(), _start_of(os.getpid()) or "")]
        self._released = False
        self._write()

    def _write(self) -> None:
        told = {
            "owner": f"{socket.gethostname()}:{os.getpid()}", "released": self._released, "place": _place(),
            "processes": self._processes,
        }  # fmt: skip
        write_json(_file(self.folder, self.number), told)

    def works_for(self, pid: int) -> None:
        """Let another process, which does the work, count as the owner too: it may outlive this one by a moment."""
        self._processes = [*self._processes[:1], (pid, _start_of(pid) or "")]
        if self.held():
            self._write()

    def beat(self) -> None:
        with contextlib.suppress(OSError):  # the file system may be gone for a moment; whether it is lost, `held` tells
            os.utime(_file(self.folder, self.number))

    def held(self) -> bool:
        return is_held(self.folder, self.number)

    def release(self, finished: bool) -> None:
        """Give the folder up: for good if what there was to do is `finished`, else for whoever comes next."""
        with contextlib.suppress(OSError, InputError):  # a claim that cannot be given up expires
            if finished or not self.held():
                _file(self.folder, self.number).unlink(missing_ok=True)
            else:
                self._released = True
                self._write()


def is_held(folder: Path, number: int) -> bool:
    """Whether the claim of this number is still the newest one on a folder."""
    try:
        return _newest(folder) == number
    except InputError:
        return True  # a folder that cannot be read says nothing; writing to it will


def claim(folder: Path, watch: Watch) -> Claim | None:
    """Claim a folder, which is made if there is none; None if another process holds it.

    Who gets the claim looks again at what there is to do: it may have been done between a look and the claim.
    """
    make_folder(folder)
    holder = holder_of(folder)
    if not watch.is_free(holder):
        return None
    number = 0 if holder is None else holder.number + 1
    try:
        with written(folder):
            os.close(os.open(_file(folder, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return None
    made = Claim(folder, number)
    for older in _numbers(folder):
        if older < number:
            _file(folder, older).unlink(missing_ok=True)
    return made


def clear(folder: Path, watch: Watch) -> None:
    """Remove what dead owners left in a folder in which nothing is left to do."""
    holder = holder_of(folder)
    if holder is None or not watch.is_free(holder):
        return
    for number in _numbers(folder):
        if number <= holder.number:
            _file(folder, number).unlink(missing_ok=True)


class Beats:
    """A thread that gives signs of life for all claims that a process holds."""

    def __init__(self) -> None:
        self._claims: set[Claim] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="lorisbench-beats")

    def __enter__(self) -> Beats:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._end.set()
        self._thread.join()

    def add(self, claim: Claim) -> None:
        self._claims.add(claim)

    def remove(self, claim: Claim) -> None:
        self._claims.discard(claim)

    def _run(self) -> None:
        while not self._end.wait(BEAT):
            for claim in list(self._claims):
                claim.beat()


@contextlib.contextmanager
def alone(folder: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder for a block. Raises Taken if another process holds it for longer than `patience` seconds."""
    watch, until = Watch(), time.monotonic() + patience
    while (held := claim(folder, watch)) is None:
        if time.monotonic() >= until:
            holder = holder_of(folder)
            owner = holder.owner if holder is not None else "another process"
            raise Taken(f"{folder.parent.parent}: another process ({owner}) is {what}; try again when it has ended")
        time.sleep(0.05)
    with Beats() as beats:
        beats.add(held)
        try:
            yield
        finally:
            beats.remove(held)
            held.release(finished=True)


def is_claim(name: str) -> bool:
    """Whether a file of this name is a claim."""
    return _NAME.fullmatch(name) is not None


def _file(folder: Path, number: int) -> Path:
    return folder / f"claim-{number:06d}"


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(found[1]) for name in os.listdir(folder) if (found := _NAME.fullmatch(name))]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from error


def _newest(folder: Path) -> int | None:
    return max(_numbers(folder), default=None)


# Processes


@functools.cache
def _place() -> str:
    """Within what a process id stands for one process: this start of this machine, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """When a process of this machine started, in clock ticks; None if there is none, or if it is dead already."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _have_ended(holder: Holder) -> bool:
    """Whether all processes of an owner are known to have ended."""
    if not holder.place or holder.place != _place():
        return False
    return all(_start_of(pid) != start for pid, start in holder.processes)
