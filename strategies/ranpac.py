"""RanPAC: ridge regression on a random nonlinear projection of the features."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn
from torch.nn.functional import one_hot

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.closed_form import NO_STEPS, ClosedFormPlugin, SymmetricSum, earlier, scoring

RIDGES = tuple(10.0**power for power in range(-8, 9))
HELD_OUT = 5  # every fifth sample of a class in the first experience
SPARE = 10  # random directions beyond the rank: with as many as the rank, the worst may be missed by chance


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

    def equations(self) -> Equations:
        """The sums in full."""
        return Equations(self.gram.matrix(), self.cross, self.samples)


class Equations(NamedTuple):
    """G, (M, M), and C, (M, classes), in full, and the number of samples: what ridge regression is solved from."""

    gram: torch.Tensor
    cross: torch.Tensor
    samples: int

    def solve(self, ridge: float) -> torch.Tensor:
        """(G + ridge I)^-1 C, (M, classes). Raises LinAlgError if the ridge is too small for that in float64."""
        return torch.cholesky_solve(self.cross, torch.linalg.cholesky(self._ridged(ridge)))

    def solvable(self, ridge: float) -> bool:
        """Whether `solve` works with this ridge."""
        return not torch.linalg.cholesky_ex(self._ridged(ridge)).info

    def _ridged(self, ridge: float) -> torch.Tensor:
        gram = self.gram.clone()
        gram.diagonal().add_(ridge)
        return gram

    def squared_error(self, weight: torch.Tensor) -> float:
        """Sum over the samples of |y - weight' h|^2, for weight (M, classes)."""
        return float((weight * (self.gram @ weight - 2 * self.cross)).sum()) + self.samples

    def span(self) -> torch.Tensor | None:
        """Orthonormal columns, (M, k), in whose span all h lie; None if k is not below half of M.

        G of n samples has rank n at most: its products with n random vectors and a few more span what it spans (Halko,
        Martinsson & Tropp 2011, SIAM Review 53(2), section 4). The samples themselves are not needed.
        """
        width, k = len(self.gram), self.samples + SPARE
        if 2 * k >= width:
            return None
        drawn = torch.randn(width, k, dtype=self.gram.dtype, generator=torch.Generator().manual_seed(0))
        return torch.linalg.qr(self.gram @ drawn.to(self.gram.device)).Q

    def within(self, basis: torch.Tensor) -> Equations:
        """The same equations for basis' h, (k,), in place of h."""
        return Equations(basis.T @ (self.gram @ basis), basis.T @ self.cross, self.samples)


def best_ridge(seen: Equations, held_out: Equations) -> float:
    """The one of RIDGES, solved from `seen`, with the least squared error on `held_out`; on a tie, the larger.

    A ridge with which G + ridge I, with the G of `seen`, has no Cholesky factor in float64 is refused. Raises
    LinAlgError if all are.
    """
    basis = seen.span()
    # The weights lie in the span, so ridges are compared there; in full it is only checked that the best is solvable
    small, small_held_out = (seen, held_out) if basis is None else (seen.within(basis), held_out.within(basis))
    errors = {}
    for ridge in reversed(RIDGES):
        try:
            errors[ridge] = small_held_out.squared_error(small.solve(ridge))
        except torch.linalg.LinAlgError:  # and all smaller ones would fail too
            break
    for ridge in sorted(errors, key=lambda ridge: errors[ridge]):
        if seen.solvable(ridge):
            return ridge
    raise torch.linalg.LinAlgError("G + ridge I has no Cholesky factor with any ridge")


class Ridge:
    """Ridge regression of one-hot labels on inputs h, its weight chosen on samples held out from the first experience.

    Parameters
    ----------
    classes : how many.
    ridge : its weight; None: the one of 10^-8, 10^-7, ... 10^8 with the least squared error on the samples held out (on
        a tie, the larger). They then count like the others. If G grows too large to be inverted with a ridge in
        float64, the ridge grows tenfold.
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
        if self.held_out.samples:
            self.ridge = best_ridge(self.sums.equations(), self.held_out.equations())
            self.sums.merge(self.held_out)
            self.held_out = Sums()
        if self.ridge is None:
            self.ridge = 1.0  # too few samples to hold one out: nothing to choose by
        equations = self.sums.equations()
        while True:
            try:
                weight = equations.solve(self.ridge).T
                break
            except torch.linalg.LinAlgError:
                if not torch.isfinite(equations.cross).all():
                    raise
                self.ridge *= 10
        self.sums.gram.pack()
        return scoring(self.counts, weight, weight.new_zeros(len(weight)))


class RanPAC(Strategy, name="ranpac"):
    """RanPAC (McDonnell et al. 2023, NeurIPS): random projection, ReLU, ridge regression from accumulated sums.

    Features f become h = max(0, f W) with a fixed random W (F, M); the scores are C' (G + ridge I)^-1 h, from the sums
    G of h h' and C of h y' over all samples so far, y their one-hot labels. Every sample counts once, in any order, and
    none is kept. W has entries from N(0, 1/F) in place of N(0, 1), so that h has the features' scale: the same method
    with a ridge F times smaller. With a frozen backbone nothing is trained; one that trains does so by gradients,
    through the projection, in the first experience only, and is then frozen (see `ClosedFormPlugin`); the paper's
    adaptation of its transformers in the first experience trains added parameters instead.

    projection: M, the width of h, 10,000 in the paper, where the stored part of G takes 400 MB and each experience
    needs one factorisation of it; to choose the ridge, the first one needs up to 18 more, and one more if it has fewer
    than M / 2 samples. 2,000, with 16 MB, is our choice.
    ridge: its weight, or `held-out` (our choice): the one of 10^-8, 10^-7, ... 10^8 with the least squared error on
    every fifth sample of each class in the first experience. Neighbouring frames of a video are alike, which favours
    small ridges.
    """

    task_heads = False
    without_steps = NO_STEPS
    growing_heads = False

    projection: PositiveInt = 2000
    ridge: PositiveFloat | Literal["held-out"] = "held-out"

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        projection = RandomProjection(context.feature_dim, self.projection, context.seed)
        model.head = nn.Sequential(projection, nn.Linear(self.projection, context.num_classes))
        return model

    def plugins(self, context: Context) -> list[Any]:
        return [ClosedFormPlugin(Ridge(context.num_classes, None if self.ridge == "held-out" else self.ridge))]
