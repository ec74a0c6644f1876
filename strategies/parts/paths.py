"""The path of the weights in training: how much each weight's steps lowered the loss of the task itself."""

from __future__ import annotations

from typing import Any

import torch

from lorisbench.strategies.parts.gradients import Tensors, trainable
from lorisbench.strategies.parts.springs import SpringPlugin, weights_now


class PathPlugin(SpringPlugin):
    """Springs whose importance comes from the path integral of -gradient * step, the base of SI and RWalk.

    The gradient is that of the loss without the springs' penalty (but with what other plugins added to it), as the
    springs pull only after it has been recorded: strength * importance * (weight - centre), the gradient of the
    penalty, is added to the gradients after the backward pass, and nothing to the loss. So one backward pass is enough.

    Attributes
    ----------
    path : by name, the sum over updates of -gradient * (weight after - weight before); empty between experiences.
    start : by name, the weights that the experience began with; empty between experiences.
    """

    def __init__(self, strength: float) -> None:
        super().__init__(strength)
        self.path: Tensors = {}
        self.start: Tensors = {}
        self._before: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        self.start = weights_now(strategy.model)
        self.path = {name: torch.zeros_like(weight) for name, weight in self.start.items()}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Nothing is added to the loss; see the class."""

    @torch.no_grad()
    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        self._before = {}
        for name, parameter in trainable(strategy.model).items():
            if parameter.grad is None:
                continue
            self._before[name] = parameter.detach().clone(), parameter.grad.clone()
            if name in self.importance:
                parameter.grad += self.strength * self.importance[name] * (parameter - self.centre[name])

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        live = trainable(strategy.model)
        for name, (weight, gradient) in self._before.items():
            self.path[name] -= gradient * (live[name] - weight)
        self._before = {}

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Hold the weights where they are now; subclasses turn the path into importance before they call this."""
        self.centre = weights_now(strategy.model)
        self.path, self.start = {}, {}
