"""predictions.npz read back: what a run answered for each image of its tests, after each experience."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_arrays

NOT_TESTED = -1  # in place of a predicted class


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

    def of_images(self, images: Sequence[np.ndarray]) -> bool:
        """Whether the answers are to these images: label, experience and image of each, as here."""
        mine = self.label, self.experience, self.image
        return all(own is not None and np.array_equal(own, other) for own, other in zip(mine, images, strict=True))

    @property
    def tested(self) -> np.ndarray:
        """The experiences after which a test followed, ascending."""
        return np.flatnonzero(~(self.predicted == NOT_TESTED).all(axis=1))


def matrix_of(stored: Stored) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy matrix R, float64 (rows trained, experiences), and int64 (experiences,), the test images of each.

    A row is NaN where no test followed (`evaluation.rows: last`), a column where there are no test images.
    """
    predicted, label, experience = stored[:3]
    n = np.bincount(experience)
    hits = np.stack([np.bincount(experience, weights=row) for row in predicted == label])
    tested = np.full((len(predicted), 1), np.nan)
    tested[stored.tested] = 1
    with np.errstate(invalid="ignore"):
        return tested * hits / n, n


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
