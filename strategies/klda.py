"""KLDA, or RanDumb: linear discriminant analysis on random Fourier features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.closed_form import BATCH, NO_STEPS, ClosedFormPlugin
from lorisbench.strategies.parts.data import batches, evaluating
from lorisbench.strategies.slda import StreamingLDA


class RandomFourier(nn.Module):
    """forward: features (batch, F) -> sqrt(2 / M) cos(sqrt(2 gamma) W' x + b), (batch, M), for fixed W and b.

    Products of two such vectors approximate the kernel exp(-gamma |x - y|^2) (Rahimi & Recht 2007). W (F, M) is drawn
    from N(0, 1), b (M,) evenly from 0 to 2 pi.
    """

    matrix: torch.Tensor
    offset: torch.Tensor
    gamma: torch.Tensor

    def __init__(self, features: int, width: int, gamma: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("matrix", torch.randn(features, width, generator=generator))
        self.register_buffer("offset", 2 * torch.pi * torch.rand(width, generator=generator))
        self.register_buffer("gamma", torch.tensor(gamma))

    def scale(self, data: Iterable[torch.Tensor]) -> None:
        """Set gamma to 1 / (F * variance of all numbers in these features), parts of (samples, F)."""
        count, total, squares = 0, 0.0, 0.0
        for x in data:
            count += x.numel()
            total += float(x.double().sum())
            squares += float(x.double().square().sum())
        variance = squares / count - (total / count) ** 2
        self.gamma.fill_(1 / (len(self.matrix) * (variance if variance > 1e-12 else 1.0)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        angles = (2 * self.gamma).sqrt() * (features @ self.matrix) + self.offset
        return (2 / len(self.offset)) ** 0.5 * angles.cos()


class KLDAPlugin(ClosedFormPlugin):
    """Sets the kernel's gamma by the first experience, if it is not given, before statistics are taken."""

    def __init__(self, statistics: StreamingLDA, scaled: bool) -> None:
        super().__init__(statistics)
        self.scaled = scaled

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model = strategy.model
        if not self.scaled:
            with evaluating(model):
                data = batches(strategy, strategy.experience.dataset.eval(), BATCH)
                model.head[0].scale(model.features(x) for x, _ in data)
            self.scaled = True
        super().after_training_exp(strategy, **kwargs)


class KLDA(Strategy, name="klda"):
    """KLDA (Momeni et al. 2025, AAAI, arXiv 2412.15571), or RanDumb (Prabhu et al. 2024, arXiv 2402.08823).

    Features become random Fourier features of an RBF kernel; on these, class means and one covariance of all classes
    are updated by each sample once, and classify as in `slda`. RanDumb's reference script is scikit-learn's RBFSampler
    with gamma `scale` and LinearDiscriminantAnalysis with OAS, which the defaults follow; that scale is of the first
    experience here. KLDA's ensemble is left out. No sample is kept. With a frozen backbone nothing is trained; one that
    trains does so by gradients, through the Fourier features, in the first experience only, and is then frozen (see
    `ClosedFormPlugin`).

    width: M, how many Fourier features, 10,000 in RanDumb's script; 2,000, with 16 MB of statistics, is our choice.
    gamma: of the kernel, or `scale`: 1 / (F * variance of all numbers in the features).
    shrinkage: of the covariance, a share in (0, 1] or `oas`, as in `slda`.
    """

    task_heads = False
    without_steps = NO_STEPS
    growing_heads = False

    width: PositiveInt = 2000
    gamma: PositiveFloat | Literal["scale"] = "scale"
    shrinkage: Annotated[float, Field(gt=0, le=1)] | Literal["oas"] = "oas"

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        gamma = 1 / context.feature_dim if self.gamma == "scale" else self.gamma
        fourier = RandomFourier(context.feature_dim, self.width, gamma, context.seed)
        model.head = nn.Sequential(fourier, nn.Linear(self.width, context.num_classes))
        return model

    def plugins(self, context: Context) -> list[Any]:
        statistics = StreamingLDA(context.num_classes, self.shrinkage, "lda")
        return [KLDAPlugin(statistics, scaled=self.gamma != "scale")]
