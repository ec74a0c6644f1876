"""Springs that hold weights where they were: the quadratic penalty that EWC, SI, MAS, RWalk and L2-SP share."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from lorisbench.strategies.parts.gradients import Tensors, trainable


class SpringPlugin(SupervisedPlugin):
    """Adds half strength * sum over weights of importance * (weight - centre)^2 to the loss.

    So strength * importance is the stiffness of a weight's spring: the force on it per distance. Methods whose papers
    have no factor of one half pass twice their own lambda.

    Attributes
    ----------
    importance, centre : by parameter name, each shaped like its parameter; filled in by subclasses after (or before) an
        experience, for trainable parameters only.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.importance: Tensors = {}
        self.centre: Tensors = {}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Drop parameters that have been frozen or removed since they were consolidated, or never mattered.

        The output layer of a task to come has importance 0 everywhere. Its spring would give it a gradient of 0 where
        it has none at all, and weight decay would wear it down before its task begins.
        """
        there = still_there(self.importance, strategy.model)
        self.importance = {name: importance for name, importance in there.items() if bool(importance.any())}
        self.centre = still_there(self.centre, strategy.model)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.importance:
            strategy.loss.add_(self.penalty(strategy.model), alpha=self.strength)

    def penalty(self, model: nn.Module) -> torch.Tensor:
        """Half the sum of importance * (weight - centre)^2, a scalar with a gradient."""
        live = trainable(model)
        terms = [
            (importance * (live[name] - self.centre[name]).square()).sum()
            for name, importance in self.importance.items()
            if name in live
        ]
        return 0.5 * reduce(add, terms) if terms else torch.zeros(())


def still_there(values: Tensors, model: nn.Module) -> Tensors:
    """The values whose parameter is still trainable and of the same shape."""
    live = trainable(model)
    return {name: value for name, value in values.items() if name in live and value.shape == live[name].shape}


def weights_now(model: nn.Module) -> Tensors:
    """Copies of the trainable parameters, by name, that do not follow them (a detached view on the CPU would)."""
    return {name: parameter.detach().clone() for name, parameter in trainable(model).items()}
