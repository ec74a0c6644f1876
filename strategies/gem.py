"""Gradient Episodic Memory: no step may raise the loss on the memory of any earlier experience, to first order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from pydantic import NonNegativeFloat, PositiveInt
from scipy.optimize import nnls

from lorisbench.common.errors import InputError
from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.flat_gradients import flat, memory_gradient, write
from lorisbench.strategies.parts.gradients import trainable
from lorisbench.strategies.parts.memory import Memory, remember


def project(gradient: torch.Tensor, references: torch.Tensor, strength: float = 0.0) -> torch.Tensor:
    """The vector nearest to `gradient` whose dot product with no row of `references` is negative.

    It is g + G^T v, where v >= 0 minimises |G^T v + g|^2 (the dual, Lopez-Paz & Ranzato 2017, section 3), a
    non-negative least-squares problem; it is solved from the k x k matrix G G^T alone, via its square root. `strength`
    replaces 0 as the lower bound of v, and so favours what helps the memories. A gradient that no row opposes is
    returned as it is.

    Parameters
    ----------
    gradient : g, (parameters,). references : G, (k, parameters).
    """
    if bool((references @ gradient >= 0).all()):
        return gradient
    rows = references.double()
    shifted = gradient.double() + strength * rows.sum(dim=0)
    # rows of length 1 (a row of zeros stays): the scale of a constraint means nothing, but spoils the square root
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    values, vectors = np.linalg.eigh((rows @ rows.T).cpu().numpy())
    wide = values > values[-1] * len(values) * np.finfo(values.dtype).eps
    values, vectors = values[wide], vectors[:, wide]
    # |A v - b|^2 with A^T A = G G^T and A^T b = -G g is |G^T v + g|^2 up to a constant
    root = np.sqrt(values)[:, None] * vectors.T
    target = -(vectors.T @ (rows @ shifted).cpu().numpy()) / np.sqrt(values)
    weights = torch.from_numpy(nnls(root, target)[0]).to(rows)
    return (shifted + weights @ rows).to(gradient.dtype)


class GEMPlugin(SupervisedPlugin):
    """Projects the gradient of each batch against those of all memories, one per earlier experience.

    Parameters
    ----------
    samples : kept from each experience, drawn uniformly. strength : see `GEM`. seed : of the draws.

    Attributes
    ----------
    memories : each holds (inputs, labels, task labels). replay_samples : samples in all of them. owns_samples : True,
        they are among the plugin's tensors.
    """

    owns_samples = True

    def __init__(self, samples: int, strength: float, seed: int) -> None:
        super().__init__()
        self.samples = samples
        self.strength = strength
        self.seed = seed
        self.memories: list[Memory] = []

    @property
    def replay_samples(self) -> int:
        return sum(map(len, self.memories))

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        if not self.memories:
            return
        parameters = list(trainable(strategy.model).values())
        references = [memory_gradient(strategy.model, parameters, *memory.fields[:2]) for memory in self.memories]
        gradient = flat(parameters, [p.grad for p in parameters])
        write(parameters, project(gradient, torch.stack(references), self.strength))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        memory = Memory(self.samples, seed=self.seed + len(self.memories))
        remember(memory, strategy)
        self.memories.append(memory)


class GEM(Strategy, name="gem"):
    """Gradient Episodic Memory (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, section 3).

    Only the gradient is projected, so the step that Adam, or an optimizer with momentum, makes of it may still go
    against a memory.

    memory: samples kept in all, an equal part for each experience of the stream as in the paper, which keeps the last
    samples of an experience, whereas this draws from all of them (200: our choice).
    strength: the paper's memory strength gamma, 0.5 as in Avalanche's GEM.
    """

    state_growth = "experiences"
    tuned = {"strength": ("linear", 0.0, 1.0)}

    memory: PositiveInt = 200
    strength: NonNegativeFloat = 0.5

    def replay_limit(self) -> int:
        return self.memory

    def plugins(self, context: Context) -> list[Any]:
        samples = self.memory // context.experiences
        if not samples:
            raise InputError(
                f"gem: a memory of {self.memory} is too small for a sample of each of {context.experiences} experiences"
            )
        return [GEMPlugin(samples, self.strength, context.seed)]
