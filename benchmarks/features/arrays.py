"""The arrays of a file, by name, whatever its format: .npz, .npy, .safetensors, .parquet, or a folder of .npy files.

Nothing is unpickled. Arrays are listed by their headers, and read in parts, so that one larger than memory can be
copied.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lorisbench.benchmarks.tree import passed_over
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.files import contents

PART = 1 << 24  # bytes that are read at a time
FORMATS = ".npz, .npy, .safetensors or .parquet"
OTHERS = {
    b"\x80": "a pickle, which could run anything and is never read",
    b"\x89HDF": "HDF5, which is not read",
    b"MATLAB": "a file of MATLAB, which is not read",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
}
"""How files begin that are often taken for one of the formats, and what to say of them."""


@dataclass(frozen=True)
class Array:
    """An array in a file.

    Attributes
    ----------
    file, name : where it is. shape : its shape. kind : its type in words, such as `float32`, `text` or `objects`.
    parts : gives its rows in order, several at a time; raises InputError, naming file and array, for damage.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    kind: str
    parts: Callable[[], Iterator[np.ndarray]]

    @property
    def told(self) -> str:
        """How messages name it."""
        return f"{self.file}: {self.name!r}" if self.name else str(self.file)

    def whole(self) -> np.ndarray:
        """All of it. Raises what `parts` raises."""
        read = list(self.parts())
        return np.concatenate(read) if read else np.empty(self.shape, np.float32)


def arrays_of(path: Path) -> dict[str, Array]:
    """The arrays of a file, or of the .npy files of a folder, by name; only their headers are read.

    Raises InputError, naming the file, if it is missing, damaged, or of none of the formats by its first bytes.
    """
    if path.is_dir():
        found: dict[str, Array] = {}
        for file in contents(path):
            if file.suffix.lower() == ".npy" and not passed_over(file.name):
                found |= arrays_of(file)
        if not found:
            raise InputError(f"{path}: a folder without a .npy file; {FORMATS} was expected, or a folder of .npy files")
        return found
    try:
        with open(path, "rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise InputError(f"{path}: has no bytes")
    read = next((reader for begins, reader in READERS if begins(head)), None)
    if read is None:
        other = next((what for start, what in OTHERS.items() if head.startswith(start)), "none of these formats")
        raise InputError(f"{path}: {other}; {FORMATS} was expected")
    with _told(path):
        return read(path)


@contextlib.contextmanager
def _told(path: Path, name: str = "") -> Iterator[None]:
    """What a reader raises for damage becomes an InputError that names the file and the array."""
    try:
        yield
    except InputError:
        raise
    except (Exception, MemoryError) as error:  # zip, zlib, numpy, safetensors, Arrow: each has errors of its own
        where = f"{path}: {name!r}" if name else str(path)
        raise InputError(f"{where}: damaged, or not what its name says ({reason_of(error)})") from error


def _npy(path: Path) -> dict[str, Array]:
    return {path.stem: _stored(path, path.stem, lambda: open(path, "rb"))}


def _npz(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    members = [name for name in names if name.endswith(".npy")]
    if not members:
        torch = any(name.endswith("data.pkl") for name in names)
        what = "saved by PyTorch, as a pickle, which could run anything and is never read" if torch else "a zip file"
        raise InputError(f"{path}: {what}; {FORMATS} was expected")
    return {name[:-4]: _stored(path, name[:-4], _opener(path, name)) for name in members}


def _opener(path: Path, member: str) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextlib.contextmanager
    def opened() -> Iterator[BinaryIO]:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            yield stream  # type: ignore[misc]

    return opened


def _stored(path: Path, name: str, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> Array:
    """An array in the form of a .npy file, which may be a member of a zip file."""
    with _told(path, name), opened() as stream:
        shape, _, dtype = _header(stream)

    def parts() -> Iterator[np.ndarray]:
        if dtype.hasobject:
            raise InputError(
                f"{path}: {name!r}: holds Python objects, which would have to be unpickled and never are; save it as "
                "numbers or text"
            )
        with _told(path, name), opened() as stream:
            shape, fortran, _ = _header(stream)
            if not shape or (fortran and len(shape) > 1):
                stream.seek(0)
                whole = np.lib.format.read_array(stream, allow_pickle=False)
                _to_the_end(stream, path, name)
                yield np.atleast_1d(whole)
                return
            row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            left = shape[0]
            while left:
                count = min(left, max(1, PART // max(1, row)))
                data = stream.read(count * row)
                if len(data) < count * row:
                    raise InputError(f"{path}: {name!r}: cut off after row {shape[0] - left + len(data) // row - 1}")
                yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
                left -= count
            _to_the_end(stream, path, name)

    return Array(path, name, shape or (1,), _kind(dtype), parts)


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _to_the_end(stream: BinaryIO, path: Path, name: str) -> None:
    """Raise if anything follows an array; a zip file checks its sum only here."""
    if stream.read(1):
        raise InputError(f"{path}: {name!r}: more bytes than its shape takes")


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject:
        return "objects"
    if dtype.names:
        return "records"
    return "text" if dtype.kind in "US" else dtype.name


def _safetensors(path: Path) -> dict[str, Array]:
    from safetensors import safe_open

    found = {}
    with safe_open(path, framework="np") as stored:
        for name in stored.keys():  # noqa: SIM118  (it is no mapping)
            part = stored.get_slice(name)
            found[name] = _tensor(path, name, tuple(part.get_shape()), str(part.get_dtype()))
    return found


TENSORS = {"F": "float", "I": "int", "U": "uint", "BF": "bfloat", "BOOL": "bool"}
"""How safetensors calls types, and NumPy."""


def _tensor(path: Path, name: str, shape: tuple[int, ...], kind: str) -> Array:
    letters = kind.rstrip("0123456789")

    def parts() -> Iterator[np.ndarray]:
        from safetensors import safe_open

        with _told(path, name), safe_open(path, framework="np") as stored:
            if not shape:
                yield np.atleast_1d(stored.get_tensor(name))
                return
            rows = stored.get_slice(name)
            step = max(1, PART // max(1, 8 * int(np.prod(shape[1:], dtype=np.int64))))
            for start in range(0, shape[0], step):
                yield rows[start : min(start + step, shape[0])]

    return Array(path, name, shape or (1,), TENSORS.get(letters, letters) + kind[len(letters) :], parts)


def _parquet(path: Path) -> dict[str, Array]:
    from lorisbench.benchmarks.features.columns import columns_of

    return {name: _column(path, name, values) for name, values in columns_of(path).items()}


def _column(path: Path, name: str, values: np.ndarray) -> Array:
    kind = "text" if values.dtype == object else _kind(values.dtype)
    return Array(path, name, values.shape, kind, lambda: iter([values] if len(values) else []))


READERS: list[tuple[Callable[[bytes], bool], Callable[[Path], dict[str, Array]]]] = [
    (lambda head: head.startswith(b"\x93NUMPY"), _npy),
    (lambda head: head.startswith((b"PK\x03\x04", b"PK\x05\x06")), _npz),
    (lambda head: head.startswith(b"PAR1"), _parquet),
    (lambda head: head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40, _safetensors),
]
"""How the files of each format begin, and what reads them."""
