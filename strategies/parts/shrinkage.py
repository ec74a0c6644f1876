"""How far a covariance from few samples is moved towards a multiple of the identity."""

from __future__ import annotations

from typing import Literal

Shrinkage = float | Literal["oas"]
"""A share in (0, 1], or `oas`: the share from `oas_share`."""


def oas_share(mean_square: float, level: float, samples: int, width: int) -> float:
    """The share of the identity according to Chen et al. (2010, eq. 23), without its terms in 2 / width.

    Parameters
    ----------
    mean_square : mean of the squared elements of the covariance, tr(S^2) / width^2.
    level : mean of its diagonal, tr(S) / width.

    Returns
    -------
    In 0..1; 1 where the covariance is a multiple of the identity already.
    """
    above = mean_square + level**2
    below = (samples + 1) * (mean_square - level**2 / width)
    return 1.0 if below <= 0 else min(1.0, above / below)
