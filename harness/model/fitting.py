"""A freshly built model made to fit what a trained one has learnt: buffers that grew, heads that were added.

A state says names, shapes and types of tensors, not how a module computes. So tensors take the state's shapes, and a
module that is not there yet is a copy of one that is: another entry of its list, the head that every run can make
anew, or the only kind of part in the model with the same tensors. Where none fits, or two kinds do, it is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

Tensors = Mapping[str, torch.Tensor]
Maker = Callable[[], nn.Module]
LISTS = (nn.ModuleList, nn.Sequential)
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
LAZY = (UninitializedParameter, UninitializedBuffer)  # torch gives them their shapes itself
EXTRA = "_extra_state"  # torch's name for what a module says of itself besides its tensors


def fit(model: nn.Module, state: Tensors, new_head: Maker | None = None) -> None:
    """Give a model the buffers, parameters and parts that a state has, in their shapes; the values are still to come.

    state : tensors by name, as of `state_dict`; dicts of modules in the order of their entries. new_head : makes a head
        of the run, if one is needed to copy from.

    Raises ValueError, naming the part, for one that the model has not and that nothing in it can be copied for.
    """
    _Fitting(model, new_head).fit(model, state, "")


def entries_of(model: nn.Module) -> dict[str, list[str]]:
    """The keys of the model's dicts of modules and parameters, in their order, by the name of each dict."""
    named = [
        (name, part) for name, part in model.named_modules() if isinstance(part, (nn.ModuleDict, nn.ParameterDict))
    ]
    return {name: [str(key) for key in part] for name, part in named if len(part) > 1}


def in_order(state: Tensors, entries: Mapping[str, list[str]]) -> dict[str, torch.Tensor]:
    """A state whose entries of dicts come in the order that `entries_of` told."""
    places = {f"{name}.{key}".lstrip("."): place for name, keys in entries.items() for place, key in enumerate(keys)}

    def rank(name: str) -> list[tuple[int, str]]:
        parts = name.split(".")
        return [(places.get(".".join(parts[: i + 1]), 0), part) for i, part in enumerate(parts)]

    return {name: state[name] for name in sorted(state, key=rank)}


class _Fitting:
    def __init__(self, root: nn.Module, new_head: Maker | None) -> None:
        self.root, self.new_head = root, new_head

    def fit(self, module: nn.Module, state: Tensors, path: str) -> None:
        own, parts = _parted(state)
        for name, tensor in own.items():
            _take(module, name, tensor, path)
        if isinstance(module, CONTAINERS):
            _drop_entries(module, {*own, *parts})
        names = sorted(parts, key=int) if isinstance(module, LISTS) and all(map(str.isdecimal, parts)) else list(parts)
        for name in names:
            where = f"{path}.{name}".lstrip(".")
            child = module._modules.get(name)
            if child is None:
                child = self._made(module, parts[name], where)
                _add(module, name, child, where)
            self.fit(child, parts[name], where)

    def _made(self, module: nn.Module, part: Tensors, where: str) -> nn.Module:
        """A module with these tensors, made anew."""
        beside = [child for child in reversed(module._modules.values()) if child is not None]
        exact = [child for child in beside if _has(child, part)]
        if not exact and self.new_head is not None and _has(head := self.new_head(), part):
            exact = [head]
        if not exact:
            exact = [each for each in self.root.modules() if _has(each, part)]
        # in a list of parts of one kind, one may be wider than another, such as a head for more classes
        near = exact or [child for child in beside if isinstance(module, CONTAINERS) and _names(child) == set(part)]
        kinds = {tuple(type(each) for each in found.modules()) for found in near}
        if len(kinds) == 1:
            return copy.deepcopy(near[0])
        what = f"{where} ({', '.join(_told(part))})"
        if kinds:
            raise ValueError(f"{what} was added in training, and parts of {len(kinds)} kinds could stand for it")
        raise ValueError(
            f"{what} was added in training, and a freshly built model has no part like it to copy: let wrap() put a "
            "first one there, or make it by context.new_head()"
        )


def _parted(state: Tensors) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
    """A module's own tensors, and those of each of its parts."""
    own: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in state.items():
        name, _, rest = key.partition(".")
        if rest:
            parts.setdefault(name, {})[rest] = tensor
        elif name != EXTRA:
            own[name] = tensor
    return own, parts


def _names(module: nn.Module) -> set[str]:
    return set(module.state_dict(keep_vars=True))


def _has(module: nn.Module, part: Tensors) -> bool:
    """Whether a module has these tensors and no others, parameters in the same shapes."""
    own = module.state_dict(keep_vars=True)
    return own.keys() == part.keys() and all(
        own[name].shape == tensor.shape or not isinstance(own[name], nn.Parameter)
        for name, tensor in part.items()
        if isinstance(own[name], torch.Tensor) and not isinstance(own[name], LAZY)
    )


def _told(part: Tensors, most: int = 3) -> Iterator[str]:
    for name in [name for name in part if not name.endswith(EXTRA)][:most]:
        yield f"{name} {tuple(part[name].shape)}"


def _add(module: nn.Module, name: str, child: nn.Module, where: str) -> None:
    if isinstance(module, LISTS) and name != str(len(module)):
        raise ValueError(f"{where} was added in training, and those before it have no tensors to be known by")
    for holder in (vars(module), module._buffers, module._parameters):
        if name in holder and holder[name] is None:
            del holder[name]
    module.add_module(name, child)


def _drop_entries(module: nn.Module, kept: set[str]) -> None:
    """Remove the entries of a list or dict that the trained model no longer had."""
    for name, child in list(module._modules.items()):
        if name not in kept and child is not None and _names(child):
            del module._modules[name]
    for name in [name for name in module._parameters if name not in kept]:
        if isinstance(module, nn.ParameterDict):
            del module[name]
        elif isinstance(module, nn.ParameterList):  # which has no way to get shorter
            del module._parameters[name]
            module._size -= 1


def _take(module: nn.Module, name: str, tensor: torch.Tensor, path: str) -> None:
    """Let a module's own tensor have the shape and type of the stored one, or add it."""
    where = f"{path}.{name}".lstrip(".")
    if name in module._buffers:
        own = module._buffers[name]
        if own is None or (not _lazy(own) and (own.shape, own.dtype) != (tensor.shape, tensor.dtype)):
            module._buffers[name] = torch.empty_like(tensor, device=_device_of(module, own))
    elif name in module._parameters:
        old = module._parameters[name]
        if old is None or (not _lazy(old) and old.shape != tensor.shape):
            wanted = tensor.is_floating_point() if old is None else old.requires_grad
            empty = torch.empty_like(tensor, device=_device_of(module, old), dtype=None if old is None else old.dtype)
            module._parameters[name] = nn.Parameter(empty, wanted)
            _tell_sizes(module, where)
    elif isinstance(module, nn.ParameterList):
        module.append(nn.Parameter(torch.empty_like(tensor), tensor.is_floating_point()))
    elif isinstance(module, nn.ParameterDict):
        module[name] = nn.Parameter(torch.empty_like(tensor), tensor.is_floating_point())
    elif type(module).__module__.startswith("torch.nn.modules.") or hasattr(type(module), name):
        raise ValueError(f"{where}: a freshly built {type(module).__name__} has no such tensor")
    elif name in vars(module):  # None until it was set: as a parameter, since torch lets no buffer take its place
        del vars(module)[name]
        module.register_parameter(name, nn.Parameter(torch.empty_like(tensor), tensor.is_floating_point()))
    else:
        module.register_buffer(name, torch.empty_like(tensor))


def _lazy(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, LAZY)


def _device_of(module: nn.Module, own: torch.Tensor | None) -> torch.device:
    if own is not None:
        return own.device
    return next((tensor.device for tensor in module.state_dict(keep_vars=True).values()), torch.device("cpu"))


def _tell_sizes(module: Any, where: str) -> None:
    """Let a layer of torch whose parameters have other shapes now say so in its attributes too."""
    kind = type(module)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, _NormBase):
        module.num_features = len(module.weight if module.weight is not None else module.running_mean)
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, _ConvNd) and not module.transposed:
        module.out_channels, module.in_channels = len(module.weight), module.weight.shape[1] * module.groups
    elif kind.__module__.startswith("torch.nn.modules."):
        raise ValueError(f"{where}: a {kind.__name__} that has grown in training cannot be made again")
