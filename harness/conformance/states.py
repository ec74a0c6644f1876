"""The state of a strategy that must not change: copies of it, and the names of what differs between two copies."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorisbench.conformance.guarded import methods_plugins, state_of
from lorisbench.engine.engine import Engine
from lorisbench.engine.reach import walk

State = dict[str, torch.Tensor]


def copy_state(module: nn.Module) -> State:
    """Parameters and buffers of a module, copied, including scalars that count batches."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def frozen_state(model: nn.Module, like: State | None = None) -> State:
    """What is frozen: parameters without gradients and the BatchNorm statistics beside them; with `like`, its names.

    A BatchNorm without weights of its own is frozen if all parameters of the module around it are.
    """
    state = copy_state(model)
    if like is not None:
        return {name: value for name, value in state.items() if name in like}
    names = {name for name, p in model.named_parameters() if not p.requires_grad}
    for prefix, module in model.named_modules():
        parent = model.get_submodule(prefix.rpartition(".")[0])
        around = list(module.parameters()) or list(parent.parameters())
        if isinstance(module, _BatchNorm) and around and not any(p.requires_grad for p in around):
            names |= {f"{prefix}.{name}" for name, _ in module.named_buffers()}
    return {name: value for name, value in state.items() if name in names}


def teacher_states(strategy: Any, optimized: set[int]) -> dict[str, tuple[nn.Module, State]]:
    """Modules that plugins hold outside the model, neither trained themselves nor `moving`, with copies of their state.

    Raises AttributeError if a plugin names an attribute in `moving` that it does not have.
    """
    moving = {
        id(module)
        for plugin in methods_plugins(strategy)
        for name in getattr(plugin, "moving", ())
        for _, module in walk(getattr(plugin, name), name)
    }
    return {
        path: (module, copy_state(module))
        for path, module in state_of(strategy)
        if isinstance(module, nn.Module)
        and id(module) not in moving
        and not any(id(p) in optimized for p in module.parameters())
    }


def changed(before: State, after: State) -> list[str]:
    """Names of tensors that are not bit for bit what they were, or that are gone or new."""
    both = before.keys() & after.keys()
    return sorted((before.keys() ^ after.keys()) | {name for name in both if not same(before[name], after[name])})


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same shape and values; NaN equals NaN."""
    return one.shape == other.shape and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other.to(one.device)))


def whole_state(strategy: Any) -> State:
    """What evaluation must not change: model, modes, the method's tensors, optimizer, random number generators."""
    state = {f"model {name}": value for name, value in copy_state(strategy.model).items()}
    for name, module in strategy.model.named_modules():
        state[f"mode of {name or 'the model'}"] = torch.tensor(module.training)
    for name, parameter in strategy.model.named_parameters():
        state[f"requires_grad of {name}"] = torch.tensor(parameter.requires_grad)
    for path, value in state_of(strategy):
        if isinstance(value, torch.Tensor):
            state[path] = value.detach().clone()
    optimizer = getattr(strategy, "optimizer", None)
    values = optimizer.state.values() if optimizer is not None else ()
    for index, entry in enumerate(values):
        state |= {f"optimizer {index} {k}": v.clone() for k, v in entry.items() if isinstance(v, torch.Tensor)}
    if isinstance(strategy, Engine):  # any other's loader draws a seed in evaluation; a run reseeds each experience
        state["torch's random state"] = torch.get_rng_state()
    numbers = np.random.get_state(legacy=False)["state"]
    state["numpy's random state"] = torch.tensor([*numbers["key"].tolist(), numbers["pos"]])
    state["random's state"] = torch.tensor(random.getstate()[1])
    return state
