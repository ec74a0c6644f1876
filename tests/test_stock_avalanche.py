"""EWC and LwF against Avalanche's own, in the settings where both compute the same."""

from __future__ import annotations

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
from avalanche.training import Naive
from avalanche.training.plugins import EWCPlugin as StockEWC
from avalanche.training.plugins import LwFPlugin as StockLwF
from torch import nn
from torch.utils.data import TensorDataset

from strategies.ewc import EWCPlugin
from strategies.lwf import LwFPlugin


def train(plugins, batch_size):
    generator = torch.Generator().manual_seed(0)
    sets = []
    for shift in range(3):
        y = torch.arange(12) % 3
        dataset = TensorDataset(torch.randn(12, 4, generator=generator) + shift, y)
        dataset.targets = y.tolist()
        sets.append(_make_taskaware_classification_dataset(dataset, task_labels=0))
    stream = with_classes_timeline(with_task_labels(benchmark_from_datasets(train=sets)))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    strategy = Naive(
        model=model,
        optimizer=optimizer,
        train_mb_size=batch_size,
        train_epochs=2,
        plugins=plugins,
        evaluator=None,
    )
    for experience in stream.train_stream:
        # Avalanche's EWC draws from the random state while it estimates, ours does not
        torch.manual_seed(experience.current_experience)
        strategy.train(experience)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_empirical_ewc_is_avalanches_with_batches_of_one():
    """There the gradient of a batch is a sample's; its penalty lacks the factor 1/2."""
    ours = train([EWCPlugin(4.0, "empirical")], 1)
    assert torch.allclose(ours, train([StockEWC(2.0)], 1), atol=1e-5)
    assert not torch.allclose(ours, train([], 1), atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_lwf_is_avalanches_without_the_square_of_the_temperature(temperature):
    """The model has no layer that behaves otherwise in training mode, where Avalanche leaves its teacher."""
    ours = train([LwFPlugin(3.0, temperature)], 4)
    stock = train([StockLwF(3.0 * temperature**2, temperature)], 4)
    assert torch.allclose(ours, stock, atol=1e-5)
    assert not torch.allclose(ours, train([], 4), atol=1e-3)
