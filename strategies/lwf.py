"""Learning without Forgetting: the model before an experience teaches the one that learns it."""

import copy
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn
from torch.nn.functional import kl_div, log_softmax

from strategies.base import Context, Strategy


class LwFPlugin(SupervisedPlugin):
    """Adds alpha * T^2 * KL(teacher || student), mean over the batch, from the second experience on."""

    def __init__(self, alpha: float, temperature: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.temperature = temperature
        self.teacher: nn.Module | None = None

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is not None:
            with torch.no_grad():
                target = self.teacher(strategy.mb_x)
            strategy.loss += self.alpha * distillation(strategy.mb_output, target, self.temperature)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        # The deep copy shares the parameters that are frozen, as in its memo they count as copied already.
        frozen = {id(p): p for p in strategy.model.parameters() if not p.requires_grad}
        self.teacher = copy.deepcopy(strategy.model, frozen).eval().requires_grad_(False)


def distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student) of logits (batch, classes) softened by T, mean over the batch, a scalar.

    Up to T^2 its gradient is that of Li & Hoiem's modified cross-entropy (2016, section 3); T^2 keeps the
    gradient's size independent of T (Hinton et al. 2015, section 2).
    """
    log_student, log_teacher = (log_softmax(z / temperature, dim=1) for z in (student, teacher))
    return temperature**2 * kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


class LwF(Strategy, name="lwf"):
    """Learning without Forgetting (Li & Hoiem 2016), over all classes, as in domain-incremental streams.

    alpha: weight of the distillation loss; the paper's lambda_o is 1. temperature: 2 in the paper (section
    3).
    """

    tuned = {"alpha": ("log", 1e-3, 10.0)}

    alpha: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0

    def plugins(self, context: Context) -> list[Any]:
        return [LwFPlugin(self.alpha, self.temperature)]
