"""What a model answers in an evaluation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NO_HEAD = -1  # of an image that no head answered, or of which it is not told


class Answers(NamedTuple):
    """What a run answered for each image of its tests after an experience.

    predicted : int32 (images,), classes. head : int16 (images,), the number of the head that answered, `NO_HEAD` if
    none did; None for a model that does not say. scores : float16 (images, classes), probabilities; None if not kept.
    """

    predicted: np.ndarray
    head: np.ndarray | None = None
    scores: np.ndarray | None = None
