"""Rendering of OpenLORIS-Sim to a folder in OpenLORIS-Object's release or challenge layout, in parallel and
all or nothing.

OpenLORIS-Sim is synthetic: a stand-in for machines without the real images, as its marker file says and nothing may
hide.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lorisbench.benchmarks.sim.objects import OBJECTS
from lorisbench.benchmarks.sim.scene import BATCHES, FACTORS, MIXED, factor_number, film, make_recording
from lorisbench.benchmarks.sim.shading import shade
from lorisbench.common.console import track
from lorisbench.common.files import contents, is_leftover, make_folder, written
from lorisbench.common.processes import lives, map_unordered
from lorisbench.data.marker import MARKER

SIDECAR = "levels.csv"
RENDERER_VERSION = 1  # raise it whenever the same settings would give other pictures
JPEG_QUALITY = 90
# Frames in orbit order: 6:2:2 of every ten, as in the challenge's first round.
SPLIT_CYCLE = ("train", "test", "train", "validation", "train")
COLUMNS = (
    "path", "object", "factor", "level", "segment", "split", "frame",
    "hidden_fraction", "box_w", "box_h", "box_fraction", "distractors", "light",
)  # fmt: skip
"""Columns of the sidecar; for the measured ones see `rays.measure` and, on `light`, `shading.shade`."""


@dataclass(frozen=True)
class SimSettings:
    """What to render.

    Parameters
    ----------
    objects : number of targets, from the first of `objects.OBJECTS`.
    frames : frames of each object in each recording, interleaved over the splits.
    size : side of the square pictures, in pixels.
    seed : draws rooms, lights, orbits and layouts anew; the objects themselves stay.
    segments : recordings per factor, a third of them for each level.
    factors : the factors to render.
    mixed : render the challenge's nine batches of mixed factors, in its layout, in place of factors and segments.

    Raises
    ------
    ValueError : a value with which no sensible set can be rendered.
    """

    objects: int = 16
    frames: int = 10
    size: int = 128
    seed: int = 0
    segments: int = 9
    factors: tuple[str, ...] = FACTORS
    mixed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        problems = {
            f"objects must be 2 to {len(OBJECTS)}, not {self.objects}": not 2 <= self.objects <= len(OBJECTS),
            f"frames must be at least 5 (one cycle of the splits), not {self.frames}": self.frames < 5,
            f"size must be 32 to 2048 pixels, not {self.size}": not 32 <= self.size <= 2048,
            f"seed must be 0 or more, not {self.seed}": self.seed < 0,
            f"segments must be 3, 6 or 9 (one to three a level), not {self.segments}": self.segments not in (3, 6, 9),
            f"factors must be some of {', '.join(FACTORS)}, each once, not {self.factors}": not self.factors
            or len(set(self.factors)) < len(self.factors)
            or not set(self.factors) <= set(FACTORS),
            "mixed batches have neither factors nor segments of their own": self.mixed
            and (self.factors != FACTORS or self.segments != 9),
        }
        wrong = [problem for problem, holds in problems.items() if holds]
        if wrong:
            raise ValueError("OpenLORIS-Sim: " + "; ".join(wrong))

    @property
    def images(self) -> int:
        """Number of pictures in the set."""
        return len(self.recordings) * self.objects * self.frames

    @property
    def recordings(self) -> list[tuple[str, int]]:
        """(factor, segment) of each recording, or (`mixed`, batch)."""
        if self.mixed:
            return [(MIXED, batch) for batch in BATCHES]
        return [(factor, segment) for factor in self.factors for segment in range(1, self.segments + 1)]


def render(
    out: Path, settings: SimSettings = SimSettings(), *, workers: int | None = None, progress: bool = True
) -> Path:
    """Render the set to `out`, all or nothing, and return `out`.

    The pictures are written to a sibling folder that is renamed when it is complete. A complete set of the
    same settings is left as it is. The files do not depend on `workers`.

    Parameters
    ----------
    out : the set's folder; must not exist, or be empty, or hold a complete set of the same settings.
    workers : processes; None for one per core, 1 for none besides this one.
    progress : show a bar on stderr if that is a terminal, a few plain lines if it is not.

    Raises
    ------
    ValueError : `workers` is less than 1.
    FileExistsError : `out` holds something else.
    RuntimeError : a recording's levels could not be met.
    InputError : a worker process was killed, or the disk does not take the set.
    """
    out = Path(out)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if is_complete(out, settings):
        return out
    if out.exists() and (not out.is_dir() or contents(out)):
        raise FileExistsError(
            f"{out} exists and is not a complete OpenLORIS-Sim set of these settings; remove it or pick another folder"
        )
    make_folder(out.parent)
    _remove_stale_partials(out)
    folder = out.with_name(f"{out.name}.partial-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    with written(out):
        try:
            folder.mkdir()
            _render_into(folder, settings, workers or os.cpu_count() or 1, progress)
            _install(folder, out, settings)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return out


def is_complete(out: Path, settings: SimSettings) -> bool:
    """Whether `out` holds a whole set of these settings and this renderer: marker present, no picture missing."""
    try:
        marker = json.loads((Path(out) / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = isinstance(marker, dict) and marker.get("settings") == plain(settings)
    if not same or marker.get("renderer_version") != RENDERER_VERSION or not (Path(out) / SIDECAR).is_file():
        return False
    names = itertools.chain.from_iterable(files for _, _, files in os.walk(out))
    return sum(name.endswith(".jpg") and not is_leftover(name) for name in names) == settings.images


def plain(settings: SimSettings) -> dict[str, object]:
    """Settings as JSON gives them back; `mixed` only if it is set, so that older sets of segments are still known."""
    values = {**asdict(settings), "factors": list(settings.factors)}
    return values if settings.mixed else {key: value for key, value in values.items() if key != "mixed"}


def splits(frames: int) -> list[str]:
    """The split of each frame, in orbit order."""
    return [SPLIT_CYCLE[frame % len(SPLIT_CYCLE)] for frame in range(frames)]


Take = tuple[str, int, int]  # factor, segment, index of the object


def _render_take(folder: Path, settings: SimSettings, take: Take) -> list[tuple[object, ...]]:
    """Film one object in one recording, write its pictures, and return its rows of the sidecar."""
    factor, segment, number = take
    recording = make_recording(settings.seed, factor, segment, settings.segments)
    name = OBJECTS[number].name
    rows: list[tuple[object, ...]] = []
    # A stream of its own for the sensor: the noise then does not depend on how many layouts were tried.
    sensor = np.random.default_rng(np.random.SeedSequence((settings.seed, factor_number(factor), segment, number, 1)))
    views = film(recording, number, settings.frames, settings.size, settings.seed)
    for index, (frame, split) in enumerate(zip(views, splits(settings.frames), strict=True)):
        image, light = shade(recording, frame.view, settings.size, sensor)
        path = _place(settings, take, split, index)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / path, quality=JPEG_QUALITY)
        measured = {**frame.measured, "light": light}
        values = [measured[column] for column in COLUMNS[7:]]
        rounded = [round(value, 4) if isinstance(value, float) else value for value in values]
        rows.append((path.as_posix(), name, factor, recording.level, segment, split, index + 1, *rounded))
    return rows


def _place(settings: SimSettings, take: Take, split: str, index: int) -> Path:
    """Where the picture of a frame lies in the set's folder."""
    factor, segment, number = take
    place = Path(split, f"batch{segment}") if settings.mixed else Path(split, factor, f"segment{segment}")
    return place / OBJECTS[number].name / f"{index + 1:04d}.jpg"


def _takes(settings: SimSettings) -> list[Take]:
    return [(factor, segment, number) for factor, segment in settings.recordings for number in range(settings.objects)]


def blank(folder: Path, settings: SimSettings) -> Path:
    """A set without its pictures, whose files have one byte: enough to read what the set would hold."""
    for take in _takes(settings):
        for index, split in enumerate(splits(settings.frames)):
            path = folder / _place(settings, take, split, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\0")
    (folder / MARKER).write_text(json.dumps({"name": "OpenLORIS-Sim"}), encoding="utf-8")
    return folder


def _render_into(folder: Path, settings: SimSettings, workers: int, progress: bool) -> None:
    """Write pictures, sidecar and, last of all, the marker."""
    takes = _takes(settings)
    work = partial(_render_take, folder, settings)
    rows: list[tuple[object, ...]] = []
    with (
        track("rendering OpenLORIS-Sim", len(takes), progress) as advance,
        contextlib.closing(map_unordered(work, takes, min(workers, len(takes)))) as parts,
    ):
        for _, part in parts:
            rows += part
            advance(1)
    rows.sort(key=lambda row: str(row[0]))
    with (folder / SIDECAR).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    os.sync()  # the pictures must be on the disk before the marker is
    marker = {
        "synthetic": True,
        "name": "OpenLORIS-Sim",
        "renderer_version": RENDERER_VERSION,
        "settings": plain(settings),
        "images": len(rows),
        "versions": {package: version(package) for package in ("trimesh", "embreex", "numpy", "pillow")},
    }
    with (folder / MARKER).open("w", encoding="utf-8") as file:
        json.dump(marker, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def _install(folder: Path, out: Path, settings: SimSettings) -> None:
    """Rename the finished folder to `out`; if another process was faster with the same set, that one stays."""
    if out.is_dir() and not contents(out):
        shutil.rmtree(out)  # nothing but what a file manager left there
    try:
        os.rename(folder, out)
    except OSError:
        if not is_complete(out, settings):
            raise
        return
    if os.name == "posix":
        parent = os.open(out.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _remove_stale_partials(out: Path) -> None:
    """Remove what is left of renders of the same set whose processes are dead."""
    for folder in out.parent.glob("*.partial-*"):
        match = re.fullmatch(re.escape(out.name) + r"\.partial-(\d+)", folder.name)
        if match and not lives(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
