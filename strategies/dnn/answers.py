"""Rules that need no feature statistics: which of several heads answers, given their log-probabilities."""

from __future__ import annotations

import math

import torch


def confidence(log_p: torch.Tensor) -> torch.Tensor:
    """For each image, the answer of the head with the highest maximal probability.

    log_p : log-probabilities (batch, heads, classes). Returns (batch, classes).
    """
    surest = log_p.amax(dim=2).argmax(dim=1)
    # not take_along_dim: traced for an export, it fixes the batch size
    return log_p.gather(1, surest[:, None, None].expand(-1, 1, log_p.shape[2])).squeeze(1)


def batch(log_p: torch.Tensor) -> torch.Tensor:
    """For all images of the batch, the answers of the one head with the highest mean of maximal probabilities.

    Transductive: an image's answer depends on the images it comes with, and assumes that they share one domain. A batch
    of one image is answered as by `confidence`.

    log_p : log-probabilities (batch, heads, classes). Returns (batch, classes).
    """
    surest = log_p.exp().amax(dim=2).mean(dim=0).argmax()
    return log_p.index_select(1, surest[None]).squeeze(1)


def mean(log_p: torch.Tensor) -> torch.Tensor:
    """The mean of all heads' probabilities.

    log_p : log-probabilities (batch, heads, classes). Returns (batch, classes).
    """
    return log_p.logsumexp(dim=1) - math.log(log_p.shape[1])
