"""Task-incremental models: an output layer for each task label, which comes with every input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from avalanche.models import MultiTaskModule
from torch import fx, nn

from lorisbench.data.stream import with_task
from lorisbench.model.models import Classifier, make_head

MASKED = -1000.0
"""Logit of a class that a task does not have, as in Avalanche's `MultiHeadClassifier`: finite, but of probability 0."""
_OWN = "own"  # the labels that come with the inputs; a text, as `torch.fx` takes no other default


class TaskHead(nn.Module):
    """Hidden layers that all tasks share, and a linear output layer for each task.

    forward: float32 (batch, feature_dim + 1), the task label in the last column -> logits (batch, classes), those of
    each sample's own output layer; a class that its task does not have gets `MASKED`.

    Parameters
    ----------
    feature_dim : width of the features, without the label's column.
    classes : for each task label from 0, the labels of its classes, ascending.
    num_classes : columns of the logits. hidden : widths of the shared layers.
    """

    def __init__(
        self, feature_dim: int, classes: Sequence[Sequence[int]], num_classes: int, hidden: Sequence[int] = ()
    ) -> None:
        super().__init__()
        *widths, width = [feature_dim, *hidden]
        self.shared = nn.Sequential(make_head(widths[0], width, widths[1:]), nn.ReLU()) if hidden else nn.Identity()
        # a task label that no image has keeps its position, without a layer
        self.outputs = nn.ModuleList(nn.Linear(width, len(labels)) if labels else nn.Identity() for labels in classes)
        self.classes = [list(labels) for labels in classes]
        self.num_classes = num_classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        labels = x[:, -1].long()
        shared = self.shared(x[:, :-1])
        if self.training and not isinstance(x, fx.Proxy):
            # Only the layers of the tasks in the batch: the others get no gradient at all, so that no weight decay or
            # momentum moves them
            present = labels.unique().tolist()
            if len(present) == 1:
                return self.of_task(shared, present[0])
            logits = shared.new_zeros(len(shared), self.num_classes)
            for task in present:
                logits[labels == task] = self.of_task(shared[labels == task], task)
            return logits
        # All layers, of which each sample takes its own: the same numbers without a branch, as `torch.func` and tracers
        # require
        every = torch.stack([self.of_task(shared, task) for task in range(len(self.outputs))], dim=1)
        return every.gather(1, labels[:, None, None].expand(-1, 1, self.num_classes)).squeeze(1)

    def of_task(self, shared: torch.Tensor, task: int) -> torch.Tensor:
        """Logits (batch, classes) of one task's output layer, applied to what the shared layers gave."""
        classes = self.classes[task]
        if len(classes) == self.num_classes:
            return self.outputs[task](shared)
        masked = shared.new_full((shared.shape[0], self.num_classes), MASKED)
        if not classes:
            return masked
        return masked.index_copy(1, torch.tensor(classes, device=shared.device), self.outputs[task](shared))


class TaskClassifier(Classifier, MultiTaskModule):
    """A backbone and a `TaskHead`; every input carries its task label (`lorisbench.data.stream.with_task`).

    So whatever holds inputs (a memory, a teacher, a pass for importances) holds the labels too, and calls the model
    like any other. It is also one of Avalanche's multi-task modules: Avalanche's plugins pass labels alongside the
    inputs.

    forward: images uint8 (batch, 4, size, size) or features float32 (batch, feature_dim + 1) -> logits (batch,
    classes). With `task_labels`, int64 (batch,) or one int, these are used instead; with None, a dict is returned that
    maps the label of each task trained on so far to its logits.
    """

    head: TaskHead
    known_train_tasks_labels: set[int]

    @property
    def heads(self) -> nn.ModuleList:
        """The output layers, one per task label in use: what `results.csv` counts as heads."""
        return nn.ModuleList(layer for layer in self.head.outputs if isinstance(layer, nn.Linear))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head sees, float32 (batch, feature_dim + 1): the features and, last, the task label."""
        if self.are_features(x):
            return x
        label = x[:, -1, 0, 0]
        features = super().features(x[:, :-1])
        return torch.cat([features, label.to(features)[:, None]], dim=1)

    def get_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.head.shared(self.features(x)[:, :-1])

    def forward(self, x: torch.Tensor, task_labels: Any = _OWN) -> Any:
        features = self.features(x)
        if isinstance(task_labels, str | fx.Proxy):  # a tracer gives a proxy for the default
            return self.head(features)
        if task_labels is None:
            shared = self.head.shared(features[:, :-1])
            return {task: self.head.of_task(shared, task) for task in sorted(self.known_train_tasks_labels)}
        labels = torch.as_tensor(task_labels, device=features.device).expand(len(features))
        return self.head(with_task(features[:, :-1], labels))
