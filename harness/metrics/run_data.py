"""What a metric of one's own is given of a run (`lorisbench report --metric FILE.py:FUNCTION`).

The function takes a `RunData` and returns a number, or raises `UndefinedMetricError` with the reason why there is none:

    from lorisbench.metrics.run_data import RunData, UndefinedMetricError

    def flips(run: RunData) -> float:
        if len(run.predicted) < 2:
            raise UndefinedMetricError("needs two experiences")
        before, after = run.predicted[-2] == run.label, run.predicted[-1] == run.label
        return float((before & ~after).mean())
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorisbench.common.errors import InputError, reason_of
from lorisbench.metrics.matrix import UndefinedMetricError

__all__ = ["Metric", "RunData", "UndefinedMetricError", "value_of"]

Metric = Callable[["RunData"], float]


@dataclass(frozen=True)
class RunData:
    """What is stored of a finished run.

    Attributes
    ----------
    run_id, stream, strategy, order, seed : which run it is; `strategy` is the label.
    matrix : float64 (T, T), R[i, j] the accuracy (0..1) on test set j after training on i, NaN where not measured.
        Experiences are numbered by their position in the run's order.
    predicted : int32 (T, images), the class that each test image is taken for after each experience, -1 where no test
        followed.
    label : int32 (images,), the classes. experience : int32 (images,), the test set of each image.
    image : int32 (images,), its number in images.csv.gz; None in outputs of older versions.
    recording : str (images,), empty where it has none; None if the output says nothing of its images.
    head : int16 (T, images), which head answered, -1 for none; None where the model does not tell.
    scores : float16 (T, images, classes), probabilities; None without `evaluation.scores`.
    """

    run_id: str
    stream: str
    strategy: str
    order: int
    seed: int
    matrix: NDArray[np.float64]
    predicted: NDArray[np.integer]
    label: NDArray[np.integer]
    experience: NDArray[np.integer]
    image: NDArray[np.integer] | None = None
    recording: NDArray[np.str_] | None = None
    head: NDArray[np.integer] | None = None
    scores: NDArray[np.floating] | None = None


def value_of(name: str, metric: Metric, run: RunData) -> float:
    """What a metric says of a run. Raises UndefinedMetricError if it does, and InputError, naming metric and run, if it
    fails or its answer is no finite number."""
    try:
        value = metric(run)
    except UndefinedMetricError:
        raise
    except Exception as error:
        raise InputError(f"--metric {name}: run {run.run_id}: {reason_of(error)}") from error
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InputError(f"--metric {name}: run {run.run_id}: a number was expected, not {type(value).__name__}")
    if not math.isfinite(value):
        raise InputError(f"--metric {name}: run {run.run_id}: {value} is no finite number")
    return float(value)
