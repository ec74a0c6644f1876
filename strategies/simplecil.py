"""SimpleCIL: the class whose mean feature points in the most similar direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.closed_form import NO_STEPS, ClosedFormPlugin, Means, scoring, with_linear_head


class Prototypes:
    """Running class means, and the linear classifier that answers with the class of the highest cosine.

    |x| is common to all classes, so the highest mu_k' x / |mu_k| is the highest cosine.
    """

    def __init__(self, classes: int) -> None:
        self.means = Means(classes)

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.means.update(x, y)

    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        means = self.means.means
        return scoring(self.means.counts, normalize(means), means.new_zeros(len(means)))


class SimpleCIL(Strategy, name="simplecil"):
    """SimpleCIL (Zhou et al. 2023, arXiv 2303.07338): class means of the features as prototypes, compared by cosine.

    `ncm` with `metric: cosine` also scales each feature to length 1 before it is averaged. A class has one prototype,
    the mean of all its samples so far. With a frozen backbone nothing is trained; one that trains does so by gradients
    in the first experience only, and is then frozen (see `ClosedFormPlugin`), as the paper's variant ADAM adapts its
    backbone. The head is one linear layer, whatever `head.hidden` says. No sample is kept.
    """

    task_heads = False
    without_steps = NO_STEPS
    growing_heads = False
    deterministic = True

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return with_linear_head(model, context)

    def plugins(self, context: Context) -> list[Any]:
        return [ClosedFormPlugin(Prototypes(context.num_classes))]
