"""The attributes of an object that make up its state."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

import torch
from avalanche.training.templates.base import BaseTemplate
from torch import nn

from lorisbench.engine.names import has_plain_state, is_of, slots_of
from lorisbench.engine.own_plugins import HarnessPlugin

# What Avalanche's loop sets anew for each experience before anything reads it
PASSING = ("mbatch", "mb_output", "loss", "dataloader", "adapted_dataset", "_eval_streams", "current_eval_stream")
_PLAIN_MODULE = vars(nn.Module())
_OPTIMIZER_HOOKS = [name for name in vars(torch.optim.SGD([torch.zeros(1)])) if name.startswith("_optimizer_")]
_MISSING = object()


def state_of_object(value: Any, kind: type) -> dict[str, Any] | None:
    """The attributes that make up an object's state; None if it has a state that is none of its attributes."""
    if not has_plain_state(kind):
        return None
    if has_own(kind, "__getstate__"):
        state = value.__getstate__()
        return state if isinstance(state, dict) and all(type(key) is str for key in state) else None
    state = dict(object.__getattribute__(value, "__dict__")) if kind.__dictoffset__ else {}
    for name in slots_of(kind):
        found = getattr(value, name, _MISSING)
        if found is not _MISSING:
            state[name] = found
    left_out = left_out_of(value)
    if isinstance(value, torch.optim.Optimizer):
        state = {name: each for name, each in state.items() if each or name not in _OPTIMIZER_HOOKS}
    if isinstance(value, nn.Module):
        state = {name: each for name, each in state.items() if not _is_default(name, each)}
    return {name: each for name, each in state.items() if name not in left_out}


def left_out_of(value: Any) -> tuple[str, ...]:
    """Names of attributes that are set anew before they are read."""
    if isinstance(value, BaseTemplate):
        return PASSING
    return value.passing if isinstance(value, HarnessPlugin) else ()


@functools.cache
def has_own(kind: type, method: str) -> bool:
    """Whether a class outside torch and Avalanche says itself how its objects are copied, by this method."""
    owner = next((base for base in kind.__mro__ if method in vars(base)), object)
    return not is_of(owner.__module__, ("torch", "avalanche", "builtins", "pydantic"))


def plain_defaults(kind: type) -> dict[str, Any]:
    """The attributes of a bare module or optimizer that are not written down: hooks, mostly; there are none."""
    if issubclass(kind, torch.optim.Optimizer):
        return {name: OrderedDict() for name in _OPTIMIZER_HOOKS}
    plain = _PLAIN_MODULE if issubclass(kind, nn.Module) else {}
    return {name: each.copy() if hasattr(each, "copy") else each for name, each in plain.items()}


def _is_default(name: str, value: Any) -> bool:
    plain = _PLAIN_MODULE.get(name, _MISSING)
    if plain is _MISSING or type(plain) is not type(value):
        return False
    return not value if isinstance(value, (dict, set)) else value is plain
