"""DNN's heads, weighed as DCE weighs its experts: by a selector trained on pseudo-features of the classes seen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import PositiveFloat, PositiveInt
from torch.nn import functional as F

from lorisbench.engine.strategy import Context
from lorisbench.strategies.dnn.router import GaussianRouter
from lorisbench.strategies.dnn.strategy import DynamicHeads
from lorisbench.strategies.parts.fitting import minimise


class ExpertSelector(GaussianRouter):
    """A linear layer whose softmax weighs the domains' heads, trained on samples of the Gaussians that are kept.

    The Gaussians are those of `GaussianRouter`: a mean for each class of each domain and one shrunk covariance.

    Buffers
    -------
    selector (D, F), selector_bias (D,) : float32; `weight` and `bias` are the same.
    """

    selector: torch.Tensor
    selector_bias: torch.Tensor

    def __init__(self, samples: int, epochs: int, lr: float, seed: int) -> None:
        super().__init__()
        self.samples, self.epochs, self.lr, self.seed = samples, epochs, lr, seed
        self.register_buffer("selector", torch.zeros(0, 0))
        self.register_buffer("selector_bias", torch.zeros(0))

    def solve(self) -> None:
        self.weight, self.bias = self.selector, self.selector_bias

    def draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """As many pseudo-features of each class of each domain, float32 (count, F), and their classes, (count,)."""
        domain, label = (self.counts > 0).nonzero().repeat_interleave(self.samples, dim=0).unbind(dim=1)
        noise = torch.randn(len(label), self.means.shape[2], generator=generator).to(self.means.device)
        factor = torch.linalg.cholesky(self.covariance()).float()
        return self.means[domain, label] + noise @ factor.T, label

    @torch.no_grad()
    def fit(self, logits: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Train the selector anew, to make the weighted heads right on pseudo-features of all classes."""
        generator = torch.Generator().manual_seed(1000 * self.seed + int(self.counts.sum()))
        x, label = self.draw(generator)
        chances = logits(x).index_select(1, self.domain_head).softmax(dim=2)
        right = chances[torch.arange(len(x), device=x.device), :, label]  # of each domain's head, (count, D)
        centre, scale = x.mean(dim=0), x.std(dim=0, correction=0).mean().clamp(min=1e-6)
        standard = (x - centre) / scale
        selector, bias = x.new_zeros(self.domains, x.shape[1]), x.new_zeros(self.domains)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            weights = F.linear(standard[rows], selector, bias).softmax(dim=1)
            return -(weights * right[rows]).sum(dim=1).clamp_min(torch.finfo(x.dtype).tiny).log()

        if self.domains > 1:
            minimise([selector, bias], loss, len(x), generator, epochs=self.epochs, lr=self.lr)
        self.selector, self.selector_bias = selector / scale, bias - selector @ centre / scale
        self.solve()

    def domain_weights(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.softmax(dim=1)


class DCE(DynamicHeads, name="dnn-dce"):
    """DNN's heads, weighed by the expert selector of DCE (Dual-balance Collaborative Experts, arXiv 2507.07100, 2025).

    After each experience a selector is trained so that the heads, weighed by it, answer right on pseudo-features: as
    many samples of a Gaussian for each class of each domain, so that rare ones count as much. The paper's three experts
    an experience, for frequent and rare classes, are not here: heads are made and trained as those of `dnn`, with the
    same settings. Its selector is a network; here it is a linear layer, and the Gaussians share one covariance.

    samples: of each class of each domain (our choice). epochs, lr: of the selector's training by Adam (our choice).
    """

    samples: PositiveInt = 50
    epochs: PositiveInt = 10
    lr: PositiveFloat = 0.003

    def router(self, context: Context) -> ExpertSelector:
        return ExpertSelector(self.samples, self.epochs, self.lr, context.seed)
