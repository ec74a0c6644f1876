"""All images of a factor stream, computed once into the cache folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorisbench.benchmarks.classic.labelled import Labelled
from lorisbench.benchmarks.factors.cutouts import cutout_of
from lorisbench.benchmarks.factors.images import VERSION, Measured
from lorisbench.benchmarks.factors.painting import Painter, Step, Task, paint
from lorisbench.common.cache import cache_root, cached_array
from lorisbench.common.files import digest_of, write_text

BANK = 64  # most images that the distractors of a split are cut from


class Job(NamedTuple):
    """One picture (its index in `Labelled.pictures`), the split it is used in, and what is computed from it."""

    picture: int
    split: str
    steps: tuple[Step, ...]


def pixels_of(images: Labelled, jobs: Sequence[Job], size: int, seed: int) -> Path:
    """The .npy file, uint8 (images, size, size, 3), of all steps of all jobs in order, made if it is missing.

    Its name is a hash of the pictures' bytes and the settings. Beside it, under the same name, a .csv with the levels
    that each image reached (see `factor_images.Measured`).

    Raises InputError for a picture that cannot be read and for too little disk space.
    """
    bank = _bank(images, jobs)
    settings = {
        "version": VERSION,
        "size": size,
        "seed": seed,
        "pictures": images.digest({job.picture for job in jobs}),
    }
    named = [(images.pictures[job.picture].name, job.split, job.steps) for job in jobs]
    key = digest_of({**settings, "jobs": named, "bank": [[s, i] for s, members in bank.items() for i in members]})
    path = cache_root() / "pixels" / f"{key}.npy"

    def blocks() -> Iterator[np.ndarray]:
        cut = {s: [(images.pictures[i].class_name, cutout_of(images.image(i), size)) for i in bank[s]] for s in bank}
        levels: list[Measured] = []
        tasks = [Task(images.image(job.picture), *images.pictures[job.picture][:2], *job[1:]) for job in jobs]
        for block, measured in paint(Painter(size, seed, cut), tasks):
            levels += measured
            yield block
        write_text(path.with_suffix(".csv"), _as_csv(named, levels))

    count = sum(len(job.steps) for job in jobs)
    cached_array(path, "|u1", (count, size, size, 3), "computing images", blocks)
    return path


def _bank(images: Labelled, jobs: Sequence[Job]) -> dict[str, list[int]]:
    """For each split up to `BANK` of its pictures, the first of each class, then the second of each, ..."""
    found: dict[str, dict[str, list[int]]] = {}
    for job in jobs:
        found.setdefault(job.split, {}).setdefault(images.pictures[job.picture].class_name, []).append(job.picture)
    bank = {}
    for split, classes in found.items():
        members = [group for _, group in sorted(classes.items())]
        turns = [group[turn] for turn in range(BANK) for group in members if turn < len(group)]
        few = len(members) <= BANK
        bank[split] = turns[:BANK] if few else [turns[i * len(members) // BANK] for i in range(BANK)]
    return bank


def _as_csv(jobs: Sequence[tuple[str, str, tuple[Step, ...]]], levels: Sequence[Measured]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "split", "factor", "level", *Measured._fields])
    rows = [(name, split, factor, level) for name, split, steps in jobs for factor, level in steps]
    for row, measured in zip(rows, levels, strict=True):
        writer.writerow([*row, *(round(value, 4) for value in measured)])
    return text.getvalue()
