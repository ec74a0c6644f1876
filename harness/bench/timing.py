"""What benchmarks of the harness share: functions timed in turn, peaks of memory, a cache of their own."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def in_turn(functions: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The seconds that each function says it took, in each of `rounds` rounds; all are called in turn.

    A round to warm up comes first. Every other round goes backwards, so that none gains by what it always comes after.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(-1, rounds):
        for name, function in list(functions.items())[:: 1 if number % 2 else -1]:
            seconds = function()
            if number >= 0:
                taken[name].append(seconds)
    return taken


def timed(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """A function that says how many seconds a call of this one took.

    clock : `time.process_time` for what uses one thread: other load on the machine then counts less.
    """

    def call() -> float:
        start = clock()
        function()
        return clock() - start

    return call


def repeated(function: Callable[[], Any], times: int) -> Callable[[], None]:
    """A function that calls this one so many times."""

    def call() -> None:
        for _ in range(times):
            function()

    return call


def clock_of(device: torch.device) -> Callable[[], float]:
    """The clock for what one thread does: CPU seconds, or seconds until the GPU has done its work."""
    if device.type != "cuda":
        return time.process_time
    import torch

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def peak_so_far() -> float:
    """Peak resident memory of this process in GB (10^9 bytes).

    Not ru_maxrss, which in a process started by vfork begins at its parent's peak.
    """
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e9


@contextlib.contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Have the harness keep its cache in this folder until the block ends."""
    before = os.environ.get("LORISBENCH_CACHE")
    os.environ["LORISBENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LORISBENCH_CACHE")
        if before is not None:
            os.environ["LORISBENCH_CACHE"] = before
