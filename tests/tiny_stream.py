"""A tiny domain-incremental stream and a bare Avalanche script that trains on it, for the tests of strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
from avalanche.training import Naive
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from lorisbench.bench.synthetic import one_experience
from lorisbench.data.stream import Store
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.reproduce.verification.tiny import CLASSES, SAMPLES, WIDTH, Spy, samples, weights
from lorisbench.suite.training import TrainingConfig

__all__ = ["Spy", "engine_of", "head", "mlp", "movement", "pairs", "samples", "stream", "stream_of", "train", "weights"]

Samples = tuple[torch.Tensor, torch.Tensor]
"""x float32 (count, ...), y int64 (count,)."""


def stream_of(experiences: Sequence[Samples | Dataset[Any]], tasks: Sequence[int] | None = None) -> Any:
    """Streams of these experiences, the same ones for training and for testing.

    tasks : a task label for each; adds the `task_set` and the timeline that Avalanche's LwF needs.
    """
    sets: list[Any] = []
    for experience in experiences:
        dataset: Any = experience
        if isinstance(experience, tuple):
            dataset = TensorDataset(*experience)
            dataset.targets = experience[1].tolist()
        sets.append(dataset)
    if tasks is None:
        known = [as_classification_dataset(dataset) for dataset in sets]
        return benchmark_from_datasets(train=known, test=known)
    labelled = [_make_taskaware_classification_dataset(d, task_labels=t) for d, t in zip(sets, tasks, strict=True)]
    return with_classes_timeline(with_task_labels(benchmark_from_datasets(train=labelled, test=labelled)))


def stream(experiences: int = 3, count: int = SAMPLES) -> Any:
    """The tiny stream, of one task: `samples` of each experience, which shifts the inputs further."""
    return stream_of([samples(experience, count) for experience in range(experiences)], [0] * experiences)


def mlp(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8) if norm else nn.Tanh(), nn.Linear(8, CLASSES))


def head() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, CLASSES)


def train(
    plugins: list[Any],
    model: nn.Module | None = None,
    of: Any = None,
    *,
    lr: float = 0.1,
    momentum: float = 0.5,
    weight_decay: float = 0.0,
    epochs: int = 2,
    experiences: int = 3,
    count: int = SAMPLES,
    batch_size: int = 16,
    adam: bool = False,
) -> Any:
    """Train in a bare Avalanche script, on the tiny stream or on the training experiences `of` another one.

    The order of samples is the same for all plugins.
    """
    model = mlp() if model is None else model
    parameters = model.parameters()
    optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay)
    if adam:
        optimizer = torch.optim.Adam(model.parameters(), lr)
    strategy = Naive(
        model=model, optimizer=optimizer, train_mb_size=batch_size, train_epochs=epochs, eval_mb_size=16,
        plugins=plugins, evaluator=None,
    )  # fmt: skip
    for experience in stream(experiences, count).train_stream if of is None else of:
        # some of Avalanche's plugins draw from the random state while they estimate, ours do not
        torch.manual_seed(experience.current_experience)
        strategy.train(experience)
    return strategy


def movement(plugins: Callable[[], list[Any]], **settings: Any) -> float:
    """How far the weights moved in the second of two experiences."""
    marks: list[torch.Tensor] = []
    train([*plugins(), Spy(after_training_exp=lambda s: marks.append(weights(s)))], experiences=2, **settings)
    return float((marks[1] - marks[0]).norm())


def pairs(x: torch.Tensor, y: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """x and y in batches."""
    return zip(x.split(size), y.split(size), strict=True)


def engine_of(plugins: list[Any], count: int = 12, batch_size: int = 5) -> tuple[Engine, Any]:
    """The harness's engine on a linear head, two epochs, and an experience of `count` samples for it."""
    x, y = samples(0, count + 2)
    store, training, model = Store(x, y), TrainingConfig(epochs=2, batch_size=batch_size), head()
    engine = Engine(
        model=model, optimizer=make_optimizer(model, training), plugins=plugins, store=store, training=training,
        device=torch.device("cpu"), seed=0,
    )  # fmt: skip
    return engine, one_experience(store, count)
