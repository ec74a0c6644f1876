"""Distillation: what a model should learn from its teacher, and how far it is from that."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.models import MultiTaskModule
from torch import nn
from torch.nn.functional import kl_div, log_softmax

from lorisbench.strategies.parts.data import without_tracking


def pairs(strategy: Any, teacher: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (batch, classes) of the student and, without a gradient, of its teacher, for the minibatch.

    One pair; for a model with an output layer for each task (an Avalanche multi-task module), one for each task that
    the teacher has learned, whose losses are to be summed (Li & Hoiem 2016, section 3): those layers, not the new
    task's, hold what it knows.
    """
    with torch.no_grad():
        if not isinstance(teacher, MultiTaskModule):
            return [(strategy.mb_output, teacher(strategy.mb_x))]
        targets = teacher(strategy.mb_x, None)
    with without_tracking(strategy.model):  # it has seen this minibatch already
        outputs = strategy.model(strategy.mb_x, None)
    return [(outputs[task], target) for task, target in targets.items()]


def distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student) of logits (batch, classes) softened by T, mean over the batch, a scalar.

    Up to T^2 its gradient is that of Li & Hoiem's modified cross-entropy (2016, section 3); T^2 keeps the
    gradient's size independent of T (Hinton et al. 2015, section 2).
    """
    log_student, log_teacher = (log_softmax(z / temperature, dim=1) for z in (student, teacher))
    return temperature**2 * kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
