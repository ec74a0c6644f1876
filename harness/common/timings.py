"""What took how long on this machine: a small file in the cache folder, from which the rest of a suite is estimated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lorisbench.common.cache import cache_root
from lorisbench.common.environment import cores, cpu_name
from lorisbench.common.errors import InputError
from lorisbench.common.files import atomic, digest_of
from lorisbench.common.reading import read_json

THINGS = 400  # as many are kept, those measured last
TIMES = 5  # as many of each
PATIENCE = 1.0  # seconds; what another process keeps from being written down is forgotten


def remember(thing: Any, **amounts: float) -> None:
    """Write down what doing a thing took, such as `seconds`. `thing`: plain values that say what it was.

    Whatever keeps it from being written (a full disk, a folder that is only to be read) is no fault.
    """
    from filelock import FileLock, Timeout

    file = _file()
    with contextlib.suppress(OSError, NotImplementedError, Timeout, InputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock"), timeout=PATIENCE):
            known = _read()
            name = _name(thing)
            times = [*known.pop(name, []), amounts][-TIMES:]
            kept = dict(list({**known, name: times}.items())[-THINGS:])
            with atomic(file, sync=False) as stream:
                stream.write(json.dumps(kept, separators=(",", ":")).encode())


def memory() -> Callable[[Any], list[dict[str, float]]]:
    """A function that gives what was remembered of a thing on a machine like this one, the last time at the end."""
    known = _read()
    return lambda thing: known.get(_name(thing), [])


def _file() -> Path:
    return cache_root() / "timings" / "measured.json"


def _name(thing: Any) -> str:
    return digest_of([cpu_name(), cores(), thing])


def _read() -> dict[str, list[dict[str, float]]]:
    """All that is remembered; nothing if the file is missing or damaged, in which case it is written anew."""
    try:
        known = read_json(_file()) or {}
    except InputError:
        return {}
    return {name: times for name, times in known.items() if _are_times(times)}


def _are_times(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, Mapping) and all(isinstance(x, int | float) and x >= 0 for x in each.values())
        for each in value
    )
