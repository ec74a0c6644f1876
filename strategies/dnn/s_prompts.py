"""DNN's heads, chosen as S-Prompts chooses its prompts: by the nearest of a few cluster centres a domain."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch.nn.functional import normalize

from lorisbench.engine.strategy import Context
from lorisbench.strategies.dnn.domains import Gate
from lorisbench.strategies.dnn.strategy import DynamicHeads
from lorisbench.strategies.parts.clusters import clusters


class NearestCentre(Gate):
    """The domain of the nearest cluster centre, by L1, of features scaled to length 1.

    Buffers
    -------
    centres : float32 (D, count, F), those of k-means within each domain.
    """

    centres: torch.Tensor

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(seed, centres=(0, count, 0))
        self.count = count

    def learn(self, x: torch.Tensor, generator: torch.Generator) -> None:
        self.append("centres", clusters(normalize(x), self.count, generator))

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        unit = normalize(features)
        # Domain by domain: the differences of all at once would take D times the memory
        apart = [(unit[:, None] - centres).abs().sum(dim=2).amin(dim=1) for centres in self.centres]
        return -torch.stack(apart, dim=1)


class SPrompts(DynamicHeads, name="dnn-s-prompts"):
    """DNN's heads, of which the router of S-Prompts chooses one (Wang et al. 2022, NeurIPS, arXiv 2207.12819).

    After each experience its features, scaled to length 1, are clustered by k-means; an image is answered by the head
    of the experience that has the nearest centre, by L1. The paper's prompts are not here: heads are made and trained
    as those of `dnn`, with the same settings.

    centres: of each experience, 5 in the paper.
    """

    centres: PositiveInt = 5

    def router(self, context: Context) -> NearestCentre:
        return NearestCentre(self.centres, context.seed)
