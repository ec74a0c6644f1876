"""Dark Experience Replay++: samples from memory keep both their label and the logits they once had."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeFloat, PositiveInt
from torch.nn.functional import cross_entropy

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.der import DERPlugin
from lorisbench.strategies.parts.memory import Memory


class DERPlusPlusPlugin(DERPlugin):
    """Adds beta * CE(logits, labels), on a second draw from memory, to what `DERPlugin` does.

    Parameters
    ----------
    memory : holds (inputs as they were trained on, labels, logits). alpha, beta, replay_batch : see `DERPlusPlus`.
    """

    def __init__(self, memory: Memory, alpha: float, beta: float, replay_batch: int) -> None:
        super().__init__(memory, alpha, replay_batch)
        self.beta = beta

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        super().before_backward(strategy, **kwargs)
        if len(self.memory):
            x, y, _ = self.memory.draw(self.replay_batch)
            strategy.loss += self.beta * cross_entropy(strategy.model(x), y)


class DERPlusPlus(Strategy, name="der++"):
    """Dark Experience Replay++ (Buzzega et al. 2020, arXiv 2004.07211, eq. 6 and Algorithm 2).

    alpha: weight of the distance to stored logits, the mean of squares over samples and classes. beta: weight of the
    classification loss on memory. 0.1 and 0.5, the defaults of Avalanche's DER, are ours too.
    memory: samples kept, by reservoir sampling. replay_batch: samples in each of the two draws (both our choice).
    """

    growing_heads = False
    state_growth = "samples"
    tuned = {"alpha": ("log", 0.01, 1.0), "beta": ("log", 0.05, 5.0)}
    tuned_from = 1

    alpha: NonNegativeFloat = 0.1
    beta: NonNegativeFloat = 0.5
    memory: PositiveInt = 200
    replay_batch: PositiveInt = 32

    def replay_limit(self) -> int:
        return self.memory

    def plugins(self, context: Context) -> list[Any]:
        memory = Memory(self.memory, seed=context.seed)
        return [DERPlusPlusPlugin(memory, self.alpha, self.beta, self.replay_batch)]
