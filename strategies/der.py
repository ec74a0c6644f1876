"""Dark Experience Replay: samples from memory keep the logits that they once had."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeFloat, PositiveInt
from torch.nn.functional import mse_loss

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.memory import Memory, MemoryPlugin


class DERPlugin(MemoryPlugin):
    """Adds alpha * MSE(logits, stored logits) on a draw from memory.

    After each step the batch, with its logits from that step, is offered to the memory. So from the first batch on the
    memory holds a uniform sample of everything trained on, the current experience included, and a sample offered in
    several epochs may be there more than once, with the logits of different epochs.

    Parameters
    ----------
    memory : holds (inputs as they were trained on, labels, logits). alpha, replay_batch : see `DER`.
    """

    def __init__(self, memory: Memory, alpha: float, replay_batch: int) -> None:
        super().__init__(memory)
        self.alpha = alpha
        self.replay_batch = replay_batch

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if len(self.memory):
            x, _, logits = self.memory.draw(self.replay_batch)
            strategy.loss += self.alpha * mse_loss(strategy.model(x), logits)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.memory.add(strategy.mb_x, strategy.mb_y, strategy.mb_output)


class DER(Strategy, name="der"):
    """Dark Experience Replay (Buzzega et al. 2020, arXiv 2004.07211, eq. 5 and Algorithm 1).

    alpha: weight of the distance to stored logits, the mean of squares over samples and classes; 0.1, the default of
    Avalanche's DER, is ours too. memory: samples kept, by reservoir sampling. replay_batch: samples in each draw (both
    our choice).
    """

    growing_heads = False
    state_growth = "samples"
    tuned = {"alpha": ("log", 0.01, 1.0)}
    tuned_from = 1

    alpha: NonNegativeFloat = 0.1
    memory: PositiveInt = 200
    replay_batch: PositiveInt = 32

    def replay_limit(self) -> int:
        return self.memory

    def plugins(self, context: Context) -> list[Any]:
        return [DERPlugin(Memory(self.memory, seed=context.seed), self.alpha, self.replay_batch)]
