"""The callbacks that come once for each batch: only plugins that do something in one are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from operator import is_
from typing import Any

from avalanche.core import BasePlugin, BaseSGDPlugin, SupervisedPlugin
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.templates.base_sgd import PeriodicEval

_BASES = (BasePlugin, BaseSGDPlugin, SupervisedPlugin)
_EMPTY = {body for base in _BASES for body in vars(base).values() if callable(body)}


def acting(plugins: Sequence[Any], event: str) -> list[Callable[..., Any]]:
    """The plugins' methods for an event, in their order, but for those that Avalanche's base classes leave empty.

    event : a callback's name, such as "before_forward".
    """
    return [getattr(plugin, event) for plugin in plugins if acts(plugin, (event,))]


def acts(plugin: Any, events: Iterable[str]) -> bool:
    """Whether a plugin has a method of its own for any of these events."""
    for event in events:
        call = getattr(plugin, event, None)
        if call is not None and getattr(call, "__func__", call) not in _EMPTY:
            return True
    return False


IN_EVALUATION = (
    "before_eval_iteration", "before_eval_forward", "after_eval_forward", "after_eval_iteration", "after_eval_exp",
    "after_eval",
)  # fmt: skip

NOT_IN_EVALUATION = (Clock, PeriodicEval)
"""Avalanche's own plugins that every strategy has, and that do nothing in an evaluation but count its minibatches."""


def _once_per_batch(event: str) -> Callable[..., None]:
    def trigger(strategy: PerBatch, **kwargs: Any) -> None:
        calls = strategy.calls
        for call in acting(strategy.plugins, event) if calls is None else calls[event]:
            call(strategy, **kwargs)

    return trigger


def _first_of_batch(event: str) -> Callable[..., None]:
    def trigger(strategy: PerBatch, **kwargs: Any) -> None:
        if strategy.calls is None or not strategy.calls.are_of(strategy.plugins):
            strategy.calls = Calls(strategy.plugins)
        for call in strategy.calls[event]:
            call(strategy, **kwargs)

    return trigger


_WITH_LOSS = ("before_forward", "after_forward", "before_backward")


class Calls(dict[str, list[Callable[..., Any]]]):
    """What plugins do at callbacks, by their names, looked up at the first call of each.

    Attributes
    ----------
    add_to_loss : whether any acts between the beginning of a training step's loss and its backward pass.
    """

    def __init__(self, plugins: Sequence[Any]) -> None:
        super().__init__()
        self.plugins = list(plugins)

    def __missing__(self, event: str) -> list[Callable[..., Any]]:
        self[event] = acting(self.plugins, event)
        return self[event]

    @cached_property
    def add_to_loss(self) -> bool:
        return any(self[event] for event in _WITH_LOSS)

    def are_of(self, plugins: Sequence[Any]) -> bool:
        return len(self.plugins) == len(plugins) and all(map(is_, self.plugins, plugins))


class PerBatch(SupervisedTemplate):
    """Looks up once for an epoch what the plugins do for each batch, where Avalanche asks each plugin each time.

    In an evaluation, once for all of it. A plugin that joins or leaves in the midst counts from the next batch on; a
    method that takes another's place in a plugin, from the next epoch on.
    """

    calls: Calls | None = None
    _with_loss = True

    _before_training_iteration = _first_of_batch("before_training_iteration")
    _before_forward = _once_per_batch("before_forward")
    _after_forward = _once_per_batch("after_forward")
    _before_backward = _once_per_batch("before_backward")
    _after_backward = _once_per_batch("after_backward")
    _before_update = _once_per_batch("before_update")
    _after_update = _once_per_batch("after_update")
    _after_training_iteration = _once_per_batch("after_training_iteration")
    _before_eval_iteration = _first_of_batch("before_eval_iteration")
    _before_eval_forward = _once_per_batch("before_eval_forward")
    _after_eval_forward = _once_per_batch("after_eval_forward")
    _after_eval_iteration = _once_per_batch("after_eval_iteration")

    def training_epoch(self, **kwargs: Any) -> None:
        """Avalanche's, but that the loss is the criterion's own where nobody could add to it: no zeros to add it to.

        Nor is a minibatch moved to the device that a loader has there (`TensorLoader.gives_on_device`).
        """
        self.calls = None
        ready = getattr(self.dataloader, "gives_on_device", False)
        for minibatch in self.dataloader:
            self.mbatch = minibatch
            if self._stop_training:
                break
            if not ready:
                self._unpack_minibatch()
            self._before_training_iteration(**kwargs)
            self.optimizer.zero_grad()
            added_to = self.calls is None or self.calls.add_to_loss
            if added_to:
                self.loss = self._make_empty_loss()
            self._before_forward(**kwargs)
            self.mb_output = self.forward()
            self._after_forward(**kwargs)
            if added_to:
                self.loss += self.criterion()
            else:
                self.loss = self.criterion().reshape(1)
            self._before_backward(**kwargs)
            self.backward()
            self._after_backward(**kwargs)
            self._before_update(**kwargs)
            self.optimizer_step()
            self._after_update(**kwargs)
            self._after_training_iteration(**kwargs)
        self.calls = None

    def _before_eval(self, **kwargs: Any) -> None:
        super()._before_eval(**kwargs)
        self.calls = None
        self._with_loss = any(_may_read_loss(plugin) for plugin in self.plugins)

    def _after_eval(self, **kwargs: Any) -> None:
        self.calls = None
        super()._after_eval(**kwargs)

    def eval_epoch(self, **kwargs: Any) -> None:
        """Avalanche's, but that the loss is worked out only where a plugin from elsewhere might read it."""
        if not self._with_loss:
            self.loss = self._make_empty_loss()
        for minibatch in self.dataloader:
            self.mbatch = minibatch
            self._unpack_minibatch()
            self._before_eval_iteration(**kwargs)
            self._before_eval_forward(**kwargs)
            self.mb_output = self.forward()
            self._after_eval_forward(**kwargs)
            if self._with_loss:
                self.loss = self.criterion()
            self._after_eval_iteration(**kwargs)


def _may_read_loss(plugin: Any) -> bool:
    """Whether a plugin acts in evaluations, other than those that read no loss there: all of LorisBench."""
    if isinstance(plugin, NOT_IN_EVALUATION) or type(plugin).__module__.startswith("lorisbench."):
        return False
    return acts(plugin, IN_EVALUATION)
