"""DNN's heads, chosen as SOYO chooses its parameters: by a domain classifier trained on samples of mixtures."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt
from torch.nn import functional as F

from lorisbench.engine.strategy import Context
from lorisbench.strategies.dnn.domains import Gate
from lorisbench.strategies.dnn.strategy import DynamicHeads
from lorisbench.strategies.parts.clusters import Mixture, clusters, mixture
from lorisbench.strategies.parts.fitting import minimise


class DomainClassifier(Gate):
    """The domain that a linear classifier answers with, trained on the newest domain and on samples of the others.

    Buffers
    -------
    weights (D, k), means (D, k, F), variances (D, k, F) : float32, each domain's mixture. selector (D, F),
    selector_bias (D,) : float32, the classifier.
    """

    weights: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor
    selector: torch.Tensor
    selector_bias: torch.Tensor

    def __init__(self, components: int, epochs: int, lr: float, seed: int) -> None:
        super().__init__(
            seed, weights=(0, components), means=(0, components, 0), variances=(0, components, 0), selector=(0, 0),
            selector_bias=(0,),
        )  # fmt: skip
        self.components, self.epochs, self.lr = components, epochs, lr

    def learn(self, x: torch.Tensor, generator: torch.Generator) -> None:
        earlier = [Mixture(*parts) for parts in zip(self.weights, self.means, self.variances, strict=True)]
        drawn = [of.draw(len(x), generator) for of in earlier]
        samples, domain = torch.cat([*drawn, x]), torch.arange(len(earlier) + 1).repeat_interleave(len(x)).to(x.device)
        centre, scale = samples.mean(dim=0), samples.std(dim=0, correction=0).mean().clamp(min=1e-6)
        standard = (samples - centre) / scale
        selector, bias = x.new_zeros(len(earlier) + 1, x.shape[1]), x.new_zeros(len(earlier) + 1)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(F.linear(standard[rows], selector, bias), domain[rows], reduction="none")

        if earlier:
            minimise([selector, bias], loss, len(samples), generator, epochs=self.epochs, lr=self.lr)
        self.selector, self.selector_bias = selector / scale, bias - selector @ centre / scale
        centres = clusters(x, self.components, generator)
        for name, rows in mixture(x.double(), centres.double())._asdict().items():
            self.append(name, rows)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        return F.linear(features, self.selector, self.selector_bias)


class SOYO(DynamicHeads, name="dnn-soyo"):
    """DNN's heads, of which a trained domain classifier chooses one (SOYO: Wang et al. 2025, CVPR, arXiv 2505.23744).

    Of each experience a mixture of Gaussians of its features is kept; after each later one a linear classifier of
    experiences is trained anew, on as many samples of every earlier mixture as there are new features. The head of the
    experience that it answers with answers. Cut down to the features of the last layer: the paper fuses those of
    several layers, and keeps full covariances, where here they are diagonal. Heads are made and trained as those of
    `dnn`, with the same settings.

    components: of each mixture, 2 in the authors' code. epochs, lr: of the classifier's training by Adam (our choice).
    """

    components: PositiveInt = 2
    epochs: PositiveInt = 10
    lr: PositiveFloat = 0.003

    def router(self, context: Context) -> DomainClassifier:
        return DomainClassifier(self.components, self.epochs, self.lr, context.seed)
