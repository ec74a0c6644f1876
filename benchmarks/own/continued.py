"""A stream and one experience more: what `lorisbench learn` trains on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.data.benchmark import Benchmark
from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.suite.benchmarks import make_benchmark


class Continued(Benchmark, name="continued"):
    """The stream of a finished run and, after it, an experience that came later (written by `lorisbench learn`).

    `of`: the benchmark of the run; `order`: in which order the run had its experiences; `run`: the run's folder.
    `data`: a benchmark with a single experience, all of whose classes the run knows.
    """

    run: str
    of: dict[str, Any]
    order: list[int]
    data: dict[str, Any]

    def manifest(self) -> Manifest:
        before = make_benchmark(self.of, "benchmark.of").manifest().in_order(self.order)
        return continued(before, make_benchmark(self.data, "benchmark.data").manifest())


def continued(before: Manifest, more: Manifest) -> Manifest:
    """A stream with all images of `more` as one experience after its own.

    Raises InputError, in one line, if `more` has several experiences or a class that the stream has not, or if either
    has images that are not files of their own.
    """
    for part in (before, more):
        if part.stacked is not None:
            raise InputError(f"{part.name}: only what was trained on image files can go on with image files")
    if more.experiences != 1:
        raise InputError(
            f"{more.root}: {more.experiences} experiences ({', '.join(map(str, more.experience_names))}) where one was "
            "expected: one is learned at a time"
        )
    known = [str(name) for name in before.classes]
    for name in more.classes:
        if str(name) not in known:
            raise InputError(
                f"{more.root}: class {str(name)!r} is not among those of the run{nearest(str(name), known)}"
            )
    added = more.table[COLUMNS].assign(
        path=[os.path.join(more.root.resolve(), path) for path in more.table.path],
        label=more.table.class_name.map({name: label for label, name in enumerate(known)}).astype(np.int64),
        experience=before.experiences,
    )
    return replace(
        before,
        table=pd.concat([before.table[COLUMNS], added], ignore_index=True),
        experience_names=[*before.experience_names, _name(str(more.experience_names[0]), before.experience_names)],
        synthetic=before.synthetic or more.synthetic,
        notes={**before.notes, "came later": f"{len(added):,} images of {more.root.resolve()}"},
        placed=True,
        parts=(before, more),
    )


def _name(name: str, others: Sequence[str]) -> str:
    return f"{name} (later)" if name in others else name
