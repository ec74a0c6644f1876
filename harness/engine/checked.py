"""What the methods of a strategy's class return, checked where they are called: a mistake is one line that names it."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable
from types import FunctionType, MethodType
from typing import Any

import torch
from avalanche.core import BasePlugin, SupervisedPlugin
from torch import nn

from lorisbench.common.registry import file_of

HOOKS = tuple(name for name in dir(SupervisedPlugin) if name.startswith(("before_", "after_")))
"""The callbacks of an Avalanche plugin."""
MAKERS = (FunctionType, MethodType, functools.partial)
"""What a list of plugins may hold besides: functions of the model and the optimizer that make one (see `Engine`)."""


def checked_plugins(kind: type, found: Any) -> list[Any]:
    """What `plugins` of a strategy's class returned, as a list. Raises TypeError, naming class and file, otherwise."""
    where = f"{kind.__name__}.plugins() in {file_of(kind)}"
    wanted = "return a list of Avalanche plugins, such as [MyPlugin()]"
    if _is_plugin(found):
        raise TypeError(f"{where} returned a single {type(found).__name__}: {wanted}")
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise TypeError(f"{where} returned {_told(found)}: {wanted}")
    plugins = list(found)
    for plugin in plugins:
        if isinstance(plugin, MAKERS):
            continue
        if isinstance(plugin, type):
            raise TypeError(f"{where} returned the class {plugin.__name__}: return an instance, {plugin.__name__}(...)")
        if not _is_plugin(plugin):
            raise TypeError(f"{where} returned a list with {_told(plugin)} in it: {wanted}")
        _check_callbacks(plugin)
    return plugins


def checked_model(kind: type, model: Any) -> nn.Module:
    """What `wrap` of a strategy's class returned. Raises TypeError, naming class and file, if it is no module."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{kind.__name__}.wrap() in {file_of(kind)} returned {_told(model)}: return the module to train, "
            "an instance of torch.nn.Module"
        )
    return model


def checked_strategy(kind: type, built: Any) -> Any:
    """What `build` of a strategy's class returned. Raises TypeError, naming class and file, if it cannot be trained."""
    if isinstance(built, type) or not all(hasattr(built, name) for name in ("train", "eval", "plugins", "model")):
        raise TypeError(
            f"{kind.__name__}.build() in {file_of(kind)} returned {_told(built)}: return an Avalanche strategy, such "
            "as context.engine(model, plugins)"
        )
    return built


def _is_plugin(value: Any) -> bool:
    if isinstance(value, type):
        return False
    return isinstance(value, BasePlugin) or any(callable(getattr(value, hook, None)) for hook in HOOKS)


def _check_callbacks(plugin: Any) -> None:
    """Raise TypeError for a callback that cannot be called with the strategy, or whose name is misspelt."""
    for kind in type(plugin).__mro__:
        for name in vars(kind) if kind.__module__.partition(".")[0] not in ("avalanche", "builtins") else ():
            if name in HOOKS or not name.startswith(("before", "after")):
                continue
            near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.9)
            if near:
                raise TypeError(
                    f"{kind.__name__}.{name} in {file_of(kind)}: Avalanche has no callback of this name; did you mean "
                    f"{near[0]!r}?"
                )
    for hook in HOOKS:
        callback = getattr(plugin, hook, None)
        if not inspect.ismethod(callback) or callback.__func__ is getattr(SupervisedPlugin, hook, None):
            continue
        try:
            inspect.signature(callback).bind(object())
        except TypeError:
            kind = type(plugin)
            raise TypeError(
                f"{kind.__name__}.{hook}{inspect.signature(callback.__func__)} in {file_of(kind)} cannot be called "
                f"with the strategy: def {hook}(self, strategy, **kwargs)"
            ) from None


def _told(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, torch.Tensor):
        return "a tensor"
    return f"a {type(value).__name__}"
