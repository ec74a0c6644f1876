"""Nearest class mean: an image is of the class whose mean feature is nearest."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import normalize

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.closed_form import ClosedFormPlugin, Means, scoring, with_linear_head

Metric = Literal["euclidean", "cosine"]


class NearestMean:
    """Running class means, and the linear classifier that answers with the class of the nearest.

    |x - mu_k|^2 = |x|^2 - 2 (mu_k' x - |mu_k|^2 / 2), so the nearest mean has the highest mu_k' x - |mu_k|^2 / 2.
    Here both are taken from the mean m of all means, which is common to all classes: float32 loses less so. With
    `cosine` each feature is scaled to length 1 before it is averaged and so is each mean, and |x| is common to all
    classes: the highest mu_k' x.
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

    It is the classification rule of iCaRL (Rebuffi et al. 2017) with the means of all samples in place of those of
    exemplars, of which it keeps none. Nothing is trained on a frozen backbone; one that trains does so in the first
    experience only, by gradients, and is frozen then (see `ClosedFormPlugin`). The head is one linear layer, whatever
    `head.hidden` says.

    metric: `euclidean`, the distance of features as they are (our choice as default); `cosine`, of features and means
    scaled to length 1, as in iCaRL.
    """

    task_heads = False
    tuned = {"metric": ("choice", ["euclidean", "cosine"])}

    metric: Literal["euclidean", "cosine"] = "euclidean"

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return with_linear_head(model, context)

    def plugins(self, context: Context) -> list[Any]:
        return [ClosedFormPlugin(NearestMean(context.num_classes, self.metric))]
