"""A tiny domain-incremental stream, and strategies from the registry trained on it by the harness's engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.assembly import assemble, seed_everything
from lorisbench.engine.evaluation import learn
from lorisbench.engine.own_plugins import HarnessPlugin
from lorisbench.engine.strategy import Strategy
from lorisbench.model.models import Backbone
from lorisbench.suite.config import HeadConfig
from lorisbench.suite.entries import make_strategy
from lorisbench.suite.spec import RunSpec
from lorisbench.suite.training import TrainingConfig

WIDTH, CLASSES, SAMPLES = 6, 3, 24
LINEAR: list[int] = []  # hidden widths of the head
MLP = [8]
SEED = 0
DEFAULTS = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.5, "epochs": 2, "batch_size": 16}


class Spy(HarnessPlugin):
    """Calls back with the strategy: `Spy(after_update=print)`; `first` if it acts before the strategy's plugins."""

    def __init__(self, first: bool = False, **callbacks: Callable[[Any], Any]) -> None:
        super().__init__()
        self.first = first
        for name, call in callbacks.items():
            setattr(self, name, lambda strategy, *a, call=call, **k: call(strategy))


def samples(experience: int, count: int = SAMPLES) -> tuple[torch.Tensor, torch.Tensor]:
    """x float32 (count, WIDTH), y int64 (count,): noise about a mean for each class, shifted with each experience."""
    generator = torch.Generator().manual_seed(experience)
    y = torch.arange(count) % CLASSES
    x = torch.randn(count, WIDTH, generator=generator) + experience
    x[:, :CLASSES] += 2 * nn.functional.one_hot(y, CLASSES)
    return x, y


def stream(experiences: int, labelled: bool = False) -> tuple[Any, Store]:
    """The stream of `samples` (validation and test have just one sample each, as they must exist), and its store.

    labelled : each experience has a task label, which its inputs carry.
    """
    rows: list[tuple[object, ...]] = []
    parts = []
    for experience in range(experiences):
        x, y = samples(experience, SAMPLES + 2)
        parts.append((x, y))
        for i, split in enumerate(["train"] * SAMPLES + ["validation", "test"]):
            rows.append((f"{experience}/{i}", int(y[i]), str(int(y[i])), experience, split, "", 0, ""))
    x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    task = torch.arange(experiences).repeat_interleave(SAMPLES + 2) if labelled else None
    store = Store(x, y, task, labelled)
    names = [str(experience) for experience in range(experiences)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    manifest = Manifest(table, Path(), "generated numbers", True, [str(k) for k in range(CLASSES)], names)
    return make_stream(manifest, store), store


def seen(experience: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a strategy trains on in an experience of `stream`: x (SAMPLES, WIDTH) and y."""
    x, y = samples(experience, SAMPLES + 2)
    return x[:SAMPLES], y[:SAMPLES]


def trained(
    strategy: str,
    *,
    spies: Sequence[Spy] = (),
    hidden: Sequence[int] = MLP,
    experiences: int = 3,
    training: dict[str, Any] | None = None,
    per_task: bool = False,
    **settings: Any,
) -> Any:
    """The Avalanche strategy after all experiences, on the CPU; the order of samples is the same for all strategies.

    strategy, settings : name and settings of one in the registry. training : settings of `training` that replace the
    `DEFAULTS`. per_task : each experience has an
    output layer.
    """
    component = make_strategy({"strategy": strategy, **settings})
    config = TrainingConfig.model_validate({**DEFAULTS, **(training or {})})
    whole, engine = assembled(component, hidden, experiences, config, per_task)
    engine.plugins[:0] = [spy for spy in spies if spy.first]
    engine.plugins += [spy for spy in spies if not spy.first]
    for index in range(experiences):
        seed_everything(SEED, index)  # as in a run: some of Avalanche's plugins draw from the random state
        learn(engine, whole, index)
    return engine


def assembled(
    component: Strategy, hidden: Sequence[int], experiences: int, training: TrainingConfig, per_task: bool = False
) -> tuple[Any, Any]:
    """The stream, and what a strategy builds for it: the Avalanche strategy before any training."""
    whole, store = stream(experiences, per_task)
    # features are given: only the backbone's width is used, nothing ever passes through it
    backbone = Backbone(nn.Identity(), (0.0,) * 3, (1.0,) * 3, WIDTH)
    spec = RunSpec(
        component.name,
        component.name,
        SEED,
        strategy=component,
        head=HeadConfig(hidden=list(hidden), per_task=per_task),
        training=training,
    )
    return whole, assemble(spec, backbone, store, CLASSES, experiences, torch.device("cpu"))


def weights(strategy: Any) -> torch.Tensor:
    """A copy of all parameters, flat."""
    return torch.cat([p.detach().flatten().clone() for p in strategy.model.parameters()])


def apart(one: Any, other: Any) -> float:
    """The largest difference between a weight of one strategy's model and the same weight of the other's."""
    return float((weights(one) - weights(other)).abs().max())


def plugin_of(strategy: Any, kind: type) -> Any:
    """The strategy's plugin of this class."""
    return next(plugin for plugin in strategy.plugins if isinstance(plugin, kind))
