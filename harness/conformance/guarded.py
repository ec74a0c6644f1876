"""Which samples a strategy touches, and what state is its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from lorisbench.engine.own_plugins import HarnessPlugin
from lorisbench.engine.reach import walk

# What belongs to Avalanche's loop or to the harness, and is not a method's state
_LOOP = {
    "model", "optimizer", "plugins", "store", "experience", "adapted_dataset", "_eval_streams", "current_eval_stream",
    "_criterion", "loss", "optimized_param_id", "mbatch", "mb_output", "dataloader", "evaluator", "clock", "_frozen",
}  # fmt: skip


class Guarded:
    """A store's tensor that notes in `log` the rows asked for; any use of it as a whole notes all rows."""

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


def methods_plugins(strategy: Any) -> list[Any]:
    """The plugins of a strategy that are the method's own: neither the harness's nor Avalanche's for the loop."""
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.plugins.clock import Clock

    return [plugin for plugin in strategy.plugins if not isinstance(plugin, (HarnessPlugin, EvaluationPlugin, Clock))]


def state_of(strategy: Any, inside: bool = False) -> Iterator[tuple[str, Any]]:
    """Everything the method keeps besides the model, in its plugins and its strategy: tensors and modules by path."""
    parts = (*strategy.model.modules(), *strategy.model.state_dict(keep_vars=True).values())
    seen: dict[int, Any] = {id(part): part for part in parts}
    for plugin in methods_plugins(strategy):
        yield from walk(plugin, type(plugin).__name__, inside, seen)
    own = {key: value for key, value in vars(strategy).items() if key not in _LOOP}
    yield from walk(own, type(strategy).__name__, inside, seen)
