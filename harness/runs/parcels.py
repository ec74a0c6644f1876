"""The folder of a run as bytes: what a machine without the output is given of it, and what it sends back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.files import atomic
from lorisbench.runs.claims import Lost, is_claim, is_held
from lorisbench.runs.resume import PLACE

STATUS, CHECKPOINT = "status.json", PLACE.as_posix()
STAND_INS = ("model.onnx", "checkpoint/model.safetensors")  # large, and a run that goes on does not look into them
BESIDE = ("tensorboard", "wandb")  # folders of an output that a run writes to, besides its own


@dataclass(frozen=True)
class Parcel:
    """What has changed in an output where a run is trained.

    files : contents by name below the output. gone : names of what was there before and no longer is.
    """

    run_id: str
    files: dict[str, bytes]
    gone: tuple[str, ...] = ()


def taken(out: Path, run_id: str) -> dict[str, bytes]:
    """The files of a run by their names below the output; those in `STAND_INS` are empty.

    Raises InputError, naming the file, for one that cannot be read.
    """
    found = {}
    for name in _names(out, [f"runs/{run_id}"]):
        try:
            found[name] = b"" if name.endswith(STAND_INS) else (out / name).read_bytes()
        except OSError as error:
            raise InputError(f"{out / name}: cannot be read ({error.strerror})") from error
    return found


class Outpost:
    """An output on the machine that trains a run: filled with what was taken, and asked for what has changed.

    A run may write meanwhile: as after a crash, what is read then fits together, since the status and the checkpoint,
    which take all else for granted, are read before it, and put down after it.
    """

    def __init__(self, out: Path, run_id: str, files: Mapping[str, bytes]) -> None:
        self._out, self._run_id = out, run_id
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        self._known = {name: _mark(out / name) for name in files}

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint that has not been sent yet."""
        name = f"runs/{self._run_id}/{CHECKPOINT}"
        mark = _mark(self._out / name)
        return mark is not None and mark != self._known.get(name)

    def changes(self) -> Parcel:
        """What has changed since the last call."""
        names = _names(self._out, [f"runs/{self._run_id}", *BESIDE])
        files = {}
        for name in sorted(names, key=_last, reverse=True):
            mark = _mark(self._out / name)
            if mark is None or mark == self._known.get(name):
                continue
            try:
                files[name] = (self._out / name).read_bytes()
            except OSError:  # replaced or removed just now, which the next call finds
                continue
            self._known[name] = mark
        gone = tuple(name for name in self._known if not (self._out / name).exists())
        for name in gone:
            del self._known[name]
        return Parcel(self._run_id, {name: files[name] for name in files if name not in gone}, gone)

    def clear(self) -> None:
        """Remove all that a run has left here."""
        for folder in (f"runs/{self._run_id}", *BESIDE):
            shutil.rmtree(self._out / folder, ignore_errors=True)


def put_down(parcel: Parcel, out: Path, number: int) -> None:
    """Make an output what it is elsewhere, under the claim `number` on the run's folder; each file appears whole.

    Raises Lost if another process has taken the run over, InputError if the disk does not take it.
    """
    folder = out / "runs" / parcel.run_id
    if not is_held(folder, number):
        raise Lost(f"{folder}: another process has taken this run over")
    for name in sorted(parcel.files, key=_last):
        with atomic(out / name, sync=not name.endswith(CHECKPOINT)) as stream:
            stream.write(parcel.files[name])
    for name in parcel.gone:
        (out / name).unlink(missing_ok=True)


def _last(name: str) -> int:
    """What is put down last: the checkpoint, then the status."""
    return name.endswith(CHECKPOINT) + 2 * name.endswith(f"/{STATUS}")


def _names(out: Path, folders: list[str]) -> list[str]:
    """The files below folders of an output, but for claims, links, and files that are being written."""
    found: list[str] = []
    for folder in folders:
        for path in (out / folder).rglob("*"):
            passed = path.name.startswith(".") or is_claim(path.name) or path.is_symlink()
            if not passed and path.is_file():
                found.append(path.relative_to(out).as_posix())
    return found


def _mark(file: Path) -> tuple[int, ...] | None:
    """What differs once a file has been written again; None if there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
