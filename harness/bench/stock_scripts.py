"""A small comparison as scripts of Avalanche alone, written as its documentation teaches, without the harness.

The frozen backbone is passed through in every epoch and evaluation, images are decoded by PIL in Avalanche's datasets
and loaders, and metrics are those of an EvaluationPlugin with the usual logger.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks import paths_benchmark
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training import EWC, LwF, Naive
from avalanche.training.plugins import EvaluationPlugin
from torch import nn
from torchvision import transforms

Files = list[list[tuple[Path, int]]]
"""Image files with their labels, a list for each experience."""

EPOCHS, TRAIN_BATCH, EVAL_BATCH, RATE = 4, 16, 64, 0.003
LAMBDA, ALPHA, TEMPERATURE = 3000.0, 5.0, 2.0
METHODS: dict[str, Callable[..., Any]] = {
    "naive": Naive,
    "ewc": lambda **given: EWC(ewc_lambda=LAMBDA, **given),
    "lwf": lambda **given: LwF(alpha=ALPHA, temperature=TEMPERATURE, **given),
}


class FrozenBackbone(nn.Module):
    """A pretrained network that is not trained, and a linear head that is."""

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network.requires_grad_(False), head

    def train(self, mode: bool = True) -> FrozenBackbone:
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            features = self.network(x)
        return self.head(features)


def make_benchmark(train: Files, test: Files, mean: Sequence[float], std: Sequence[float]) -> Any:
    """A stream of image files; mean, std: of the channels, for values in 0..1."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    return paths_benchmark(
        train, test, task_labels=[0] * len(train), train_transform=transform, eval_transform=transform
    )  # fmt: skip


def run(method: str, benchmark: Any, model: nn.Module, plugins: Sequence[Any] = ()) -> list[list[float]]:
    """Train on one experience after another, evaluate on all after each; returns the matrix of accuracies in 0..1."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        of_all = {"minibatch": True, "epoch": True, "experience": True, "stream": True}
        evaluator = EvaluationPlugin(
            accuracy_metrics(**of_all), loss_metrics(**of_all), forgetting_metrics(experience=True, stream=True),
            loggers=[InteractiveLogger()],
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.head.parameters(), lr=RATE)  # type: ignore[union-attr]
        strategy = METHODS[method](
            model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), train_mb_size=TRAIN_BATCH,
            train_epochs=EPOCHS, eval_mb_size=EVAL_BATCH, plugins=list(plugins), evaluator=evaluator,
        )  # fmt: skip
        rows = []
        for experience in benchmark.train_stream:
            strategy.train(experience)
            found = strategy.eval(benchmark.test_stream)
            rows.append([found[_metric(number)] for number in range(len(benchmark.test_stream))])
    return rows


def _metric(experience: int) -> str:
    return f"Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp{experience:03d}"
