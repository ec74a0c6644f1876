"""A tiny domain-incremental stream and a bare Avalanche script that trains on it, for the tests of strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
from avalanche.core import SupervisedPlugin
from avalanche.training import Naive
from torch import nn
from torch.utils.data import TensorDataset

WIDTH, CLASSES = 6, 3


def samples(experience: int, count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """x float32 (count, 6), y int64 (count,) of one experience; each shifts the inputs further."""
    generator = torch.Generator().manual_seed(experience)
    y = torch.arange(count) % CLASSES
    x = torch.randn(count, WIDTH, generator=generator) + experience
    x[:, :CLASSES] += 2 * nn.functional.one_hot(y, CLASSES)
    return x, y


def stream(experiences: int = 3, count: int = 24) -> Any:
    """Their training stream, with the task labels and `task_set` that Avalanche's LwF asks for."""
    sets = []
    for experience in range(experiences):
        x, y = samples(experience, count)
        dataset = TensorDataset(x, y)
        dataset.targets = y.tolist()
        sets.append(_make_taskaware_classification_dataset(dataset, task_labels=0))
    return with_classes_timeline(with_task_labels(benchmark_from_datasets(train=sets, test=sets)))


def mlp(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8) if norm else nn.Tanh(), nn.Linear(8, CLASSES))


def head() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, CLASSES)


def train(
    plugins: list[Any],
    model: nn.Module | None = None,
    *,
    lr: float = 0.1,
    momentum: float = 0.5,
    epochs: int = 2,
    experiences: int = 3,
    batch_size: int = 16,
    adam: bool = False,
) -> Any:
    """Train on the stream in a bare Avalanche script; the order of samples is the same for all plugins."""
    model = mlp() if model is None else model
    parameters = model.parameters()
    optimizer = torch.optim.Adam(parameters, lr) if adam else torch.optim.SGD(parameters, lr, momentum=momentum)
    strategy = Naive(
        model=model, optimizer=optimizer, train_mb_size=batch_size, train_epochs=epochs, plugins=plugins, evaluator=None
    )
    for experience in stream(experiences).train_stream:
        # some of Avalanche's plugins draw from the random state while they estimate, ours do not
        torch.manual_seed(experience.current_experience)
        strategy.train(experience)
    return strategy


def weights(strategy: Any) -> torch.Tensor:
    """A copy of all parameters, flat."""
    return torch.cat([p.detach().flatten().clone() for p in strategy.model.parameters()])


def movement(plugins: Callable[[], list[Any]], **settings: Any) -> float:
    """How far the weights went in the second of two experiences."""
    marks: list[torch.Tensor] = []
    train([*plugins(), Spy(after_training_exp=lambda s: marks.append(weights(s)))], experiences=2, **settings)
    return float((marks[1] - marks[0]).norm())


def pairs(x: torch.Tensor, y: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """x and y in batches."""
    return zip(x.split(size), y.split(size), strict=True)


class Spy(SupervisedPlugin):
    """Calls back with the strategy: `Spy(after_update=print)`."""

    def __init__(self, **callbacks: Callable[[Any], Any]) -> None:
        super().__init__()
        for name, call in callbacks.items():
            setattr(self, name, lambda strategy, *a, call=call, **k: call(strategy))
