"""Nearest class mean: an image is of the class whose mean feature is nearest."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import normalize

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.closed_form import NO_STEPS, ClosedFormPlugin, Means, scoring, with_linear_head

Metric = Literal["euclidean", "cosine"]


class NearestMean:
    """Running class means, and the linear classifier that answers with the class of the nearest.

    |x - mu_k|^2 = |x|^2 - 2 (mu_k' x - |mu_k|^2 / 2), so the nearest mean has the highest mu_k' x - |mu_k|^2 / 2.
    Here both are measured from the mean m of all means, which is common to all classes, so that float32 loses less.
    With `cosine` each feature is scaled to length 1 before it is averaged and so is each mean; |x| is common to all
    classes, so the nearest mean has the highest mu_k' x.
    """

    def __init__(self, classes: int, metric: Metric) -> None:
        self.metric = metric
        self.means = Means(classes)

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.means.update(normalize(x) if self.metric == "cosine" else x, y)

    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        means = self.means.means
        if self.metric == "cosine":
            return scoring(self.means.counts, normalize(means), means.new_zeros(len(means)))
        centre = means[self.means.counts > 0].mean(dim=0)
        weight = means - centre
        return scoring(self.means.counts, weight, -0.5 * (weight * (means + centre)).sum(dim=1))


class NCM(Strategy, name="ncm"):
    """Nearest class mean over features (Mensink et al. 2013), the running mean of all samples of a class seen.

    It is the classification rule of iCaRL (Rebuffi et al. 2017) with the means of all samples in place of exemplars'
    means; it keeps no exemplars. With a frozen backbone nothing is trained; one that trains does so by gradients in the
    first experience only, and is then frozen (see `ClosedFormPlugin`). The head is one linear layer, whatever
    `head.hidden` says.

    metric: `euclidean`, the distance of features as they are (our default); `cosine`, of features and means
    scaled to length 1, as in iCaRL.
    """

    task_heads = False
    without_steps = NO_STEPS
    growing_heads = False
    deterministic = True
    tuned = {"metric": ("choice", ["euclidean", "cosine"])}
    tuned_from = 1

    metric: Literal["euclidean", "cosine"] = "euclidean"

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return with_linear_head(model, context)

    def plugins(self, context: Context) -> list[Any]:
        return [ClosedFormPlugin(NearestMean(context.num_classes, self.metric))]
