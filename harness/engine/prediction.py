"""What one prediction takes, counted and not timed: parameters, multiplications, and tensors in memory at a time."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lorisbench.engine.flops import FlopCount


def prediction_cost(model: nn.Module, sample: torch.Tensor) -> dict[str, Any]:
    """What a model takes for one sample, in inference mode; the same on every machine and device.

    sample : as `model` takes it, a batch of one: uint8 (1, 3, size, size), or features float32 (1, width).

    Returns
    -------
    parameters : numbers in its parameters; buffers are not among them. macs : multiplications, each with its addition,
    of `lorisbench.engine.flops`, half of its operations. inference_mb : 10^6 bytes of the tensors that are there at a
    time, at most: parameters, buffers, the sample, what lies between layers, and what the model keeps from call to
    call; libraries and what an operation needs inside itself are not in it.
    """
    sample = sample.clone()  # not a part of a larger tensor
    held = [*model.parameters(), *model.buffers(), sample]
    with torch.inference_mode(), _Tensors(held) as tensors:
        model(sample)  # what it keeps from now on lies beside the layers of the second call
        with FlopCount() as count:
            model(sample)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs": count.total // 2,
        "inference_mb": round(tensors.peak / 1e6, 6),
    }


class _Tensors(TorchDispatchMode):
    """Within it, `peak` is the most bytes that tensors took at a time: those given, and whatever an operation meets."""

    def __init__(self, given: list[torch.Tensor]) -> None:
        super().__init__()
        storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in given}
        self._given, self._base = set(storages), sum(storages.values())
        self._others: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = self._base

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._others = {key: held for key, held in self._others.items() if not held[0].expired()}
        for tensor in itertools.chain(tree_iter(args), tree_iter(kwargs or {}), tree_iter(out)):
            if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided:
                storage = tensor.untyped_storage()
                if storage._cdata not in self._given:
                    self._others[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, self._base + sum(size for _, size in self._others.values()))
        return out
