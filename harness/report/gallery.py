"""What a network of several heads does with the images: its heads' lives, whom they answer, and where it goes wrong.

Whatever strategy kept tables of its heads (`timeline`) has a gallery; none is known by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.data.image_table import IMAGES, read_images
from lorisbench.report import pictures
from lorisbench.report.lives import Timeline, structure
from lorisbench.report.mistakes import extremes, tested, worst
from lorisbench.report.stored import Matrix, Stored

RUNS = 6
"""Runs of a strategy that are shown, by order and seed."""
LARGEST = 4 * 10**6
"""Bytes of images.csv.gz; of a larger one the images are shown by their numbers alone."""


def of(stored: Stored) -> dict[str, Any]:
    """The galleries of a stream: `strategies`, each with its `runs` and `images`; `images`: those that are named."""
    shown: list[dict[str, Any]] = []
    for label in stored.labels:
        if runs := _runs(stored, label):
            found = tested(stored, [(run, told["order"]) for run, told in runs])
            images = {"mistakes": worst(found), "extremes": extremes(found)} if found else {}
            about = {"strategy": label, "runs": [told for _, told in runs], "of": len(stored.done(label))}
            shown.append(about | images)
    if not shown:
        return {}
    return {"strategies": shown, "images": _named(stored, _wanted(shown))}


def _runs(stored: Stored, label: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    done = stored.done(label)
    for run, order, seed in zip(*(done[key] for key in ("run_id", "order", "seed")), strict=True):
        decisions = stored.kept(run, "decisions")
        if decisions is None:
            break
        timeline = structure(decisions, stored.kept(run, "answers"), len(stored.names))
        if timeline is not None:
            found.append((str(run), {"order": int(order), "seed": int(seed)} | _of_timeline(timeline)))
        if len(found) == RUNS:
            break
    return found


def _of_timeline(timeline: Timeline) -> dict[str, Any]:
    return {
        "lanes": [[lane.head, lane.birth, lane.source, list(lane.distilled)] for lane in timeline.lanes],
        "gaps": _rounded(timeline.gaps),
        "known": _rounded(timeline.known[None])[0],
        "shares": None if timeline.shares is None else _rounded(timeline.shares),
        "after": timeline.after,
    }


def _rounded(values: Matrix) -> list[list[float | None]]:
    return [[round(value, 4) if np.isfinite(value) else None for value in row] for row in values.tolist()]


def _wanted(shown: Sequence[dict[str, Any]]) -> list[int]:
    """The images that are shown, mistakes first."""
    mistakes = [each["image"] for one in shown for each in one.get("mistakes", [])]
    extremes = [
        number
        for one in shown
        for step in one.get("extremes", [])
        for key in ("least", "most")
        for number, _ in step[key]
    ]
    return list(dict.fromkeys([*mistakes, *extremes]))


def _named(stored: Stored, wanted: Sequence[int]) -> dict[str, Any]:
    """What is known of the images: path, class, factor, level, recording, and a small picture where it is at hand."""
    classes = stored.data.get("classes")
    names = [str(name) for name in classes] if isinstance(classes, list) else []
    table = _table(stored) if wanted else pd.DataFrame()
    known = [number for number in wanted if number < len(table)]
    columns = ("path", "class_name", "factor", "level", "recording")
    about = {number: {key: _text(table[key].iloc[number]) for key in columns} for number in known}
    seen = pictures.thumbnails(stored, table, known) if known else {}
    return {"classes": names, "about": about, "pictures": seen}


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _table(stored: Stored) -> pd.DataFrame:
    file = stored.out / IMAGES
    try:
        if file.exists() and file.stat().st_size <= LARGEST:
            return read_images(file, str(stored.runs["stream"].iloc[0]))
    except (InputError, OSError):
        pass
    return pd.DataFrame()
