"""Synaptic Intelligence: weights whose steps lowered the loss are held by springs."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.gradients import trainable
from lorisbench.strategies.parts.paths import PathPlugin


class SIPlugin(PathPlugin):
    """Adds c * sum of Omega (theta - theta_last)^2 to the loss, Omega grown by path / (shift^2 + xi) per experience.

    Zenke et al. 2017, eq. 4 (the surrogate loss, without a half) and 5 (Omega), with the shift of a weight over the
    experience and `path` as in `PathPlugin` (their omega, eq. 3). After each experience Omega, the sum of old and new,
    is clamped at 0 from below, as in the authors' code (pathint, `protocols.py`): a weight whose steps raised the loss
    would otherwise be pushed away from its place.

    Attributes
    ----------
    importance, centre : Omega and theta_last, by parameter name.
    """

    def __init__(self, si_lambda: float, xi: float) -> None:
        super().__init__(2 * si_lambda)
        self.xi = xi

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        for name, parameter in trainable(strategy.model).items():
            shift = parameter.detach() - self.start[name]
            grown = self.path[name] / (shift.square() + self.xi)
            if name in self.importance:
                grown += self.importance[name]
            self.importance[name] = torch.relu(grown)
        super().after_training_exp(strategy, **kwargs)


class SI(Strategy, name="si"):
    """Synaptic Intelligence (Zenke et al. 2017, eq. 3-5): importance from the path of the weights in training.

    si_lambda: the paper's c, for which it gives no general value. 10 is our choice on the validation splits of
    OpenLORIS-Sim's sequence (frozen EfficientNet-Lite0, Adam 0.003; best of 3, 10, 30 with seeds 100-102).
    xi: damping of the importance of weights that hardly moved; 0.1 is the authors' value for permuted MNIST (pathint,
    names of its result files; 0.001 for split CIFAR-10).
    """

    tuned = {"si_lambda": ("log", 0.1, 1e3)}

    si_lambda: NonNegativeFloat = 10.0
    xi: PositiveFloat = 0.1

    def plugins(self, context: Context) -> list[Any]:
        return [SIPlugin(self.si_lambda, self.xi)]
