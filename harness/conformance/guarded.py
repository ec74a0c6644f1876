"""Which samples a strategy touches and which it holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

# What belongs to Avalanche's loop or to the harness, and is no state of a method
_LOOP = {
    "model", "optimizer", "plugins", "store", "experience", "adapted_dataset", "_eval_streams", "current_eval_stream",
    "_criterion", "loss", "optimized_param_id", "mbatch", "mb_output", "dataloader", "evaluator", "clock",
}  # fmt: skip
_OPAQUE = ("builtins", "torch", "numpy", "pydantic", "harness", "benchmarks")


class Guarded:
    """A tensor of a store that notes in `log` the rows that are asked for; what takes it whole notes all rows."""

    def __init__(self, tensor: torch.Tensor, log: set[int]) -> None:
        self.tensor, self.log = tensor, log

    def __getitem__(self, index: Any) -> torch.Tensor:
        place = index[0] if isinstance(index, tuple) else index
        rows = torch.arange(len(self.tensor))[place.cpu() if isinstance(place, torch.Tensor) else place]
        self.log.update(torch.as_tensor(rows).flatten().tolist())
        return self.tensor[index]

    def __len__(self) -> int:
        return len(self.tensor)

    def __deepcopy__(self, memo: dict[int, Any]) -> Guarded:
        return self  # a copy of a data set is guarded like the data set

    def __getattr__(self, name: str) -> Any:
        if name in ("device", "dtype", "shape", "ndim"):
            return getattr(self.tensor, name)
        if name.startswith("__"):
            raise AttributeError(name)
        self.log.update(range(len(self.tensor)))
        return getattr(self.tensor, name)


def walk(value: Any, path: str, inside: bool = False, seen: dict[int, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """All tensors and modules reachable from a value with their paths, not entering strategies or data sets.

    Of a module, itself and its state; with `inside` also tensors that are plain attributes of it or of its parts.
    """
    from avalanche.benchmarks.scenarios.generic_scenario import CLExperience
    from avalanche.training.templates.base import BaseTemplate

    seen = {} if seen is None else seen
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept alive, so that no later object gets its id
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        yield path, torch.from_numpy(np.ascontiguousarray(value))
    elif isinstance(value, nn.Module):
        yield path, value
        for name, tensor in value.state_dict(keep_vars=True).items():
            yield from walk(tensor, f"{path}.{name}", inside, seen)
        for name, module in value.named_modules() if inside else ():
            own = {k: v for k, v in vars(module).items() if k not in ("_parameters", "_buffers", "_modules")}
            yield from walk(own, f"{path}.{name}".rstrip("."), inside, seen)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, f"{path}.{key}", inside, seen)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for index, item in enumerate(value):
            yield from walk(item, f"{path}[{index}]", inside, seen)
    elif isinstance(value, (BaseTemplate, CLExperience, torch.utils.data.Dataset, type)):
        return
    elif hasattr(value, "__dict__") and type(value).__module__.partition(".")[0] not in _OPAQUE:
        yield from walk(dict(vars(value)), path, inside, seen)


def methods_plugins(strategy: Any) -> list[Any]:
    """The plugins of a strategy that are the method's own: neither the harness's nor Avalanche's for the loop."""
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.plugins.clock import Clock

    return [
        plugin
        for plugin in strategy.plugins
        if not (type(plugin).__module__.startswith("harness.") or isinstance(plugin, (EvaluationPlugin, Clock)))
    ]


def state_of(strategy: Any, inside: bool = False) -> Iterator[tuple[str, Any]]:
    """All that the method keeps beside the model, tensors and modules by path: its plugins' and its strategy's."""
    parts = (*strategy.model.modules(), *strategy.model.state_dict(keep_vars=True).values())
    seen: dict[int, Any] = {id(part): part for part in parts}
    for plugin in methods_plugins(strategy):
        yield from walk(plugin, type(plugin).__name__, inside, seen)
    own = {key: value for key, value in vars(strategy).items() if key not in _LOOP}
    yield from walk(own, type(strategy).__name__, inside, seen)


def held_samples(strategy: Any, x: torch.Tensor, rows: set[int]) -> tuple[int, str]:
    """How many of some rows of the inputs the method holds copies of, in any tensor, and the path of one of those.

    A copy is equal to the sample as float32, or to an image divided by 255.
    """
    wanted = sorted(rows)
    inputs = x[wanted].detach().cpu().to(torch.float32).flatten(1)
    known = {row.tobytes(): index for index, row in zip(wanted, inputs.numpy(), strict=True)}
    if x.dtype == torch.uint8:
        known |= {row.tobytes(): index for index, row in zip(wanted, (inputs / 255).numpy(), strict=True)}
    found: set[int] = set()
    where = ""
    kept = [*state_of(strategy, inside=True), *walk(strategy.model, "model", inside=True)]
    for path, tensor in kept:
        if not isinstance(tensor, torch.Tensor) or tensor.numel() < inputs.shape[1] or tensor.ndim == 0:
            continue
        if tensor.numel() % inputs.shape[1] or tensor.is_complex():
            continue
        parts = tensor.detach().cpu().to(torch.float32).reshape(-1, inputs.shape[1]).numpy()
        hits = {known[part.tobytes()] for part in parts if part.tobytes() in known}
        where = where or (path if hits else "")
        found |= hits
    return len(found), where
