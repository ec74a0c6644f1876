"""The cache folder: arrays made once, kept on disk and memory-mapped; listing and clearing its contents."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from lorisbench.common.errors import InputError, Stopped
from lorisbench.common.files import (
    atomic,
    check_space,
    existing_folder,
    is_leftover,
    make_folder,
    write_bytes,
    write_json,
    written,
)
from lorisbench.common.rehearsal import only_noted

if TYPE_CHECKING:
    import numpy as np


LOOK = 1.0  # seconds for which a process that waits for another does not look whether it is to stop


def cache_root() -> Path:
    """The user's cache folder: `LORISBENCH_CACHE`, or `lorisbench` in `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("LORISBENCH_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorisbench"


def remembered(stamp: str, make: Callable[[], str], **about: object) -> str:
    """What `make` returns, which takes long to find out, kept in the cache folder under a stamp of what it depends on.

    about : what else the file says, for whoever looks into it. What cannot be written or read back is made again.
    """
    memo = cache_root() / "hashes" / f"{stamp}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(memo.read_text("utf-8"))["value"])
    value = make()
    with contextlib.suppress(InputError):  # a full disk, or one that is read-only
        write_json(memo, {**about, "value": value})
    return value


def load_array(path: Path) -> np.ndarray | None:
    """A cached .npy file, memory-mapped with private pages (torch wants writable memory); None if there is none.

    A file damaged by a full disk or another program counts as missing, so that it is made again.
    """
    import numpy as np

    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


class Cached(NamedTuple):
    """An array in the cache: its file, its form, what making it is called, and what the time for a row depends on."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    label: str
    rate: str = ""

    @property
    def bytes(self) -> int:
        return _bytes_of(self.dtype, self.shape)

    def there(self) -> bool:
        return load_array(self.path) is not None

    def made(self, blocks: Callable[[], Iterator[np.ndarray]]) -> np.ndarray:
        """See `cached_array`. How long a row takes is remembered (`timings`)."""
        return cached_array(*self[:4], blocks, self.rate)


def cached_array(
    path: Path, dtype: str, shape: tuple[int, ...], label: str, blocks: Callable[[], Iterator[np.ndarray]],
    rate: str = "",
) -> np.ndarray:  # fmt: skip
    """The array cached at `path`; if missing, it is made from `blocks` (rows in order) with a progress bar.

    The file appears only when it is complete; a second process that needs it waits for the first. `rate` says what the
    time for a row depends on, where it is to be remembered.

    Raises
    ------
    InputError : the disk has too little space for it.
    ValueError : a block's rows do not have the shape that `shape` gives.
    """
    stored = load_array(path)
    if stored is None and only_noted(f"{label}: {_bytes_of(dtype, shape) / 1e6:,.0f} MB would be made in the cache"):
        import numpy as np

        check_space(existing_folder(path.parent), _bytes_of(dtype, shape), label)
        return np.broadcast_to(np.zeros((), dtype), shape)
    if stored is None:
        with _alone(path, label):
            stored = load_array(path)
            if stored is None:
                start = time.monotonic()
                _make_array(path, dtype, shape, label, blocks)
                if rate and shape[0]:
                    from lorisbench.common.timings import remember

                    remember(["a row of an array", rate], seconds=(time.monotonic() - start) / shape[0])
                stored = load_array(path)
    assert stored is not None  # just written
    return stored


T = TypeVar("T")


def cached_file(
    path: Path, size: int, label: str, read: Callable[[Path], T | None], make: Callable[[], bytes],
    stop: Callable[[], bool],
) -> T:  # fmt: skip
    """What `read` gives of the file cached at `path`; if it gives None, the file is missing or damaged, and made anew.

    The file appears only when it is complete; a second process that needs it waits for the first. stop : asked while
    waiting; once it says so, Stopped is raised. Raises InputError if the disk takes no more; before anything is made,
    if there is no room for `size` bytes.
    """
    found = read(path)
    if found is None:
        with _alone(path, label, stop):
            found = read(path)
            if found is None:
                check_space(path.parent, size, label)
                write_bytes(path, make())
                found = read(path)
    assert found is not None  # just written
    return found


def in_turn(name: str, label: str, doing: str, stop: Callable[[], bool]) -> AbstractContextManager[None]:
    """Be the only process of this user that does something on this machine; one that comes later waits, and says so.

    name : of a file in the cache folder that stands for it. doing : what the other process is doing, in words. stop :
    asked while waiting; once it says so, Stopped is raised.
    """
    return _alone(cache_root() / f"{name} on {platform.node()}", label, stop, doing)


def received(name: str, size: int, parts: Callable[[], Iterator[bytes]]) -> None:
    """Put a file of another machine's cache into this one's, under the same name, unless it is there.

    name : its path below the cache folder. size : its bytes, which `parts` gives in order. Raises InputError if the
    disk has too little space for it.
    """
    path = cache_root() / name
    if _size(str(path)) == size:
        return
    with _alone(path, f"receiving {path.name}"):
        if _size(str(path)) != size:
            check_space(path.parent, size, f"receiving {path.name}")
            with atomic(path) as stream:
                for part in parts():
                    stream.write(part)


def _bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of an array."""
    import numpy as np

    return math.prod(shape) * np.dtype(dtype).itemsize


def _make_array(
    path: Path, dtype: str, shape: tuple[int, ...], label: str, blocks: Callable[[], Iterator[np.ndarray]]
) -> None:
    import numpy as np

    from lorisbench.common.console import track

    for left in path.parent.glob(f".{path.name}.*"):  # by a process killed while writing: only one runs at a time
        if left != _lock_of(path):
            left.unlink(missing_ok=True)
    check_space(path.parent, _bytes_of(dtype, shape), label)
    with atomic(path) as stream, track(label, shape[0]) as advance:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks():
            if block.shape[1:] != shape[1:]:
                raise ValueError(f"{label}: rows of shape {block.shape[1:]} where {shape[1:]} was expected")
            stream.write(np.ascontiguousarray(block, dtype=dtype).tobytes())
            advance(len(block))


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def _alone(
    path: Path, label: str, stop: Callable[[], bool] = lambda: False, doing: str = "making it"
) -> Iterator[None]:
    """Hold the lock of a cache entry; if another process holds it, say so and wait.

    Raises Stopped once `stop` says so, and InputError if the disk does not take the lock.
    """
    from filelock import FileLock, Timeout

    from lorisbench.common.console import say

    make_folder(path.parent)
    lock = FileLock(_lock_of(path))
    try:
        with written(path):
            lock.acquire(timeout=0)
    except Timeout:
        say(f"{label}: another process is {doing}; waiting")
        while not lock.is_locked:
            if stop():
                raise Stopped from None
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=LOOK)
    try:
        yield
    finally:
        _lock_of(path).unlink(missing_ok=True)  # while still held, so that no waiting process takes a removed lock
        lock.release()


KINDS = (
    "renders", "images", "features", "backbones", "hashes", "pixels", "datasets", "verified", "timings", "collected",
    "pages",
)  # fmt: skip


def cache_contents() -> list[tuple[str, int, int]]:
    """(kind, entries, bytes) for each part of the cache folder. Other processes may add and remove files meanwhile."""
    contents = []
    for kind in KINDS:
        entries, size = 0, 0
        for folder, folders, files in os.walk(cache_root() / kind):
            if Path(folder) == cache_root() / kind:
                entries = sum(not (name.startswith(".") or is_leftover(name)) for name in folders + files)
            size += sum(_size(os.path.join(folder, name)) for name in files)
        contents.append((kind, entries, size))
    return contents


def _size(file: str) -> int:
    try:
        return os.lstat(file).st_size
    except OSError:  # removed by another process since it was listed
        return 0


def clear_cache(kind: str = "") -> int:
    """Delete one part of the cache, or all of it; returns the bytes freed.

    Raises InputError for an unknown part, and for what cannot be deleted once all else is.
    """
    from lorisbench.common.registry import select

    kinds = select("cache", [kind], KINDS) if kind else KINDS

    def held() -> int:
        return sum(size for name, _, size in cache_contents() if name in kinds)

    before, kept = held(), ""
    for folder in (cache_root() / name for name in kinds):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)  # the rest; another process may have changed it meanwhile
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) and folder.exists():
                kept = kept or f"{folder}: cannot be deleted ({error.strerror})"
    freed = max(0, before - held())
    if kept:
        raise InputError(f"{kept}; {freed / 1e6:.1f} MB were freed")
    return freed
