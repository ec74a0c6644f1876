"""predictions.npz: what a run answered for each image of its tests, after each experience."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_arrays
from lorisbench.engine.answers import NO_HEAD, Answers

NOT_TESTED = -1  # in place of a predicted class


class Tested(NamedTuple):
    """The images that a run is tested on, in the order of its test sets: int32 (images,) each, as in `Stored`."""

    label: np.ndarray
    experience: np.ndarray
    image: np.ndarray


class Stored(NamedTuple):
    """The arrays of predictions.npz; those that a run does not have are None.

    predicted : int32 (experiences trained so far, images), classes, a row of `NOT_TESTED` after those that no test
    followed. label, experience : int32 (images,), of each image the class and the test set that it is in. image : int32
    (images,), its row in the manifest. head : int16, as `predicted`, the head that answered, -1 for none. scores :
    float16 (experiences trained so far, images, classes), probabilities, NaN where nothing was tested.
    """

    predicted: np.ndarray
    label: np.ndarray
    experience: np.ndarray
    image: np.ndarray | None = None
    head: np.ndarray | None = None
    scores: np.ndarray | None = None

    def until(self, trained: int) -> Stored:
        """The same without the rows of later experiences."""
        head, scores = (None if array is None else array[:trained] for array in (self.head, self.scores))
        return self._replace(predicted=self.predicted[:trained], head=head, scores=scores)

    def of_images(self, tested: Tested) -> bool:
        """Whether the answers are to these images."""
        mine = self.label, self.experience, self.image
        return all(own is not None and np.array_equal(own, other) for own, other in zip(mine, tested, strict=True))

    def rows(self, trained: int) -> list[Answers]:
        """The answers after each of the first `trained` experiences."""
        head, scores = ([None] * trained if array is None else list(array) for array in (self.head, self.scores))
        predicted = self.predicted[:trained].astype(np.int32)
        return [Answers(*row) for row in zip(predicted, head[:trained], scores[:trained], strict=True)]


def untested(images: int) -> Answers:
    """The answers after an experience that no test followed."""
    return Answers(np.full(images, NOT_TESTED, dtype=np.int32))


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


def read_stored(file: Path, with_scores: bool = True) -> Stored:
    """The arrays of a predictions.npz; `scores` only if asked for, as they are most of it.

    Raises InputError, naming the file, if it is missing or damaged, or if its arrays do not fit together.
    """
    names = ("image", "head", *(["scores"] if with_scores else []))
    found = Stored(**read_arrays(file, ("predicted", "label", "experience"), names))
    predicted, label, experience = found[:3]
    wanted = "integers were expected: predicted (experiences trained, images), label and experience (images,)"
    if not all(array.dtype.kind in "iu" for array in (predicted, label, experience)):
        raise InputError(f"{file}: {wanted}")
    if predicted.ndim != 2 or not predicted.size or not label.shape == experience.shape == predicted.shape[1:]:
        raise InputError(f"{file}: {wanted}, not {predicted.shape}, {label.shape} and {experience.shape}")
    first, last = int(experience.min()), int(experience.max())
    if first < 0 or last >= len(experience) or len(predicted) > last + 1:
        raise InputError(f"{file}: {len(predicted)} rows for experiences {first} to {last}")
    _check(file, "image", found.image, "iu", label.shape)
    _check(file, "head", found.head, "i", predicted.shape)
    if found.scores is not None:
        _check(file, "scores", found.scores, "f", (*predicted.shape, *found.scores.shape[2:][:1]))
    return found


def _check(file: Path, name: str, array: np.ndarray | None, kinds: str, shape: tuple[int, ...]) -> None:
    if array is not None and (array.dtype.kind not in kinds or array.shape != shape):
        told = f"{array.dtype} {array.shape}"
        raise InputError(f"{file}: {name}: an array of shape {shape} was expected, not {told}")
