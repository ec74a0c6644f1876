"""How far a covariance from few samples is moved towards a multiple of the identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

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


def shrunk_correlation(covariance: torch.Tensor, diagonal: float, off_diagonal: float) -> torch.Tensor:
    """A covariance (F, F) shrunk, and divided by its standard deviations (Goswami et al. 2023, section 3.3).

    S + diagonal * V1 I + off_diagonal * V2 (1 - I), with V1 and V2 the means of its diagonal and of the rest; then each
    element over the deviations of its row and column. It has an inverse if off_diagonal is at most `diagonal`.
    """
    variances, width = covariance.diagonal().clamp(min=0), len(covariance)
    level = float(variances.mean())
    between = float(covariance.sum() - variances.sum()) / max(width * (width - 1), 1)
    shrunk = covariance + off_diagonal * between
    # Where nothing varies, as with a single sample, all features count the same
    shrunk.diagonal().copy_(variances + (diagonal * level if level > 1e-12 else 1.0))
    deviations = shrunk.diagonal().sqrt()
    correlation = shrunk / deviations / deviations[:, None]
    correlation.diagonal().add_(1e-6)
    return correlation
