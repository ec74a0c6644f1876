"""FeCAM: the class with the least Mahalanobis distance, by a covariance of its own."""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import nn
from torch.nn.functional import normalize

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.closed_form import NO_STEPS, ClosedFormPlugin, Means, SymmetricSum
from lorisbench.strategies.parts.shrinkage import shrunk_correlation


def tukey(x: torch.Tensor, power: float) -> torch.Tensor:
    """Tukey's transform, |x|^power with the sign of x: what of a skewed feature comes closer to a Gaussian."""
    return x.sign() * x.abs().pow(power)


class ClassCovariances:
    """Mean and covariance of each class, of all transformed samples so far, from sums of x x' in float64."""

    def __init__(self, classes: int, power: float, diagonal: float, off_diagonal: float) -> None:
        self.power, self.diagonal, self.off_diagonal = power, diagonal, off_diagonal
        self.means = Means(classes)
        self.moments = [SymmetricSum() for _ in range(classes)]

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.means.update(x := tukey(x, self.power), y)
        for label in y.unique().tolist():
            self.moments[label].add(x[y == label], x[y == label])

    def whitening(self, label: int) -> torch.Tensor:
        """L^-1, (F, F), for the shrunk and normalised covariance L L' of a class that has samples."""
        mean, count = self.means.means[label], int(self.means.counts[label])
        covariance = (self.moments[label].matrix() - count * torch.outer(mean, mean)) / max(count - 1, 1)
        self.moments[label].pack()
        correlation = shrunk_correlation(covariance, self.diagonal, self.off_diagonal)
        factor = torch.linalg.cholesky(correlation)
        return torch.linalg.solve_triangular(factor, torch.eye(len(factor)).to(factor), upper=False)


class MahalanobisHead(nn.Linear):
    """A linear layer until `take` has been called, then minus the squared distance to each class.

    Buffers (empty until then)
    -------
    centres : float32 (K, F), means scaled to length 1. whiteners : float32 (K, F, F), see `ClassCovariances.whitening`.
    seen : bool (K,), which classes have samples; the others never answer.
    """

    centres: torch.Tensor
    whiteners: torch.Tensor
    seen: torch.Tensor

    def __init__(self, features: int, classes: int, power: float) -> None:
        super().__init__(features, classes)
        self.power = power
        self.register_buffer("centres", torch.zeros(0, features))
        self.register_buffer("whiteners", torch.zeros(0, features, features))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.bool))

    def take(self, statistics: ClassCovariances) -> None:
        """Take over what the statistics say."""
        means, self.seen = statistics.means.means, statistics.means.counts > 0
        absent = means.new_zeros(means.shape[1], means.shape[1])
        found = [statistics.whitening(k) if known else absent for k, known in enumerate(self.seen.tolist())]
        self.centres, self.whiteners = normalize(means).float(), torch.stack([each.float() for each in found])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if not len(self.seen):
            return super().forward(features)
        x = normalize(tukey(features, self.power))
        pairs = zip(self.centres, self.whiteners, strict=True)
        distances = torch.stack([((x - centre) @ rows.T).square().sum(dim=1) for centre, rows in pairs], dim=1)
        return torch.where(self.seen, -distances, -torch.inf)


class FeCAMPlugin(ClosedFormPlugin):
    def write(self, layer: Any) -> None:
        layer.take(self.statistics)


class FeCAM(Strategy, name="fecam"):
    """FeCAM (Goswami et al. 2023, NeurIPS, arXiv 2309.14062): Mahalanobis distance with a covariance for each class.

    Features go through Tukey's transform; each class has a mean and a covariance S, shrunk to S + diagonal * V1 I +
    off_diagonal * V2 (1 - I), with V1 and V2 the means of its diagonal and of the rest, and divided by its standard
    deviations. Feature and mean are scaled to length 1 before their distance is taken. Both are of all samples so far,
    in any order (our choice: the authors' script for new domains averages the covariances of old and new data). No
    sample is kept, but K covariances: 105 MB for 16 classes of 1,280 features, as much in the model. A backbone that
    trains does so in the first experience only (see `ClosedFormPlugin`). `head.hidden` is ignored.

    power: of Tukey's transform, 0.5 in the paper; with the sign of the feature, as some are below 0 here.
    diagonal, off_diagonal: of the shrinkage, both 1 in the paper.
    """

    task_heads = False
    without_steps = NO_STEPS
    growing_heads = False
    deterministic = True

    power: Annotated[float, Field(gt=0, le=1)] = 0.5
    diagonal: PositiveFloat = 1.0
    off_diagonal: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _positive_definite(self) -> Self:
        if self.off_diagonal > self.diagonal:
            raise ValueError("off_diagonal may not be larger than diagonal: the covariance might have no inverse")
        return self

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        model.head = MahalanobisHead(context.feature_dim, context.num_classes, self.power)
        return model

    def plugins(self, context: Context) -> list[Any]:
        statistics = ClassCovariances(context.num_classes, self.power, self.diagonal, self.off_diagonal)
        return [FeCAMPlugin(statistics)]
