"""How training samples are cut into batches, and what a layer does that meets a single one: no batch is left of one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lorisbench.common.errors import InputError


def cut(rows: torch.Tensor, batch_size: int) -> tuple[torch.Tensor, ...]:
    """`rows` (samples, ...) in parts of `batch_size` and a rest; a rest of one sample joins the part before it.

    BatchNorm cannot normalise a single sample in training, and its gradient is noise under any network.
    """
    parts = rows.split(batch_size)
    if len(parts) > 1 and len(parts[-1]) == 1 < batch_size:
        return (*parts[:-2], rows[-batch_size - 1 :])
    return parts


class Joined:
    """A loader of someone else's, in which a last batch of one sample joins the one before it."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        held: Any = None
        for batch in self.loader:
            if held is not None:
                if _is_one(batch):
                    yield [torch.cat(pair) for pair in zip(held, batch, strict=True)]
                    held = None
                    continue
                yield held
            held = batch
        if held is not None:
            yield held


def joined(loader: Any) -> Any:
    """The loader itself, or, where its data sets leave a batch of one sample at the end, a `Joined` one.

    Only there, as that one fetches a batch ahead, which may change the order of random numbers.
    """
    sets = getattr(loader, "datasets", None)  # one of Avalanche's, with a batch size for each data set
    pairs = [(getattr(loader, "dataset", None), getattr(loader, "batch_size", None))]
    if isinstance(sets, list):
        pairs = list(itertools.zip_longest(sets, getattr(loader, "batch_sizes", ())))
    for dataset, size in pairs:
        sized = hasattr(dataset, "__len__") and isinstance(size, int)
        if sized and size > 1 and len(dataset) > size and len(dataset) % size == 1:  # type: ignore[arg-type, operator]
            return Joined(loader)
    return loader


def _is_one(batch: Any) -> bool:
    parts = batch if isinstance(batch, (list, tuple)) else [None]
    return all(isinstance(part, torch.Tensor) and part.ndim > 0 and len(part) == 1 for part in parts)


def normalise_single_samples(model: nn.Module) -> None:
    """Let each BatchNorm of a model normalise a single sample, where one is all there is, with its running statistics.

    That is what it does in evaluation. It acts only where torch would refuse the sample in training
    ("expected more than 1 value per channel"); the statistics stay as they are. Call it again for layers added since.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and _before_norm not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_before_norm)
            module.register_forward_hook(_after_norm, always_call=True)


def _before_norm(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    if module.training and module.running_mean is not None and _values_of_channel(inputs[0]) == 1:
        module.training, module.on_single_sample = False, True  # type: ignore[assignment]


def _after_norm(module: nn.Module, inputs: Any, output: Any) -> None:
    if module.__dict__.pop("on_single_sample", False):
        module.training = True


def _values_of_channel(x: torch.Tensor) -> int:
    return x.numel() // max(1, x.shape[1]) if x.ndim > 1 else 0


def check_batches_of_one(network: nn.Module, size: int, batch_size: int) -> None:
    """Raise InputError if batches of `batch_size` 1 cannot train the BatchNorm layers of a backbone.

    network : uint8 images (batch, 3, size, size) -> features; left as it is. A BatchNorm that sees several positions
        of an image can be trained on one.
    """
    norms = {module: name for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    if batch_size != 1 or not norms:
        return
    single: list[str] = []

    def note(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if _values_of_channel(inputs[0]) == 1:
            single.append(norms[module])

    hooks = [module.register_forward_pre_hook(note) for module in norms]
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        device = next(network.parameters()).device
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    if single:
        raise InputError(
            f"training.batch_size 1: the BatchNorm {single[0]} of the backbone sees one value per channel of an image "
            f"of {size} x {size}, and needs at least two to train; use a larger batch_size, or backbone.norm: group"
        )
