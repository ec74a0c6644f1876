"""Means with Student-t intervals over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats has it too, and takes seconds to import


@dataclass(frozen=True)
class Interval:
    """A mean, the half-width of its interval (both in the unit of the values), and the number of values.

    `half_width` is NaN with fewer than two values (one value says nothing about its spread), `mean` with none.
    """

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """Lower end, NaN without an interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end, NaN without an interval."""
        return self.mean + self.half_width


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean and two-sided Student-t interval of independent values, one per seed.

    Non-finite values count as missing. The half-width is t · s / √n, with t the (1 + confidence)/2
    quantile of Student's t with n − 1 degrees of freedom and s the sample standard deviation (n − 1).
    Raises ValueError unless 0 < confidence < 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    numbers = np.asarray(list(values), dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    count = len(numbers)
    if count == 0:
        return Interval(float("nan"), float("nan"), 0)
    # Equal values have no spread, but their sum may be rounded: a spread of 1e-17 would be mere noise.
    if np.all(numbers == numbers[0]):
        return Interval(float(numbers[0]), 0.0 if count > 1 else float("nan"), count)
    mean = float(numbers.mean())
    quantile = float(stdtrit(count - 1, 0.5 + confidence / 2))
    return Interval(mean, quantile * float(numbers.std(ddof=1)) / float(np.sqrt(count)), count)
