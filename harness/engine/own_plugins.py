"""Plugins of the harness itself: the schedule of the learning rate, a guard against divergence, the recorder."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin

from lorisbench.engine.answers import Answers
from lorisbench.engine.divergence import Diverged, check_outputs, not_finite, training_place
from lorisbench.engine.heads import forget_heads, heads_told, joined_heads, probabilities
from lorisbench.suite.training import TrainingConfig

MOST_HELD = 2**22
"""Numbers that a model gave, 16 MB of float32, before answers are read off them."""


class HarnessPlugin(SupervisedPlugin):
    """A plugin of the harness itself: not part of a method, so nothing it holds counts as a method's state.

    Attributes
    ----------
    passing : names of attributes that are set anew in each experience before they are read, so that no checkpoint needs
        them.
    """

    passing: tuple[str, ...] = ()


class Schedule(HarnessPlugin):
    """Epochs, learning rate, its warm-up and milestones of each experience, as set by `training` and `training.later`.

    With a budget, there are as many epochs as it pays for, and milestones are left to it (`lorisbench.engine.budget`).
    They are set before any other plugin acts, so that whatever one changes in any callback stays.
    """

    passing = ("training", "lr", "warmup", "milestones", "budget")

    def __init__(self, training: TrainingConfig) -> None:
        super().__init__()
        self.training = training

    def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        first = strategy.clock.train_exp_counter == 0
        training, later = self.training, self.training.later
        epochs = training.epochs if first else later.epochs or training.epochs
        self.lr = training.lr if first else later.lr or training.lr
        self.warmup = training.warmup if first or later.warmup is None else later.warmup
        milestones = training.milestones if first or later.milestones is None else later.milestones
        self.milestones = set(milestones)
        self.budget = getattr(strategy, "budget", None)
        strategy.train_epochs = epochs if self.budget is None else self.budget.begin(milestones, epochs)
        for group in strategy.optimizer.param_groups:
            group["lr"] = self.lr

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        # The rate is changed while it warms up and at milestones; in between it is left to plugins that schedule it
        if self.budget is not None:
            return
        epoch = strategy.clock.train_exp_epochs
        for group in strategy.optimizer.param_groups:
            if epoch < self.warmup:
                group["lr"] = self.lr * (epoch + 1) / self.warmup
            if epoch in self.milestones:
                group["lr"] *= self.training.milestone_factor


class DivergenceGuard(HarnessPlugin):
    """Stops a run whose loss is not finite; reads the losses from the device once per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[torch.Tensor] = []

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.losses = []

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        loss = strategy.loss
        self.losses.append(loss.detach() if isinstance(loss, torch.Tensor) else torch.as_tensor(loss))

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        losses, self.losses = self.losses, []
        if losses and not torch.cat([loss.flatten() for loss in losses]).isfinite().all():
            raise Diverged(f"the loss is not finite in {training_place(strategy)}")


class Recorder(HarnessPlugin):
    """Keeps the answers of an evaluation on the device and hands them over in one transfer.

    Parameters
    ----------
    classes : of how many classes the probabilities are kept as well; 0 for none.
    """

    passing = ("_outputs", "_held", "_predicted", "_sizes", "_no_answer", "_heads", "_head", "_scores")

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self._forget()

    def _forget(self) -> None:
        self._outputs: list[torch.Tensor] = []  # that no answers have been read off yet, and how many numbers they are
        self._held = 0
        self._predicted: list[torch.Tensor] = []
        self._sizes: list[int] = []
        self._no_answer: list[torch.Tensor] = []
        self._heads: list[torch.Tensor | None] = []
        self._head: np.ndarray | None = None
        self._scores: list[torch.Tensor] = []

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._forget()
        forget_heads(strategy.model)

    def after_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Raises ValueError if the model tells of its heads what cannot be (see `answers.heads_told`)."""
        self._outputs.append(strategy.mb_output.detach().clone())  # a model may use the same memory again
        self._held += self._outputs[-1].numel()
        self._sizes.append(len(strategy.mb_output))
        self._heads.append(heads_told(strategy))
        if self._held > MOST_HELD:
            self._read_off()

    def _read_off(self) -> None:
        """The answers of the outputs so far: of many batches at once, as an operation takes as long for one of them."""
        for _, alike in groupby(self._outputs, key=lambda output: (output.shape[1:], output.dtype)):
            first, *others = alike
            outputs = torch.cat([first, *others]) if others else first
            self._predicted.append(outputs.argmax(dim=1).to(torch.int32))
            self._no_answer.append(not_finite(outputs))
            if self.classes:
                self._scores.append(probabilities(outputs, self.classes))
        self._outputs, self._held = [], 0

    def after_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Raises Diverged, with their share, if outputs are not finite: their argmax is a class, but no answer."""
        self._read_off()
        if self._no_answer:
            check_outputs(torch.cat(self._no_answer), strategy)
            self._head = joined_heads(self._heads, self._sizes, type(strategy.model).__name__)

    def predictions(self) -> torch.Tensor:
        """int32 (samples,) on the CPU: the predicted class of every sample in the last evaluation, in stream order."""
        return torch.cat(self._predicted).cpu()

    def answers(self) -> Answers:
        """All that is known of the answers in the last evaluation, in stream order."""
        scores = torch.cat(self._scores).cpu().numpy() if self._scores else None
        return Answers(self.predictions().numpy(), self._head, scores)
