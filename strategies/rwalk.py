"""Riemannian Walk: Fisher information and path importance, both updated while training, hold weights by springs."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.gradients import Tensors
from lorisbench.strategies.parts.paths import PathPlugin
from lorisbench.strategies.parts.springs import still_there, weights_now


class RWalkPlugin(PathPlugin):
    """Adds lambda * sum of (F + s) (theta - theta_last)^2 to the loss (Chaudhry et al. 2018, section 4; no half).

    Every `interval` updates, and once more with what is left at the end of an experience,

        s <- s + max(0, path) / (F shift^2 / 2 + eps)          path, shift: of the interval
        F <- alpha * (mean over the interval of the squared batch gradients) + (1 - alpha) F,

    in this order, F being the first interval's own mean at the very start. After an experience the earlier score and
    its own s are averaged half and half (the first is taken as it is), and F and s are each divided by their largest
    value over all weights, so that both are in [0, 1]. F carries over to the next experience, s starts again from 0.
    Gradients are those of the task's loss, without the springs.

    Attributes
    ----------
    importance, centre : F + s, both scaled, and theta_last, by parameter name.
    fisher, score : F and the averaged s, not scaled, by parameter name.
    """

    def __init__(self, rwalk_lambda: float, alpha: float, interval: int, eps: float) -> None:
        super().__init__(2 * rwalk_lambda)
        self.alpha = alpha
        self.interval = interval
        self.eps = eps
        self.fisher: Tensors = {}
        self.score: Tensors = {}
        self._squares: Tensors = {}
        self._own_score: Tensors = {}
        self._updates = 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        self.fisher = still_there(self.fisher, strategy.model)
        self.score = still_there(self.score, strategy.model)
        self._own_score = {name: torch.zeros_like(weight) for name, weight in self.start.items()}
        self._squares = {name: torch.zeros_like(weight) for name, weight in self.start.items()}
        self._updates = 0

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        for name, (_, gradient) in self._before.items():
            self._squares[name] += gradient.square()
        super().after_update(strategy, **kwargs)
        self._updates += 1
        if self._updates == self.interval:
            self._end_interval(strategy)

    def _end_interval(self, strategy: Any) -> None:
        now = weights_now(strategy.model)
        for name, squares in self._squares.items():
            mean = squares / self._updates
            fisher = self.fisher.get(name, mean)
            distance = 0.5 * fisher * (now[name] - self.start[name]).square()
            self._own_score[name] += torch.relu(self.path[name]) / (distance + self.eps)
            self.fisher[name] = self.alpha * mean + (1 - self.alpha) * fisher
        self.start = now
        self.path = {name: torch.zeros_like(weight) for name, weight in now.items()}
        self._squares = {name: torch.zeros_like(weight) for name, weight in now.items()}
        self._updates = 0

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self._updates:
            self._end_interval(strategy)
        self.score = {
            name: 0.5 * (self.score[name] + own) if name in self.score else own for name, own in self._own_score.items()
        }
        fisher, score = scaled(self.fisher), scaled(self.score)
        self.importance = {name: fisher[name] + score[name] for name in fisher}
        self._own_score, self._squares = {}, {}
        super().after_training_exp(strategy, **kwargs)


def scaled(values: Tensors) -> Tensors:
    """Non-negative values divided by the largest of all of them; unchanged if all are 0."""
    largest = torch.stack([value.max() for value in values.values()]).max()
    return {name: value / torch.where(largest > 0, largest, torch.ones_like(largest)) for name, value in values.items()}


class RWalk(Strategy, name="rwalk"):
    """Riemannian Walk (Chaudhry et al. 2018), its regulariser; the replay of the paper is left out.

    rwalk_lambda: the strength of the springs, on importances scaled to [0, 1] each; 1 is our choice on the validation
    splits of OpenLORIS-Sim's sequence (frozen EfficientNet-Lite0, Adam 0.003; best of 0.3, 1, 3 with seeds 100-102).
    alpha: weight of the newest gradients in the moving average of the Fisher information; interval: updates between
    two of its values, and over which a score is taken; eps: damping of a score. 0.9, 10 and 1e-3 are the defaults of
    the authors' code (repository agem, `fisher_ema_decay`, `fisher_update_after` and `PARAM_XI_STEP`), from which this
    differs in two points: the half in a score's denominator, which is the paper's, and the scaling by the largest
    value alone, which leaves 0 at 0.
    """

    tuned = {"rwalk_lambda": ("log", 0.01, 100.0)}
    conflicts = dict.fromkeys(("ncm", "slda", "ranpac"), "it measures steps by gradients, and a closed form makes none")

    rwalk_lambda: NonNegativeFloat = 1.0
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.9
    interval: PositiveInt = 10
    eps: PositiveFloat = 1e-3

    def plugins(self, context: Context) -> list[Any]:
        return [RWalkPlugin(self.rwalk_lambda, self.alpha, self.interval, self.eps)]
