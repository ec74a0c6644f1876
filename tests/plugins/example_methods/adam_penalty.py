"""A penalty: weights are held by how large Adam's own squared gradients were, which costs nothing to compute."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import NonNegativeFloat

from lorisbench import Context, InputError, Strategy


class AdamPenaltyPlugin(SupervisedPlugin):
    """Adds strength / 2 * sum of importance * (weight - anchor)^2 to the loss, from the second experience on.

    An experience adds Adam's second moment, without its bias, to the importance of each weight, and the weights after
    it are the anchor. Both are tensors in attributes: they count as the method's memory, and a checkpoint has them.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.importance: dict[str, torch.Tensor] = {}
        self.anchor: dict[str, torch.Tensor] = {}

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        if not isinstance(strategy.optimizer, torch.optim.Adam):
            raise InputError("adam-penalty reads the moments of Adam: set training.optimizer to adam or adamw")

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        for name, parameter in strategy.model.named_parameters():
            if name in self.anchor and parameter.requires_grad:
                pull = self.importance[name] * (parameter - self.anchor[name]).square()
                strategy.loss += 0.5 * self.strength * pull.sum()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        decay = strategy.optimizer.param_groups[0]["betas"][1]
        for name, parameter in strategy.model.named_parameters():
            moments = strategy.optimizer.state.get(parameter)
            if moments:  # none of what is frozen
                squares = moments["exp_avg_sq"] / (1 - decay ** float(moments["step"]))
                self.importance[name] = squares + self.importance.get(name, 0.0)
                self.anchor[name] = parameter.detach().clone()


class AdamPenalty(Strategy, name="adam-penalty"):
    """EWC (Kirkpatrick et al. 2017) with Adam's running squared gradients in place of the Fisher information.

    strength: our choice. The squares are of gradients of a batch's mean loss, so it depends on the batch size.
    """

    tuned = {"strength": ("log", 1.0, 1e5)}
    strength: NonNegativeFloat = 1000.0

    def plugins(self, context: Context) -> list[Any]:
        return [AdamPenaltyPlugin(self.strength)]
