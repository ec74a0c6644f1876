"""What benchmarks of the harness share: functions timed in turn, peaks of memory, and one experience to train on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def alternated(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds taken by each function, all called in turn `rounds` times after one warm-up round.

    Every other round goes backwards, so that none gains by what it always comes after.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(-1, rounds):
        for name, function in list(functions.items())[:: 1 if round_number % 2 else -1]:
            start = time.perf_counter()
            function()
            if round_number >= 0:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def peak_so_far() -> float:
    """Peak resident memory of this process in GB (10^9 bytes).

    Not ru_maxrss, which in a process started by vfork begins at its parent's peak.
    """
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e9


def one_experience(store: Any, samples: int) -> Any:
    """A training experience of the first `samples` rows of a store."""
    from pathlib import Path

    import pandas as pd

    from lorisbench.data.manifest import COLUMNS, Manifest
    from lorisbench.data.stream import make_stream

    splits = ["train"] * samples + ["validation", "test"]
    rows = [(str(i), int(store.y[i]), "", 0, split, "", 1, "") for i, split in enumerate(splits)]
    classes = [str(label) for label in range(int(store.y.max()) + 1)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return make_stream(Manifest(table, Path(), "random numbers", True, classes, ["only"]), store).train_stream[0]
