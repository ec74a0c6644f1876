"""predictions.npz: what a run answered for each image of its tests, after each experience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lorisbench.engine.answers import NO_HEAD, Answers
from lorisbench.metrics.predictions import NOT_TESTED, Stored


class Tested(NamedTuple):
    """The images that a run is tested on, in the order of its test sets: int32 (images,) each, as in `Stored`."""

    label: np.ndarray
    experience: np.ndarray
    image: np.ndarray


def untested(images: int) -> Answers:
    """The answers after an experience that no test followed."""
    return Answers(np.full(images, NOT_TESTED, dtype=np.int32))


def rows_of(stored: Stored, trained: int) -> list[Answers]:
    """The answers after each of the first `trained` experiences."""
    head, scores = ([None] * trained if array is None else list(array) for array in (stored.head, stored.scores))
    predicted = stored.predicted[:trained].astype(np.int32)
    return [Answers(*row) for row in zip(predicted, head[:trained], scores[:trained], strict=True)]


def stored(rows: Sequence[Answers], tested: Tested) -> Stored:
    """The arrays for the answers after each experience so far."""
    predicted = np.stack([row.predicted for row in rows])
    head = _stacked([row.head for row in rows], NO_HEAD)
    return Stored(predicted, *tested, head, _stacked([row.scores for row in rows], np.nan))


def _stacked(rows: Sequence[np.ndarray | None], missing: float) -> np.ndarray | None:
    """Rows as one array, those that are None full of `missing`; None if all are."""
    first = next((row for row in rows if row is not None), None)
    if first is None:
        return None
    return np.stack([np.full_like(first, missing) if row is None else row for row in rows])


def told_in(row: Answers) -> list[np.ndarray]:
    """The arrays of a row that say something, whether or not the file has the others for the sake of other rows."""
    head = [] if row.head is None or (row.head == NO_HEAD).all() else [row.head]
    scores = [] if row.scores is None or (row.predicted == NOT_TESTED).all() else [row.scores]
    return [row.predicted.astype("<i4"), *head, *scores]
