"""The callbacks that come once for each batch: only plugins that do something in one are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from avalanche.core import BasePlugin, BaseSGDPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate

_EMPTY = [body for base in (BasePlugin, BaseSGDPlugin, SupervisedPlugin) for body in vars(base).values()]


def acting(plugins: Sequence[Any], event: str) -> list[Callable[..., Any]]:
    """The plugins' methods for an event, in their order, but for those that Avalanche's base classes leave empty.

    event : a callback's name, such as "before_forward".
    """
    found = (getattr(plugin, event, None) for plugin in plugins)
    return [call for call in found if call is not None and getattr(call, "__func__", call) not in _EMPTY]


def _once_per_batch(event: str) -> Callable[..., None]:
    def trigger(strategy: PerBatch, **kwargs: Any) -> None:
        for call in strategy.acting(event):
            call(strategy, **kwargs)

    return trigger


class PerBatch(SupervisedTemplate):
    """Looks up once for an epoch what the plugins do for each batch, where Avalanche asks each plugin each time.

    A plugin that joins or leaves in the midst of an epoch counts at once; a method that takes another's place in a
    plugin, from the next epoch on.
    """

    _before_training_iteration = _once_per_batch("before_training_iteration")
    _before_forward = _once_per_batch("before_forward")
    _after_forward = _once_per_batch("after_forward")
    _before_backward = _once_per_batch("before_backward")
    _after_backward = _once_per_batch("after_backward")
    _before_update = _once_per_batch("before_update")
    _after_update = _once_per_batch("after_update")
    _after_training_iteration = _once_per_batch("after_training_iteration")
    _before_eval_iteration = _once_per_batch("before_eval_iteration")
    _before_eval_forward = _once_per_batch("before_eval_forward")
    _after_eval_forward = _once_per_batch("after_eval_forward")
    _after_eval_iteration = _once_per_batch("after_eval_iteration")

    def __init__(self, **kwargs: Any) -> None:
        self._forget()
        super().__init__(**kwargs)

    def _forget(self) -> None:
        self._acting: dict[str, list[Callable[..., Any]]] = {}
        self._asked: list[Any] = []  # the plugins that were

    def acting(self, event: str) -> list[Callable[..., Any]]:
        """What is called at a callback that comes once for each batch."""
        if len(self._asked) != len(self.plugins) or not all(map(is_, self._asked, self.plugins)):
            self._acting, self._asked = {}, list(self.plugins)
        if event not in self._acting:
            self._acting[event] = acting(self.plugins, event)
        return self._acting[event]

    def training_epoch(self, **kwargs: Any) -> None:
        self._forget()
        super().training_epoch(**kwargs)
        self._forget()

    def eval_epoch(self, **kwargs: Any) -> None:
        self._forget()
        super().eval_epoch(**kwargs)
        self._forget()
