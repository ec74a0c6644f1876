"""Strategies whose plugins keep state of many kinds, and some that cannot be resumed; a file for `--plugin`."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import itertools
import random
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.storage_policy import ClassBalancedBuffer
from torch import nn

from lorisbench import Strategy

Pair = namedtuple("Pair", "left right")


class Mood(enum.Enum):
    CALM = 0
    WILD = 1


@dataclasses.dataclass
class Note:
    text: str
    values: dict[tuple[int, str], torch.Tensor] = dataclasses.field(default_factory=dict)


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Tally(dict):
    """A mapping with an attribute."""

    total = 0


class Keeper(SupervisedPlugin):
    """Keeps something new of each kind after each experience, and lets all of it bear on the gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.numpy = np.random.default_rng(3)
        self.legacy = np.random.RandomState(4)
        self.plain = random.Random(5)
        self.torch = torch.Generator().manual_seed(6)
        self.seen: set[Any] = set()
        self.last: deque[float] = deque(maxlen=3)
        self.sums: defaultdict[Any, float] = defaultdict(float)
        self.lists: defaultdict[int, list[int]] = defaultdict(list)
        self.ordered: OrderedDict[str, int] = OrderedDict()
        self.counted: Counter[int] = Counter()
        self.tally = Tally()
        self.note = Note("none")
        self.notes = [self.note]
        self.same = self.notes  # one object under two names
        self.mood, self.pair, self.array = Mood.CALM, Pair(0, [1]), np.zeros(3)
        self.network: nn.Module | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.moved: Any = None
        self.view: torch.Tensor | None = None
        self.by_parameter: dict[nn.Parameter, float] = {}
        self.scaled = functools.partial(self.scale, factor=0.5)
        self.memory = ClassBalancedBuffer(9, adaptive_size=True)
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return calls

        self.count = count

    def scale(self, value: float, factor: float) -> float:
        return value * factor

    def drawn(self) -> float:
        values = [self.numpy.random(), self.legacy.random_sample(), self.plain.random()]
        values += [float(torch.rand((), generator=self.torch)), sum(self.last), sum(self.sums.values())]
        values += [len(self.seen), sum(self.ordered.values()), sum(self.counted.values()), self.tally.total]
        values += [len(self.same), float(self.array.sum()), self.pair.left, sum(map(len, self.lists.values()))]
        values += [self.mood is Mood.WILD, self.count(), sum(self.by_parameter.values())]
        values += [float(sum(tensor.sum() for tensor in self.note.values.values())), len(self.memory.buffer)]
        if self.network is not None:
            values += [float(sum(p.sum() for p in self.network.parameters())), float(self.moved(2.0))]
        if self.view is not None:
            values.append(float(self.view.sum()))
        return float(sum(values))

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        for parameter in strategy.model.parameters():
            if parameter.grad is not None:
                parameter.grad += 1e-3 * self.scaled(self.drawn())

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        index = strategy.clock.train_exp_counter
        self.seen |= {(index, "seen"), str(index), frozenset([index])}
        self.last.append(float("nan") if index < 0 else index / 3)
        self.sums["a", index] += 0.25
        self.lists[index].append(index)
        self.ordered[str(index)] = index
        self.ordered.move_to_end("0")
        self.counted[index % 2] += 1
        self.tally["x"] = index
        self.tally.total += 1
        self.same.append(Note("more"))
        self.note.values[index, "mean"] = strategy.model.head.bias.detach().clone()
        self.mood = Mood.WILD
        self.pair = Pair(index, self.same)
        self.array = self.array + index
        if self.network is None:
            self.network = copy.deepcopy(strategy.model)
            self.network.extra = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
            self.network.register_buffer("grown", torch.zeros(0))
            self.optimizer = torch.optim.Adam(self.network.parameters())
            self.moved = self.numpy.standard_normal(4).astype(np.float16).sum
            self.moved = functools.partial(self.scale, factor=np.float32(3))
            self.view = next(strategy.model.parameters()).detach().flatten()[1:]  # follows the weights
        for parameter in self.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        assert self.optimizer is not None
        self.optimizer.step()
        self.network.grown = torch.cat([self.network.grown, torch.ones(1)])  # type: ignore[has-type]
        self.by_parameter[next(strategy.model.parameters())] = 0.5 + index
        self.memory.update(strategy)
        self.path, self.slotted = Path("somewhere"), Slotted(torch.Size([index]))


class KeepsAll(Strategy, name="own-keeps-all"):
    def plugins(self, context: Any) -> list[Any]:
        return [Keeper()]


class Itself(SupervisedPlugin):
    """Says itself what its state is, besides something that could not be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.zeros(1)
        self.endless = itertools.count()

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "count": 3}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["count"] == 3
        self.weight = state["weight"].clone()

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        for parameter in strategy.model.parameters():
            parameter.grad += self.weight

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.weight = self.weight + 0.1


class SaysItself(Strategy, name="own-says-itself"):
    def plugins(self, context: Any) -> list[Any]:
        return [Itself()]


class Holder(SupervisedPlugin):
    """Holds something, from the second experience on, that is no data."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.held: list[Any] = []

    def make(self) -> Any:
        made = {
            "generator": lambda: (each for each in range(3)),
            "count": itertools.count,
            "lambda": lambda: lambda: 1,
            "objects": lambda: np.array([object()]),
            "sparse": lambda: torch.eye(2).to_sparse(),
            "file": lambda: open(__file__),  # noqa: SIM115
            "local": lambda: type("Local", (), {})(),
        }
        return made[self.what]()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.held.append({"it": self.make()})


class Holds(Strategy, name="own-holds"):
    what: str

    def plugins(self, context: Any) -> list[Any]:
        return [Holder(self.what)]


class Breaking(Itself):
    def state_dict(self) -> dict[str, Any]:
        raise RuntimeError("no state today")


class Breaks(Strategy, name="own-breaks"):
    def plugins(self, context: Any) -> list[Any]:
        return [Breaking()]
