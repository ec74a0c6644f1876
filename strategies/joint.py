"""Joint training: the reference that sees all data so far."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from lorisbench.engine.strategy import Context, Strategy

ANEW = "it starts again from the initial weights in each experience"
CONFLICTS = {"dnn": f"{ANEW}, but dnn adds heads to existing ones", "frozen": f"{ANEW}, but frozen does not train"}


class JointPlugin(SupervisedPlugin):
    """Train from scratch on the data of all experiences so far.

    only : the experience to train in; in the others data are merely kept. None: all.

    Attributes
    ----------
    replay_samples : samples of earlier experiences held, all of them.
    """

    def __init__(self, only: int | None = None) -> None:
        super().__init__()
        self.only = only
        self.replay_samples = 0
        self._past: list[Any] = []
        self._initial: dict[str, torch.Tensor] | None = None

    def _trains(self, strategy: Any) -> bool:
        return self.only is None or strategy.clock.train_exp_counter == self.only

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        if not self._trains(strategy):
            strategy.train_epochs = 0

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Set `strategy.adapted_dataset` to past and present data, in the order of the experiences."""
        present = strategy.adapted_dataset
        data = present
        if self._past and self._trains(strategy):
            data = self._past[0]
            for dataset in [*self._past[1:], present]:
                data = data.concat(dataset)
        strategy.adapted_dataset = data
        self.replay_samples = sum(len(dataset) for dataset in self._past)
        self._past.append(present)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Reset the weights that train to those the run began with; the optimizer knows nothing of others either."""
        strategy.optimizer.state.clear()
        state = _trained_state(strategy.model)
        if self._initial is None:
            self._initial = {key: value.detach().clone() for key, value in state.items()}
        with torch.no_grad():
            for key, value in state.items():
                value.copy_(self._initial[key])


def _trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters that require gradients, and the buffers of modules in training mode, by name.

    A frozen module is in evaluation mode even while the rest trains: its statistics stay where they are.
    """
    state: dict[str, torch.Tensor] = {}
    for prefix, module in model.named_modules():
        own = [(key, value) for key, value in module.named_parameters(recurse=False) if value.requires_grad]
        if module.training:
            own += list(module.named_buffers(recurse=False))
        state.update({f"{prefix}.{key}": value for key, value in own})
    return state


class Joint(Strategy, name="joint"):
    """Joint training: one head from scratch on all data up to and including the current experience.

    The counterpart of Cumulative in the OpenLORIS paper (She et al. 2020, Fig. 5 and 7). It keeps all data, so it is an
    upper reference, not a continual-learning method. The optimizer starts afresh with each experience, whatever
    `training.reset_optimizer` says. With `evaluation.rows: last` it
    trains once, in the last experience; what it would have learnt before counts for nothing there.
    """

    state_growth = "samples"
    needs_epochs = "it trains on the images of all earlier experiences again"
    conflicts = CONFLICTS

    def replay_limit(self) -> None:
        return None

    def plugins(self, context: Context) -> list[Any]:
        return [JointPlugin(context.experiences - 1 if context.rows == "last" else None)]
