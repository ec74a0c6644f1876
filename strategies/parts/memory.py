"""A memory of samples from a stream, chosen at random as the stream goes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from avalanche.core import SupervisedPlugin

from lorisbench.data.stream import taken
from lorisbench.strategies.parts.data import batches

Selection = Literal["reservoir", "class-balanced"]


def chosen(keys: torch.Tensor, labels: torch.Tensor, size: int, selection: Selection) -> torch.Tensor:
    """Which of a stream's samples a memory of `size` keeps, given a random key for each.

    `reservoir`: the smallest keys. As keys are drawn independently and alike, each sample of the stream is kept with
    the same probability, as in Vitter's reservoir sampling (1985, Algorithm R). `class-balanced`: the classes take
    turns giving their remaining sample with the smallest key until the memory is full; so the numbers per class differ
    by at most one, except for classes that have no more samples, and within a class all samples are equally likely.

    In either order, more samples can only push a sample down: choosing among those kept before and new ones gives what
    choosing once among all would, and nothing that was dropped is ever needed again.

    Parameters
    ----------
    keys : float64 (samples,) on the CPU, in [0, 1). labels : int64 (samples,) on the CPU.

    Returns
    -------
    int64 (min(size, samples),), ascending.
    """
    order = keys.argsort()
    if selection == "class-balanced":
        by_class = order[labels[order].argsort(stable=True)]
        counts = labels.unique(return_counts=True)[1]
        rank = torch.empty_like(order)
        rank[by_class] = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        order = order[rank[order].argsort(stable=True)]
    return order[:size].sort().values


class Memory:
    """At most `size` samples (None: all), each an input, a label, and whatever else is added with them.

    Parameters
    ----------
    selection : see `chosen`. seed : of the memory's own random numbers, for what is kept and what is drawn.

    Attributes
    ----------
    fields : tensors of equal length: inputs (samples, ...), int64 labels (samples,), and the others added; empty
        before the first sample. keys : float64 (samples,) on the CPU.
    """

    def __init__(self, size: int | None, selection: Selection = "reservoir", seed: int = 0) -> None:
        self.size = size
        self.selection: Selection = selection
        self.generator = torch.Generator().manual_seed(seed)
        self.fields: tuple[torch.Tensor, ...] = ()
        self.keys = torch.empty(0, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, *fields: torch.Tensor) -> None:
        """Offer samples of the stream, as tensors in the order of `fields`; some are kept, others may have to go."""
        fields = tuple(field.detach() for field in fields)
        keys = torch.cat([self.keys, torch.rand(len(fields[0]), dtype=torch.float64, generator=self.generator)])
        kept = torch.arange(len(keys))
        if self.size is not None and len(keys) > self.size:
            labels = torch.cat([part[1].cpu() for part in (self.fields, fields) if part])
            kept = chosen(keys, labels, self.size, self.selection)
        old, new = kept[kept < len(self)], kept[kept >= len(self)] - len(self)
        if len(new):
            # fancy indexing copies: what is kept is not a view of a batch or of the stream's data
            taken = [field[new.to(field.device)] for field in fields]
            if self.fields:
                before = [field[old.to(field.device)] for field in self.fields]
                taken = [torch.cat(pair) for pair in zip(before, taken, strict=True)]
            self.fields, self.keys = tuple(taken), keys[kept]

    def draw(self, count: int) -> tuple[torch.Tensor, ...]:
        """The fields of `count` different samples, or of all if there are no more, uniformly at random."""
        return self.at(torch.randperm(len(self), generator=self.generator)[:count])

    def at(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The fields of the samples at `indices`, int64 on the CPU."""
        return tuple(taken(field, indices.to(field.device)) for field in self.fields)


def remember(memory: Memory, strategy: Any, inputs: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
    """Offer the samples of the current experience, free of augmentation: inputs, labels, task labels.

    inputs : maps a batch of inputs to what is kept; None keeps the inputs themselves. A stream without task labels gets
        0.
    """
    data = strategy.experience.dataset.eval()
    tasks = torch.as_tensor(list(getattr(data, "targets_task_labels", [0] * len(data))), device=strategy.device)
    start = 0
    for x, y in batches(strategy, data):
        memory.add(x if inputs is None else inputs(x), y, tasks[start : start + len(y)])
        start += len(y)


class MemoryPlugin(SupervisedPlugin):
    """A plugin with a memory.

    Attributes
    ----------
    memory : the samples kept, on the device where training runs.
    replay_samples : how many there are.
    owns_samples : True: the samples are tensors among the plugin's attributes, so their bytes are counted there.
    """

    owns_samples = True

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    @property
    def replay_samples(self) -> int:
        return len(self.memory)
