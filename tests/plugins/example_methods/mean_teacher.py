"""Distillation from a teacher that moves: a running average of the model's weights."""

import copy
from typing import Annotated, Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import Field, NonNegativeFloat
from torch import nn

from lorisbench import Context, Strategy


class MeanTeacherPlugin(SupervisedPlugin):
    """Adds strength * mean squared difference of the teacher's and the model's probabilities, from experience 1 on.

    The teacher is the model after experience 0. After each later step its weights move towards the model's.

    Attributes
    ----------
    moving : which modules change on purpose while an experience is trained; `lorisbench check` expects all others to
        stay as they are.
    """

    moving = ("teacher",)

    def __init__(self, strength: float, decay: float) -> None:
        super().__init__()
        self.strength = strength
        self.decay = decay
        self.teacher: nn.Module | None = None

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is not None:
            with torch.no_grad():
                wanted = self.teacher(strategy.mb_x).softmax(dim=1)
            apart = (strategy.mb_output.softmax(dim=1) - wanted).square()
            strategy.loss += self.strength * apart.sum(dim=1).mean()

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is not None:
            for mean, now in zip(self.teacher.parameters(), strategy.model.parameters(), strict=True):
                mean.lerp_(now, 1 - self.decay)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is None:
            self.teacher = copy.deepcopy(strategy.model).eval().requires_grad_(False)


class MeanTeacher(Strategy, name="mean-teacher"):
    """Mean Teacher (Tarvainen & Valpola 2017, NeurIPS), between the experiences of a stream.

    strength: our choice. decay: of the average for each step, 0.99 as at the start of training in the paper.
    """

    tuned = {"strength": ("log", 0.1, 100.0)}
    strength: NonNegativeFloat = 10.0
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99

    def plugins(self, context: Context) -> list[Any]:
        return [MeanTeacherPlugin(self.strength, self.decay)]
