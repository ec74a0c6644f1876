"""How long the rest of a suite may take and how much disk, from what was measured: no figure without a measurement.

Of a run that is left, the training time is that of the finished runs of the same strategy on the same stream in the
same output. Where there is none, what is remembered of earlier outputs on this machine counts, of runs with the same
strategy, images, backbone, head and training (see `lorisbench.common.timings`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from lorisbench.common.timings import memory, remember
from lorisbench.runs.directory import RunDirectory

DECISIVE = ("strategy", "benchmark", "backbone", "head", "training", "evaluation", "device")


class Finished(NamedTuple):
    """A finished run: its stream and label, the seconds it was trained, and the bytes of its folder (None: unknown)."""

    stream: str
    label: str
    seconds: float
    bytes: int | None = None


class Left(NamedTuple):
    """A run that is left: its settings as in config.yaml, the content hash of its images, how many experiences it has
    (None: unknown, like a hash that is empty), and the seconds that it has been trained."""

    stream: str
    label: str
    config: Mapping[str, Any]
    images: str = ""
    experiences: int | None = None
    spent: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What the rest takes: sums over those `known` of the runs `left`.

    Attributes
    ----------
    seconds, bytes : of training, and of run folders. `sized` is the number of runs whose bytes are known.
    here, before : from how many finished runs of this output, and of earlier ones.
    """

    left: int
    known: int = 0
    sized: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    here: int = 0
    before: int = 0

    @property
    def source(self) -> str:
        """From what it is known, in words; and how much is not."""
        parts = [f"{count_of_runs(self.here)} finished here"] if self.here else []
        parts += [f"{count_of_runs(self.before)} of earlier outputs"] if self.before else []
        text = f"from the times of {' and '.join(parts)}"
        if self.known < self.left:
            text += f"; without {count_of_runs(self.left - self.known)} of which no time is known yet"
        return text


def estimate(left: Iterable[Left], finished: Iterable[Finished]) -> Estimate:
    """The estimate for the runs that are left, from those that are finished and from what is remembered."""
    left = list(left)
    alike: dict[tuple[str, str], list[Finished]] = {}
    for each in finished:
        alike.setdefault((each.stream, each.label), []).append(each)
    recall = memory() if any((run.stream, run.label) not in alike for run in left) else None
    earlier: dict[tuple[str, str], list[dict[str, float]]] = {}
    here: dict[tuple[str, str], int] = {}
    known = sized = 0
    seconds = size = 0.0
    for run in left:
        key = run.stream, run.label
        if key in alike:
            here[key] = len(alike[key])
            expected = fmean(one.seconds for one in alike[key])
            sizes = [float(one.bytes) for one in alike[key] if one.bytes is not None]
        else:
            assert recall is not None
            if key not in earlier:  # which seed and order it is makes no difference
                found = recall(_thing(run.config, run.images)) if run.images and run.experiences else []
                earlier[key] = [times for times in found if times.get("experiences") and "seconds" in times]
            before = earlier[key]
            if not before or not run.experiences:
                continue
            expected = run.experiences * fmean(times["seconds"] / times["experiences"] for times in before)
            sizes = [times["bytes"] for times in before if "bytes" in times]
        known += 1
        seconds += max(0.0, expected - run.spent)
        if sizes:
            sized += 1
            size += fmean(sizes)
    count = sum(len(before) for before in earlier.values())
    return Estimate(len(left), known, sized, seconds, size, sum(here.values()), count)


def remember_run(config: Mapping[str, Any], images: str, directory: RunDirectory) -> None:
    """Remember a finished run, for the estimates of later outputs."""
    entries = directory.entries()
    remember(
        _thing(config, images),
        seconds=round(own_seconds(entries), 4),
        experiences=len(entries),
        bytes=size_of(directory.path),
    )


def own_seconds(entries: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of training in a run's journal, without the training of a backbone that runs share."""
    return float(sum(entry["train_seconds"] - entry.get("backbone_seconds", 0.0) for entry in entries))


def size_of(folder: Path) -> int:
    """The bytes of the files in a folder. Other processes may remove some meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def duration(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _thing(config: Mapping[str, Any], images: str) -> Any:
    return ["run", images, {key: config.get(key) for key in DECISIVE}]


def count_of_runs(count: int) -> str:
    """So many runs, in words of a sentence."""
    return "1 run" if count == 1 else f"{count} runs"
