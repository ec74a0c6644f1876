"""Class-incremental models whose outputs grow: a class that no experience has shown so far cannot be answered."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.models import DynamicModule
from torch import nn

from lorisbench.model.models import Classifier
from lorisbench.model.task_heads import MASKED


class GrowingClassifier(Classifier, DynamicModule):
    """A backbone and a head in which the logits of classes still to come are `MASKED`, in training and in testing.

    So the loss is that of an output layer which gets a row for each new class (Hsu et al. 2018, `valid_out_dim` in
    their `agents/default.py`). All rows are there from the start: parameters keep their shapes, and what a strategy
    keeps for each of them (importances, anchors) stays valid; a masked row gets a gradient of 0.

    forward: as a `Classifier`'s. A model that has learned nothing yet masks nothing.

    Attributes
    ----------
    seen : for each label, whether an experience had it in training; part of a checkpoint.
    """

    def __init__(self, backbone: nn.Module | None, head: nn.Module, num_classes: int) -> None:
        super().__init__(backbone, head)
        # no buffer: strategies that start again from the initial weights restore those as well
        self.seen = [False] * num_classes

    def adaptation(self, experience: Any) -> None:
        """Open the outputs of the experience's classes; Avalanche calls this before training, and before evaluation."""
        super().adaptation(experience)
        if self.training:
            for label in experience.classes_in_this_experience:
                self.seen[label] = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        if all(self.seen) or not any(self.seen):
            return logits
        return torch.where(torch.tensor(self.seen, device=logits.device), logits, MASKED)

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor(self.seen)

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.seen = state.tolist()
