"""Which test images the finished runs of a stream answer rightly, and of which recordings these are."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.data.image_table import IMAGES, read_images
from lorisbench.metrics import correct
from lorisbench.metrics.bootstrap import Cells, Scores, scores_of
from lorisbench.metrics.correct import CORRECT, UNKNOWN, Correct
from lorisbench.metrics.predictions import read_stored
from lorisbench.report.stored import Stored
from lorisbench.suite.orders import permutation

BLOCKS = 64  # of images of a test set, where no recordings are known: with fewer images, each is one


class Answers:
    """Which test images each finished run of a stream answers rightly, and of which recordings these are.

    right : by run id, `Correct`, all of the same images; empty if nothing is known. why : why it is empty, or why runs
    are missing. tested : the cells that they fall into, and by_recording whether those are of recordings. about : of
    each image its row of images.csv.gz, in the order of `Correct`; None if that is not known.
    """

    def __init__(self, stored: Stored) -> None:
        self.right, self.why = _right(stored)
        first = next(iter(self.right.values()), None)
        self.cells: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.tested: Cells | None = None
        self.by_recording = False
        self.about: pd.DataFrame | None = None
        if first is not None:
            self.about = _about(stored, first)
            recordings = _recordings(self.about)
            self.by_recording = recordings is not None
            self.cells, self.tested = _cells(first, recordings)

    def scores(self, runs: Sequence[str]) -> Scores | None:
        """The scores of runs; None if nothing is known of one of them."""
        if self.tested is None or not runs or not all(run in self.right for run in runs):
            return None
        size = len(self.tested.n)
        right = [np.bincount(self.cells, weights=self.right[run].right, minlength=size)[:size] for run in runs]
        return scores_of(np.stack(right), self.tested)

    def of(self, experiences: Sequence[int]) -> Answers:
        """The same of some of the test sets."""
        found = copy.copy(self)
        if self.tested is not None:
            chosen = np.isin(self.tested.experience, experiences)
            places = np.where(chosen, np.cumsum(chosen) - 1, chosen.sum())  # cells of other test sets come last
            found.cells = places[self.cells]
            _, unit = np.unique(self.tested.unit[chosen], return_inverse=True)
            found.tested = Cells(self.tested.experience[chosen], unit, self.tested.n[chosen])
        return found


def _right(stored: Stored) -> tuple[dict[str, Correct], str]:
    """What is known of the finished runs, all of the same images, and why it is nothing or not all."""
    done = stored.runs[(stored.runs["status"] == "done") & ~stored.runs["strategy"].isin(stored.elsewhere)]
    if done.empty:
        return {}, "No run has finished."
    try:
        stream = str(done["stream"].iloc[0]) if "stream" in done else ""
        kept = correct.read(stored.out / CORRECT).get(stream, {})
    except InputError:
        kept = {}
    found: dict[str, Correct] = {}
    for run, order in zip(done["run_id"], done["order"] if "order" in done else [0] * len(done), strict=True):
        right = kept[run] if run in kept else _from_predictions(stored, str(run), int(order))
        first = next(iter(found.values()), right)
        if right is not None and first is not None and right.is_of(first):
            found[str(run)] = right
    missing = len(done) - len(found)
    return found, f"The answers of {missing} finished runs to the same test images are not stored." if missing else ""


def _from_predictions(stored: Stored, run: str, order: int) -> Correct | None:
    """The same of a run of an older output."""
    file = stored.out / "runs" / run / "predictions.npz"
    try:
        return correct.of_answers(read_stored(file, with_scores=False), permutation(order, len(stored.own_names)))
    except InputError:
        return None


def _about(stored: Stored, images: Correct) -> pd.DataFrame | None:
    """The rows of images.csv.gz of these images; None if it is not known which they are."""
    if (images.image == UNKNOWN).any() or not (stored.out / IMAGES).exists():
        return None
    try:
        table = read_images(stored.out / IMAGES, str(stored.runs["stream"].iloc[0]))
        return table.iloc[images.image].reset_index(drop=True)
    except (InputError, IndexError):
        return None


def _recordings(about: pd.DataFrame | None) -> NDArray[np.int64] | None:
    """The recording of each image by number, -1 where none is known; None if none is of any."""
    if about is None:
        return None
    codes, _ = about["recording"].where(about["recording"] != "").factorize()
    return codes.astype(np.int64) if (codes >= 0).any() else None


def _cells(images: Correct, recordings: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], Cells]:
    """The cell of each image, and the cells: by recording, or else by blocks of images drawn one from each part of a
    test set, so that they are alike."""
    start = np.searchsorted(images.experience, images.experience)  # ascending by experience
    block = (np.arange(len(images.image)) - start) % BLOCKS + BLOCKS * images.experience.astype(np.int64)
    unit = block if recordings is None else np.where(recordings < 0, block + recordings.max() + 1, recordings)
    _, unit = np.unique(unit, return_inverse=True)
    pairs = np.stack([images.experience.astype(np.int64), unit])
    found, cells = np.unique(pairs, axis=1, return_inverse=True)
    return cells.ravel(), Cells(found[0], found[1], np.bincount(cells.ravel()))
