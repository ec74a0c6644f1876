"""Learning without Forgetting: the model before an experience teaches the one that learns it."""

import copy
from typing import Any

from avalanche.core import SupervisedPlugin
from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.distillation import distillation, pairs


class LwFPlugin(SupervisedPlugin):
    """Adds alpha * T^2 * KL(teacher || student), mean over the batch, from the second experience on."""

    def __init__(self, alpha: float, temperature: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.temperature = temperature
        self.teacher: nn.Module | None = None

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is not None:
            for student, teacher in pairs(strategy, self.teacher):
                strategy.loss.add_(distillation(student, teacher, self.temperature), alpha=self.alpha)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        # The deep copy shares the parameters that are frozen, as in its memo they count as copied already.
        frozen = {id(p): p for p in strategy.model.parameters() if not p.requires_grad}
        self.teacher = copy.deepcopy(strategy.model, frozen).eval().requires_grad_(False)


class LwF(Strategy, name="lwf"):
    """Learning without Forgetting (Li & Hoiem 2016), over all classes of domain-incremental streams.

    With an output layer for each task (`head.per_task`) over the classes of each earlier task, as in the paper.

    alpha: weight of the distillation loss; the paper's lambda_o is 1. temperature: 2 in the paper (section
    3).
    """

    tuned = {"alpha": ("log", 1e-3, 10.0)}

    alpha: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0

    def plugins(self, context: Context) -> list[Any]:
        return [LwFPlugin(self.alpha, self.temperature)]
