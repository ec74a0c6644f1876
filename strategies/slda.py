"""Streaming linear discriminant analysis: class means and one covariance shared by all classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.closed_form import (
    NO_STEPS,
    ClosedFormPlugin,
    Means,
    SymmetricSum,
    scoring,
    with_linear_head,
)
from lorisbench.strategies.parts.shrinkage import Shrinkage, oas_share

Definition = Literal["paper", "lda"]


class StreamingLDA:
    """Means and covariance updated as if sample by sample, in whole batches, and the classifier they give.

    Hayes & Kanan (2020) update by sample z of class y, the t + 1st of all and the c_y + 1st of its class,

        Delta = t (z - mu_y)(z - mu_y)' / (t + 1),   Sigma <- (t Sigma + Delta) / (t + 1),
        mu_y <- (c_y mu_y + z) / (c_y + 1),          everything 0 at first,

    which is (t + 1) Sigma = sum_i w_i (z_i - m_i)(z_i - m_i)' with w_i = i / (i + 1) and the mean m_i that sample i met
    in its class: one matrix product a batch once the m_i are known. That is not quite the covariance within classes:
    the first sample of a class, which meets no mean, counts from 0. With w_i = c_i / (c_i + 1) instead, for the c_i
    samples met in the class, the same sum is the scatter within classes exactly (Welford 1962).

    Parameters
    ----------
    classes : how many.
    shrinkage : epsilon in 0..1, how far the covariance is moved towards the target; `oas`: as far as the oracle
        approximating shrinkage of all samples so far says (Chen et al. 2010, IEEE Trans. Signal Processing 58(10)), and
        with either definition towards the identity times the mean of the covariance's diagonal.
    definition : `paper`: w_i = i / (i + 1), the target is the identity, all classes are equally likely. `lda`: the
        scatter within classes, the target is the identity times the mean of the covariance's diagonal, a class is as
        likely as its samples are frequent; textbook linear discriminant analysis of all samples so far, in any order.
    """

    def __init__(self, classes: int, shrinkage: Shrinkage, definition: Definition) -> None:
        self.shrinkage = shrinkage
        self.definition = definition
        self.means = Means(classes)
        self.scatter = SymmetricSum()

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        before = int(self.means.counts.sum())
        met, met_mean = self.means.update(x, y)
        earlier = before + torch.arange(len(x), device=x.device) if self.definition == "paper" else met
        apart = x - met_mean
        weights = earlier.to(x.dtype) / (earlier + 1)
        self.scatter.add(apart, apart * weights[:, None])

    def covariance(self) -> torch.Tensor:
        """The shared covariance before shrinkage, float64 (F, F)."""
        return self.scatter.matrix() / self.means.counts.sum()

    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight L mu_k and bias -mu_k' L mu_k / 2 (+ log prior), for L the inverse of the shrunk covariance.

        Both are measured from the mean of all means, which changes all scores alike, so that float32 loses less.
        """
        means, counts = self.means.means, self.means.counts
        covariance = self.covariance()
        self.scatter.pack()
        shrinkage, level = self.shrinkage, float(covariance.diagonal().mean())
        if shrinkage == "oas":
            shrinkage = oas_share(float(covariance.square().mean()), level, int(counts.sum()), len(covariance))
        elif self.definition == "paper":
            level = 1.0
        target = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        # One sample per class leaves no variance at all
        shrunk = (1 - shrinkage) * covariance + shrinkage * (level if level > 0 else 1.0) * target
        centre = means[counts > 0].mean(dim=0)
        weight = torch.cholesky_solve((means - centre).T, torch.linalg.cholesky(shrunk)).T
        bias = -0.5 * (weight * (means + centre)).sum(dim=1)
        if self.definition == "lda":
            bias = bias + (counts / counts.sum()).log()
        return scoring(counts, weight, bias)


class SLDA(Strategy, name="slda"):
    """Deep streaming linear discriminant analysis (Hayes & Kanan 2020, CVPR Workshop on Continual Learning).

    Class means and one covariance of all classes, updated by each sample once, over the features of a backbone that
    does not change. With a frozen backbone nothing is trained; one that trains does so by gradients in the first
    experience only, and is then frozen (see `ClosedFormPlugin`). The paper can also start from the statistics of a
    first set of data, which is not done here: the stream's first sample is the first. The head is one linear layer,
    whatever `head.hidden` says. No sample is kept.

    shrinkage: of the covariance, 1e-4 in the paper, or `oas` (our choice, and DNN's too): the fewer samples there are
    for its width, the more it is shrunk. 1e-4 is far too little if few videos were seen: on the validation splits of
    OpenLORIS-Sim's 12 tasks (nothing here is random: any seed), the last row has 56.9 % on unseen recordings and 95.8 %
    on shared ones with 1e-4, 64.1 and 96.0 with `oas`. That treats the frames of a video as independent samples, which
    they are not: fixed values of 0.3 to 0.7 have 70 to 71 on unseen recordings, and 93 to 89 on shared ones.
    definition: `paper`, its recursion, or `lda`, textbook discriminant analysis of all samples so far, which is what
    scikit-learn's LinearDiscriminantAnalysis(solver="lsqr", shrinkage=...) gives; see `StreamingLDA`.
    """

    task_heads = False
    without_steps = NO_STEPS
    growing_heads = False
    deterministic = True
    tuned = {"shrinkage": ("choice", ["oas", 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])}
    tuned_from = 1

    shrinkage: Annotated[float, Field(gt=0, le=1)] | Literal["oas"] = "oas"
    definition: Literal["paper", "lda"] = "paper"

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return with_linear_head(model, context)

    def plugins(self, context: Context) -> list[Any]:
        return [ClosedFormPlugin(StreamingLDA(context.num_classes, self.shrinkage, self.definition))]
