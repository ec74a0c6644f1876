"""Avalanche's training plugins in a plain script of Avalanche and in the harness: the same weights and outputs?

Both train the same small network from the same weights, on the same generated samples in the same order. The plain
script uses nothing of the harness but that order, and a plugin may replace it by a loader of its own.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.models.base_model import BaseModel
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from lorisbench.common.errors import InputError, reason_of
from lorisbench.engine.assembly import seed_everything
from lorisbench.engine.engine import make_optimizer, seed_of
from lorisbench.engine.evaluation import learn
from lorisbench.engine.strategy import Context, Strategy
from lorisbench.model.models import make_head
from lorisbench.reproduce.verification import tiny
from lorisbench.suite.entries import make_strategy
from lorisbench.suite.training import TrainingConfig

PLACE = "avalanche.training.plugins"
ROUNDING = 1e-6
"""Largest difference, in units of the largest number, that another order of the same sums explains."""
EXPERIENCES = 3


@dataclass(frozen=True)
class Case:
    """A plugin with the arguments that a suite would have, and the settings of the run.

    Attributes
    ----------
    plugin : its class, and its module where that is not `avalanche.training.plugins`. variant : told beside the name.
    hidden, training : as `tiny.trained` has them. plain : what the plain script needs besides: arguments of Naive.
    watches : the stream that is evaluated while training, if any.
    wrap : makes the model, of both, from a head, where the plugin needs one of its own kind.
    makers : functions of model and optimizer that make plugins, in place of `plugin` and `args`, where a suite cannot.
    note : what a user should know, for the table.
    """

    plugin: str
    args: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""
    hidden: Sequence[int] = (8,)
    training: Mapping[str, Any] = field(default_factory=dict)
    plain: Mapping[str, Any] = field(default_factory=dict)
    watches: str = ""
    wrap: Callable[[nn.Module], nn.Module] | None = None
    makers: Sequence[Callable[[Any, Any], Any]] = ()
    note: str = ""

    @property
    def kind(self) -> str:
        return self.plugin.partition(":")[2] or self.plugin

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.variant}" if self.variant else self.kind

    @property
    def entry(self) -> dict[str, Any]:
        """As a suite holds it."""
        dotted = self.plugin if ":" in self.plugin else f"{PLACE}:{self.plugin}"
        return {"strategy": "avalanche", "plugin": dotted, "args": dict(self.args)}

    @property
    def settings(self) -> TrainingConfig:
        return TrainingConfig.model_validate({**tiny.DEFAULTS, **self.training})


@dataclass(frozen=True)
class Compared:
    """A plugin in both.

    Attributes
    ----------
    outcome : `equal` (every weight and output, bit for bit), `equal up to rounding`, `DIFFERENT`, `FAILED` (an error
        while training) or `refused`.
    difference : the largest of a weight or an output, relative to the largest number; NaN if refused.
    effect : the same between the harness's run and training without the plugin.
    why : the line with which it is refused, or the case's note. plain : what a plain script does with one refused.
    """

    name: str
    outcome: str
    difference: float = math.nan
    effect: float = math.nan
    why: str = ""
    plain: str = ""


class Plain(nn.Module, BaseModel):
    """A network as a user of Avalanche writes one, for features float32 (batch, WIDTH) -> logits (batch, CLASSES)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def get_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.head[:-1](x) if isinstance(self.head, nn.Sequential) else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


class PlainKeeping(Plain):
    """The same with `features` of the last pass, which one of Avalanche's plugins reads."""

    features: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.features = self.get_features(x)
        return self.head[-1](self.features)  # type: ignore[index]


class Shuffled(Sampler[int]):
    """A permutation in each pass, drawn as the harness draws it."""

    def __init__(self, count: int, experience: int) -> None:
        self.count = count
        self.generator = torch.Generator().manual_seed(seed_of(tiny.SEED, experience, "order"))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(self.count, generator=self.generator).tolist()


class SameOrder(SupervisedPlugin):
    """Gives a plain script the harness's order of samples; first in its list, so that other plugins may replace it."""

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        data = strategy.adapted_dataset
        sampler = Shuffled(len(data), strategy.clock.train_exp_counter)
        # a generator of its own for the loader too, which draws a seed for workers in each pass
        strategy.dataloader = DataLoader(
            data, strategy.train_mb_size, sampler=sampler, collate_fn=data.collate_fn, generator=torch.Generator()
        )


def plain_stream() -> Any:
    """The samples of `tiny.stream`, as an Avalanche benchmark made by hand."""
    parts: dict[str, list[Any]] = {"train": [], "validation": [], "test": []}
    for experience in range(EXPERIENCES):
        x, y = tiny.samples(experience, tiny.SAMPLES + 2)
        ends = {"train": (0, tiny.SAMPLES), "validation": (tiny.SAMPLES, -1), "test": (tiny.SAMPLES + 1, None)}
        for name, (start, stop) in ends.items():
            piece = TensorDataset(x[start:stop], y[start:stop])
            made = _make_taskaware_classification_dataset(piece, task_labels=0, targets=y[start:stop].tolist())
            parts[name].append(made)
    return with_classes_timeline(with_task_labels(benchmark_from_datasets(**parts)))


class Given(Strategy):
    """A strategy with the plugins that these functions make, and perhaps a model of their own."""

    makers: Any
    head_to_model: Any = None

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return model if self.head_to_model is None else self.head_to_model(model.head)

    def plugins(self, context: Context) -> list[Any]:
        return list(self.makers)


def in_harness(case: Case) -> tuple[Any, Any]:
    """The stream and the harness's Avalanche strategy for a case, not trained yet. Raises InputError if refused."""
    makers = case.makers or [make_strategy(case.entry).make]
    own = case.makers or case.wrap
    component = Given(makers=makers, head_to_model=case.wrap) if own else make_strategy(case.entry)
    return tiny.assembled(component, case.hidden, EXPERIENCES, case.settings)


def in_plain(case: Case, like: nn.Module) -> Any:
    """A plain strategy of Avalanche for a case, not trained yet, whose network has the weights of `like`.

    like : the harness's model, before training; not to be used afterwards.
    """
    model = like
    if case.wrap is None:
        model = (PlainKeeping if case.kind == "FeatureDistillationPlugin" else Plain)(like.head)  # type: ignore[arg-type]
    settings = case.settings
    optimizer = make_optimizer(model, settings)
    makers = case.makers or [make_strategy(case.entry).make]
    made = [make(model, optimizer) for make in makers]
    evaluation: dict[str, Any] = {"evaluator": None}
    if case.watches:
        kinds = {"epoch": True, "experience": True, "stream": True}
        evaluator = EvaluationPlugin(accuracy_metrics(**kinds), loss_metrics(**kinds))
        evaluation = {"evaluator": evaluator, "eval_every": 1, **case.plain}
    return Naive(
        model=model, optimizer=optimizer, train_mb_size=settings.batch_size, train_epochs=settings.epochs,
        eval_mb_size=256, plugins=[SameOrder(), *made], **evaluation,
    )  # fmt: skip


def train_plain(strategy: Any, stream: Any, index: int, watches: str = "") -> None:
    """Train a plain strategy on an experience, evaluating the same experience of another stream if there is one."""
    during = {"eval_streams": [[stream.streams[watches][index]]]} if watches else {}
    strategy.train(stream.train_stream[index], reset_optimizer_state=True, **during)


def compared(case: Case) -> Compared:
    """Train a case in the harness and in a plain script, and without the plugin."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        try:
            return _compared(case)
        except Exception as error:
            return Compared(case.name, "FAILED", why=reason_of(error))


def _compared(case: Case) -> Compared:
    try:
        stream, engine = in_harness(case)
    except InputError as error:
        why = str(error).removeprefix(f"{case.kind} cannot work here: ").removeprefix(f"{case.kind}: ")
        return Compared(case.name, "refused", why=why, plain=_plainly(case))
    plain = in_plain(case, copy.deepcopy(engine.model))
    ours = _numbers(engine, stream, lambda index: learn(engine, stream, index))
    other = plain_stream()
    theirs = _numbers(plain, other, lambda index: train_plain(plain, other, index, case.watches))
    difference = _apart(ours, theirs)
    close = "equal up to rounding" if difference <= ROUNDING else "DIFFERENT"
    effect = _apart(ours, _without(tuple(case.hidden), tuple(case.training.items()), case.wrap))
    return Compared(case.name, "equal" if difference == 0 else close, difference, effect, case.note)


@functools.cache
def _without(
    hidden: tuple[int, ...], training: tuple[tuple[str, Any], ...], wrap: Callable[[nn.Module], nn.Module] | None
) -> torch.Tensor:
    """The numbers of training with these settings and no method."""
    idle = Case("", hidden=hidden, training=dict(training), wrap=wrap, makers=[lambda *parts: SupervisedPlugin()])
    stream, engine = in_harness(idle)
    return _numbers(engine, stream, lambda index: learn(engine, stream, index))


def _plainly(case: Case) -> str:
    """What comes of a refused case in a plain script."""
    stream, head = plain_stream(), make_head(tiny.WIDTH, tiny.CLASSES, case.hidden)
    try:
        plain = in_plain(case, Plain(head))
        _numbers(plain, stream, lambda index: train_plain(plain, stream, index, case.watches))
    except Exception as error:
        return f"fails: {reason_of(error)}"
    return "runs"


def _numbers(strategy: Any, stream: Any, train: Callable[[int], object]) -> torch.Tensor:
    """All weights after training on a stream, and the outputs on its test samples, flat; NaN where it diverged."""
    outputs: list[torch.Tensor] = []
    strategy.plugins.append(tiny.Spy(after_eval_iteration=lambda s: outputs.append(s.mb_output.detach().clone())))
    for index in range(EXPERIENCES):
        seed_everything(tiny.SEED, index)
        train(index)
    outputs.clear()
    strategy.eval(stream.test_stream)
    return torch.cat([tiny.weights(strategy), *(output.flatten() for output in outputs)])


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference in units of the largest number; infinite for numbers of another count, or not finite."""
    if one.shape != other.shape or not (one.isfinite().all() and other.isfinite().all()):
        return math.inf
    return float((one - other).abs().max() / other.abs().max())
