"""correct.npz of an output: which test images the final model of each run answers rightly, a bit for each.

It says in one file what all runs' predictions.npz say of the last row, so that a report on a thousand runs opens one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.common.files import write_bytes
from lorisbench.common.reading import read_arrays
from lorisbench.metrics.predictions import Stored

CORRECT = "correct.npz"
UNKNOWN = -1  # the number of an image that predictions.npz does not give


class Correct(NamedTuple):
    """Which of its test images the final model of a run answers rightly.

    image, experience : int32 (images,), its row in the manifest, or `UNKNOWN`, and the test set that it is in, as
    numbered in the stream's own order; ascending by experience, then image. right : bool (images,).
    """

    image: NDArray[np.int32]
    experience: NDArray[np.int32]
    right: NDArray[np.bool_]

    def is_of(self, other: Correct) -> bool:
        """Whether both are of the same images."""
        return np.array_equal(self.image, other.image) and np.array_equal(self.experience, other.experience)


def of_answers(answers: Stored, order: Iterable[int]) -> Correct | None:
    """That of a run's answers; None if the last experience was not tested.

    order : the experiences, numbered as in the stream's own order, in the order in which they came.
    """
    own = np.asarray(list(order), dtype=np.int32)
    if len(answers.predicted) != len(own) or len(answers.tested) == 0 or answers.tested[-1] != len(own) - 1:
        return None
    experience = own[answers.experience]
    image = np.full(len(experience), UNKNOWN) if answers.image is None else answers.image
    ascending = np.lexsort((image, experience))  # stable: images without a number stay as they are within a test set
    right = answers.predicted[-1] == answers.label
    return Correct(image[ascending].astype(np.int32), experience[ascending].astype(np.int32), right[ascending])


def write(file: Path, streams: Mapping[str, Mapping[str, Correct]]) -> None:
    """Write the file: of each stream, by run id. Runs of a stream that were tested on other images than its first run
    are left out: they cannot be compared image by image."""
    arrays: dict[str, np.ndarray] = {"streams": np.array(list(streams), dtype=np.str_)}
    for place, runs in enumerate(streams.values()):
        first = next(iter(runs.values()))
        alike = {run: each for run, each in runs.items() if each is first or each.is_of(first)}
        arrays |= {
            f"runs{place}": np.array(list(alike), dtype=np.str_), f"image{place}": first.image,
            f"experience{place}": first.experience,
            f"right{place}": np.packbits(np.stack([each.right for each in alike.values()]), axis=1),
        }  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(file, buffer.getvalue())


def read(file: Path) -> dict[str, dict[str, Correct]]:
    """What `write` wrote: of each stream, by run id. Empty if there is no such file.

    Raises InputError, naming the file, if it is damaged.
    """
    if not file.exists():
        return {}
    names = read_arrays(file, ["streams"])["streams"]
    keys = ("runs", "image", "experience", "right")
    arrays = read_arrays(file, [f"{key}{place}" for place in range(len(names)) for key in keys])
    found: dict[str, dict[str, Correct]] = {}
    for place, name in enumerate(names.tolist()):
        runs, image, experience, packed = (arrays[f"{key}{place}"] for key in keys)
        numbers = all(array.dtype == np.int32 and array.ndim == 1 for array in (image, experience))
        if not numbers or packed.dtype != np.uint8 or packed.shape != (len(runs), -(-len(image) // 8)):
            raise InputError(f"{file}: its arrays do not fit together; `lorisbench report` makes it again")
        right = np.unpackbits(packed, axis=1, count=len(image)).astype(bool)
        found[str(name)] = {
            str(run): Correct(image, experience, row) for run, row in zip(runs.tolist(), right, strict=True)
        }
    return found
