"""RanPAC: ridge regression on a random nonlinear projection of the features."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn
from torch.nn.functional import one_hot

from strategies.base import Context, Strategy
from strategies.closed_form import ClosedFormPlugin, SymmetricSum, earlier, scoring

RIDGES = tuple(10.0**power for power in range(-8, 9))
HELD_OUT = 5  # of the first experience every fifth sample of a class


class RandomProjection(nn.Module):
    """forward: features (batch, F) -> max(0, features @ W), (batch, width), for a fixed W (F, width) from N(0, 1/F)."""

    matrix: torch.Tensor

    def __init__(self, features: int, width: int, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(features, width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("matrix", drawn / features**0.5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features @ self.matrix).relu()


class Sums:
    """G = sum h h' and C = sum h y' over samples, of inputs h (M,) and one-hot labels y (classes,), float64.

    Attributes
    ----------
    gram : G. cross : C, (M, classes), empty at first. samples : how many.
    """

    def __init__(self) -> None:
        self.gram = SymmetricSum()
        self.cross = torch.zeros(0, dtype=torch.float64)
        self.samples = 0

    def add(self, h: torch.Tensor, labels: torch.Tensor) -> None:
        """Add h, float64 (batch, M), and one-hot labels, float64 (batch, classes)."""
        self.gram.add(h, h)
        self.cross = h.T @ labels + (self.cross if self.samples else 0)
        self.samples += len(h)

    def merge(self, other: Sums) -> None:
        """Add the samples of `other`."""
        self.gram.merge(other.gram)
        self.cross = other.cross + (self.cross if self.samples else 0)
        self.samples += other.samples

    def solve(self, ridge: float) -> torch.Tensor:
        """(G + ridge I)^-1 C, (M, classes). Raises LinAlgError where the ridge is too small for that in float64."""
        gram = self.gram.matrix()
        gram.diagonal().add_(ridge)
        return torch.cholesky_solve(self.cross, torch.linalg.cholesky(gram))

    def squared_error(self, weight: torch.Tensor) -> float:
        """Sum over the samples of |y - weight' h|^2, for weight (M, classes)."""
        return float((weight * (self.gram.matrix() @ weight - 2 * self.cross)).sum()) + self.samples


class Ridge:
    """Ridge regression of one-hot labels on inputs h, its weight chosen on samples held out of the first experience.

    Parameters
    ----------
    classes : how many.
    ridge : its weight; None: of 10^-8, 10^-7, ... 10^8 that with the least squared error on the samples held out,
        the larger of two equals. They are then counted as the others are. Where G grows too large to be inverted with
        a ridge in float64, the ridge grows tenfold.
    """

    def __init__(self, classes: int, ridge: float | None) -> None:
        self.counts = torch.zeros(classes, dtype=torch.int64)
        self.ridge = ridge
        self.sums = Sums()
        self.held_out = Sums()

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        labels = one_hot(y, len(self.counts)).to(x.dtype)
        counts = self.counts.to(x.device)
        number = counts[y] + earlier(labels).sum(dim=1).long()  # of each sample in its class, from 0
        self.counts = counts + labels.sum(dim=0).long()
        held = (number % HELD_OUT == HELD_OUT - 1) & (self.ridge is None)
        for sums, chosen in ((self.sums, ~held), (self.held_out, held)):
            if chosen.any():
                sums.add(x[chosen], labels[chosen])

    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.ridge is None:
            self.ridge = self._best()
        if self.held_out.samples:
            self.sums.merge(self.held_out)
            self.held_out = Sums()
        while True:
            try:
                weight = self.sums.solve(self.ridge).T
                break
            except torch.linalg.LinAlgError:
                if not torch.isfinite(self.sums.cross).all():
                    raise
                self.ridge *= 10
        self.sums.gram.pack()
        return scoring(self.counts, weight, weight.new_zeros(len(weight)))

    def _best(self) -> float:
        if not self.held_out.samples:
            return 1.0  # too few samples to hold one out: nothing to choose by
        errors = {}
        for ridge in reversed(RIDGES):
            try:
                errors[ridge] = self.held_out.squared_error(self.sums.solve(ridge))
            except torch.linalg.LinAlgError:  # and so with all that are smaller
                break
        return min(errors, key=lambda ridge: errors[ridge])


class RanPAC(Strategy, name="ranpac"):
    """RanPAC (McDonnell et al. 2023, NeurIPS): random projection, ReLU, ridge regression from accumulated sums.

    Features f become h = max(0, f W) with a fixed random W (F, M); the scores are C' (G + ridge I)^-1 h, from the sums
    G of h h' and C of h y' over all samples so far, y their one-hot labels. Every sample counts once, in any order, and
    none is kept. W has entries from N(0, 1/F) in place of N(0, 1), so that h is of the features' size: the same method
    with a ridge F times smaller. Nothing is trained on a frozen backbone; one that trains does so
    in the first experience only, by gradients, through the projection, and is frozen then (see `ClosedFormPlugin`);
    the paper's adaptation of its transformers in the first experience trains added parameters instead.

    projection: M, the width of h, 10,000 in the paper, where what is kept of G takes 400 MB and each experience one
    factorisation of it, the first one 17 more to choose the ridge. 2,000, with 16 MB, is our choice.
    ridge: its weight, or `held-out` (our choice): of 10^-8, 10^-7, ... 10^8 that with the least squared error on
    every fifth sample of each class of the first experience. Neighbouring frames of a video are alike: this favours
    small ones.
    """

    task_heads = False

    projection: PositiveInt = 2000
    ridge: PositiveFloat | Literal["held-out"] = "held-out"

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        projection = RandomProjection(context.feature_dim, self.projection, context.seed)
        model.head = nn.Sequential(projection, nn.Linear(self.projection, context.num_classes))
        return model

    def plugins(self, context: Context) -> list[Any]:
        return [ClosedFormPlugin(Ridge(context.num_classes, None if self.ridge == "held-out" else self.ridge))]
