"""The checkpoint from which a run goes on: one file, written after each experience, checked before it is believed.

It is replaced, not piled up, and not forced to disk: what a killed process has written the system still writes, and
what a power failure tears does not fit its checksum. All in it are bytes of tensors and JSON; nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from lorisbench.common.console import say
from lorisbench.common.environment import versions
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.files import atomic, digest_of, digest_of_file
from lorisbench.common.reading import as_mapping, parse_json, read_bytes
from lorisbench.common.registry import file_of
from lorisbench.engine.answers import Answers
from lorisbench.engine.capture import Uncapturable
from lorisbench.engine.resume import Resumable, State
from lorisbench.runs.answers import Tested, rows_of, told_in
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.entries import kinds_of
from lorisbench.suite.spec import RunSpec

PLACE = Path("checkpoint") / "resume.safetensors"  # below the run directory
LAST = Path("checkpoint") / "state.safetensors"  # of a finished run, where it is kept
FORMAT = 1
_LIBRARIES = ("torch", "numpy", "avalanche-lib", "lorisbench")
BUILT_WITH = ("format", "code", *_LIBRARIES)  # of `identity`
_ABOUT, _TREE, _SUM = "about", "tree", "checksum"  # besides these, the blobs by their numbers
_BLOCK = 2**16  # bytes
_said: set[str] = set()


class About(BaseModel):
    """What a checkpoint says of itself.

    Attributes
    ----------
    of : what the run is, see `identity`. trained : experiences that are behind it. journal, predictions : checksums of
        what the run had written about them.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    of: dict[str, str]
    trained: int = Field(ge=1)
    journal: int
    predictions: int


@dataclass(frozen=True)
class Found:
    """A checkpoint that fits a run: experiences behind it, the answers after each of them, the state."""

    trained: int
    rows: list[Answers]
    state: State


def identity(spec: RunSpec, content_hash: str, resumable: Resumable, trained: str = "") -> dict[str, str]:
    """What must be the same when a run goes on: the run, its settings and data, the code and its versions.

    trained : the digest of a backbone that was trained before, on whose features the run learns.
    """
    settings = {key: value for key, value in spec.config.items() if key != "code"}
    files = [Path(str(getattr(sys.modules.get(name), "__file__", None))) for name in resumable.names.outside()]
    files += [Path(file_of(kind)) for kind in kinds_of(spec.strategy)]  # those of LorisBench, while it is worked on
    own = {
        str(file.name): digest_of_file(file) for file in files if file.is_file() and "site-packages" not in file.parts
    }
    return {
        "format": str(FORMAT), "run": spec.run_id, "settings": digest_of(settings), "data": content_hash,
        "code": digest_of({**own, **spec.code}), **versions(_LIBRARIES), **({"backbone": trained} if trained else {}),
    }  # fmt: skip


class Checkpoints:
    """Writes and reads the checkpoint of one run.

    Attributes
    ----------
    reason : why the run cannot be continued where it is, if that has been found out.
    trained : experiences behind the present checkpoint, 0 if there is none.
    """

    def __init__(self, directory: RunDirectory, label: str) -> None:
        self.directory, self.label = directory, label
        self.path = directory.path / PLACE
        self.reason = ""
        self.trained = 0
        self._writer = ThreadPoolExecutor(1, "lorisbench-checkpoint")
        self._writing: Future[None] | None = None

    def write(self, resumable: Resumable, of: Mapping[str, str], rows: Sequence[Answers]) -> None:
        """Replace the checkpoint by the present state, beside what the run does next (see `settle`).

        A state that cannot be written down, or a full disk, is no reason to end a run.

        rows : the answers after each experience trained so far.
        """
        self.settle()
        if self.reason:
            return
        try:
            state = resumable.capture()
        except Uncapturable as error:
            self._give_up(error)
            return
        about = About(
            of=dict(of), trained=len(rows), journal=_sum_of_journal(self.directory, len(rows)),
            predictions=_sum_of_rows(rows),
        )  # fmt: skip
        self._writing = self._writer.submit(self._replace, about, state.copied())

    def _replace(self, about: About, state: State) -> None:
        try:
            with atomic(self.path, sync=False) as stream:
                stream.writelines(packed(about, state))
            self.trained = about.trained
        except InputError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.reason = str(error)
        self._delete()
        _say_once(f"{self.label}: {self.reason}; if it is interrupted, it starts again from its beginning")

    def settle(self) -> None:
        """Wait until the last checkpoint is written, or could not be."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def keep(self) -> None:
        """Make the checkpoint, if there is one, the last state of a finished run."""
        self.settle()
        if self.trained:
            os.replace(self.path, self.directory.path / LAST)
            self.trained = 0

    def remove(self) -> None:
        self.settle()
        self._delete()

    def _delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self.trained = 0

    def told(self) -> str:
        """What the same command will do after an interrupt, for the run's status."""
        self.settle()
        if self.trained:
            return f"it goes on from experience {self.trained}"
        return f"it starts again from its beginning{f': {self.reason}' if self.reason else ''}"

    def read(self, of: Mapping[str, str], tested: Tested) -> Found | None:
        """The checkpoint, if there is one and it fits the run and its files; one that does not is set aside."""
        if not self.path.exists():
            return None
        try:
            about, state = unpacked(self.path)
        except InputError as error:
            self.set_aside("damaged", str(error).removeprefix(f"{self.path}: "))
            return None
        other = {name: value for name, value in about.of.items() if of.get(name) != value}
        if other or about.of.keys() != of.keys():
            self.set_aside("foreign", _told(other, of))
            return None
        try:
            rows = self._rows(about, tested)
        except (InputError, OSError) as error:
            self.set_aside("unfitting", str(error))
            return None
        self.trained = about.trained
        return Found(about.trained, rows, state)

    def set_aside(self, kind: str, reason: str) -> None:
        """Move the checkpoint out of the way, under a name that says why, and tell so."""
        aside = self.path.with_suffix(f".{kind}")
        os.replace(self.path, aside)
        self.trained = 0
        say(f"{self.path}: set aside as {aside.name}: {reason}; {self.label} starts again from its beginning")

    def _rows(self, about: About, tested: Tested) -> list[Answers]:
        """The answers behind the checkpoint. Raises InputError if they or the journal are not what they were."""
        if _sum_of_journal(self.directory, about.trained) != about.journal:
            raise InputError(f"journal.jsonl is not what it was when {about.trained} experiences had been trained")
        stored = self.directory.answers()
        fits = stored.of_images(tested) and len(stored.predicted) >= about.trained
        rows = rows_of(stored, about.trained) if fits else []
        if not fits or _sum_of_rows(rows) != about.predictions:
            raise InputError(f"predictions.npz is not what it was when {about.trained} experiences had been trained")
        return rows


def packed(about: About, state: State) -> list[Any]:
    """A checkpoint as the parts of a safetensors file: JSON and blobs, all as bytes, and a checksum of them.

    The parts lie where the tensors do: nothing is copied once more.
    """
    arrays = {str(number): blob.numpy() for number, blob in state.blobs.items()}
    arrays[_ABOUT] = _bytes_of(about.model_dump())
    arrays[_TREE] = _bytes_of(state.tree)
    arrays[_SUM] = np.frombuffer(_checksum(arrays).to_bytes(4, "little"), dtype=np.uint8)
    header, place = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "U8", "shape": [len(array)], "data_offsets": [place, place + len(array)]}
        place += len(array)
    text = json.dumps(header).encode("ascii")
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *arrays.values()]


def unpacked(file: Path) -> tuple[About, State]:
    """What `packed` made. Raises InputError, naming the file, for any other."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_bytes(file)
    try:
        arrays = load(data)
        whole = int.from_bytes(bytes(arrays.pop(_SUM)), "little") == _checksum(arrays)
        texts = [bytes(arrays.pop(name)).decode("utf-8") for name in (_ABOUT, _TREE)]
        blobs = {int(name): torch.from_numpy(array.copy()) for name, array in arrays.items()}
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{file}: it is damaged, or no checkpoint ({reason_of(error)})") from error
    if not whole:
        raise InputError(f"{file}: it is damaged: its checksum is another")
    about, tree = (as_mapping(parse_json(text, str(file)), str(file)) for text in texts)
    return About(**as_mapping(about, str(file), About)), State(tree, blobs)


def _bytes_of(value: Any) -> np.ndarray:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)


def _checksum(arrays: Mapping[str, Any]) -> int:
    """A number that any flipped bit changes: as long as a CRC of everything takes, a checkpoint of 16 MB is written.

    So the CRC is that of the sums and of the parities of blocks, which are as fast as memory is.
    """
    value = 0
    for name in sorted(arrays):
        data = arrays[name]
        value = zlib.crc32(f"{name} {data.dtype} {data.shape} ".encode(), value)
        if len(data) < _BLOCK:
            value = zlib.crc32(data, value)
            continue
        rest = len(data) % _BLOCK
        words = data[: len(data) - rest].copy() if data.ctypes.data % 8 else data[: len(data) - rest]
        blocks = words.view(np.uint64).reshape(-1, _BLOCK // 8)
        value = zlib.crc32(np.add.reduce(blocks, axis=1), value)
        value = zlib.crc32(np.bitwise_xor.reduce(blocks, axis=1), value)
        value = zlib.crc32(data[len(data) - rest :], value)
    return value


def _sum_of_journal(directory: RunDirectory, trained: int) -> int:
    """A checksum of the first lines of the journal, one for each experience trained."""
    return zlib.crc32("\n".join(directory.lines()[:trained]).encode("utf-8"))


def _sum_of_rows(rows: Sequence[Answers]) -> int:
    value = 0
    for row in rows:
        for array in told_in(row):
            value = zlib.crc32(array.tobytes(), value)
    return value


def _told(other: Mapping[str, str], of: Mapping[str, str]) -> str:
    """How a checkpoint is of something else, for a message."""
    words = {
        "run": "it is of another run", "settings": "it is of other settings", "data": "it is of other images",
        "code": "the strategy's code has changed", "backbone": "the backbone was trained again, with other numbers",
        "format": "it has another format",
    }  # fmt: skip
    for name, value in other.items():
        return words.get(name, f"it was written with {name} {value}, and this is {of.get(name)}")
    return "it says less of itself than it should"


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        say(line)
