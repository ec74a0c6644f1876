"""Averaged Gradient Episodic Memory: no step may raise the loss on a batch from memory, to first order."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.flat_gradients import flat, memory_gradient, write
from lorisbench.strategies.parts.gradients import trainable
from lorisbench.strategies.parts.memory import Memory, MemoryPlugin, remember


def averaged_projection(gradient: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The vector nearest to `gradient` whose dot product with `reference` is at least 0, both (parameters,)."""
    against = (gradient @ reference).clamp(max=0)
    # no branch: reading the sign would wait for the device in each step
    return gradient - against / (reference @ reference).clamp(min=torch.finfo(reference.dtype).tiny) * reference


class AGEMPlugin(MemoryPlugin):
    """Projects the gradient of each batch against that of a draw from the memory of earlier experiences.

    Parameters
    ----------
    memory : holds (inputs, labels, task labels). reference_batch : see `AGEM`.
    """

    def __init__(self, memory: Memory, reference_batch: int) -> None:
        super().__init__(memory)
        self.reference_batch = reference_batch

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        if not len(self.memory):
            return
        parameters = list(trainable(strategy.model).values())
        x, y, _ = self.memory.draw(self.reference_batch)
        reference = memory_gradient(strategy.model, parameters, x, y)
        write(parameters, averaged_projection(flat(parameters, [p.grad for p in parameters]), reference))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        remember(self.memory, strategy)


class AGEM(Strategy, name="agem"):
    """Averaged GEM (Chaudhry et al. 2019, arXiv 1812.00420, section 4).

    Only the gradient is projected, so the step that Adam, or an optimizer with momentum, makes of it may still go
    against the memory.

    memory: samples kept, a uniform sample of all experiences (the paper keeps equally many of each class and task).
    reference_batch: samples drawn for each reference gradient. Both defaults are our choice.
    """

    state_growth = "samples"

    memory: PositiveInt = 200
    reference_batch: PositiveInt = 64

    def replay_limit(self) -> int:
        return self.memory

    def plugins(self, context: Context) -> list[Any]:
        return [AGEMPlugin(Memory(self.memory, seed=context.seed), self.reference_batch)]
