"""Learning without Forgetting: the model before an experience teaches the one that learns it."""

import copy
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import MultiTaskModule
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
            for student, teacher in pairs(strategy, self.teacher):
                strategy.loss += self.alpha * distillation(student, teacher, self.temperature)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        # The deep copy shares the parameters that are frozen, as in its memo they count as copied already.
        frozen = {id(p): p for p in strategy.model.parameters() if not p.requires_grad}
        self.teacher = copy.deepcopy(strategy.model, frozen).eval().requires_grad_(False)


def pairs(strategy: Any, teacher: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (batch, classes) of the model that learns and of its teacher, without a gradient, for the minibatch.

    One pair; of a model with an output layer for each task (an Avalanche multi-task module) one for each task that the
    teacher has learned, whose losses are summed (section 3): those layers, not the new task's, are what it knows.
    """
    with torch.no_grad():
        if not isinstance(teacher, MultiTaskModule):
            return [(strategy.mb_output, teacher(strategy.mb_x))]
        targets = teacher(strategy.mb_x, None)
    outputs = strategy.model(strategy.mb_x, None)
    return [(outputs[task], target) for task, target in targets.items()]


def distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student) of logits (batch, classes) softened by T, mean over the batch, a scalar.

    Up to T^2 its gradient is that of Li & Hoiem's modified cross-entropy (2016, section 3); T^2 keeps the
    gradient's size independent of T (Hinton et al. 2015, section 2).
    """
    log_student, log_teacher = (log_softmax(z / temperature, dim=1) for z in (student, teacher))
    return temperature**2 * kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


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
