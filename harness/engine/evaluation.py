"""Evaluation during training, for plugins that stop or schedule by it: metrics, and the images they are measured on.

Nothing is evaluated while a run trains, and Avalanche's evaluator has no metrics, unless a plugin asks for it: by what
it is (early stopping, a schedule by the loss on validation images) or because its code reads `strategy.evaluator`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Literal

from avalanche.core import BasePlugin
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.training.plugins import EarlyStoppingPlugin, EvaluationPlugin, LRSchedulerPlugin

from lorisbench.common.errors import InputError
from lorisbench.common.fingerprint import nested
from lorisbench.common.registry import nearest
from lorisbench.engine.divergence import cause_of
from lorisbench.engine.meter import Meter

METRICS = ("Top1_Acc_Stream", "Top1_Acc_Exp", "Loss_Stream", "Loss_Exp")
"""What is measured in an evaluation, by Avalanche's names."""
STREAMS = ("validation", "train")
"""On what, in this order. Never on test images: what is chosen by them would be reported on them."""

Every = Literal["epoch", "iteration"]


@dataclass(frozen=True)
class Wanted:
    """What plugins ask for: each stream's current experience is evaluated before training and after `every` step."""

    streams: tuple[str, ...]
    every: Every


def wanted_by(plugins: Sequence[Any]) -> Wanted | None:
    """What the plugins of a run ask for, together; None if nothing.

    Raises InputError, naming the plugin, for a metric or a stream that cannot be had, or for plugins that need
    evaluations after epochs and after iterations at once.
    """
    asked = [wanted for plugin in plugins if (wanted := _wanted(plugin)) is not None]
    if not asked:
        return None
    if len({wanted.every for wanted in asked}) > 1:
        raise InputError(
            "one plugin evaluates after each epoch (peval_mode), another after each iteration: give both the same"
        )
    named = {name for wanted in asked for name in wanted.streams}
    return Wanted(tuple(name for name in STREAMS if name in named), asked[0].every)


class NoMetrics(EvaluationPlugin):
    """Measures nothing and is called for nothing: Avalanche's own without metrics takes a fifth of a small run."""

    __getattribute__ = object.__getattribute__  # Avalanche's makes a function up for each name of a callback

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        pass


def evaluator_for(wanted: Wanted | None) -> EvaluationPlugin:
    """The metrics of Avalanche's default evaluator, without its logger; none if nobody wants them."""
    if wanted is None:
        return NoMetrics()
    kinds = {"epoch": True, "experience": True, "stream": True}
    return EvaluationPlugin(accuracy_metrics(**kinds), loss_metrics(**kinds))


def learn(strategy: Any, stream: Any, index: int) -> Meter:
    """Train an Avalanche strategy on experience `index` of a stream from `make_stream`, as every run does.

    Returns what it cost.

    The optimizer's state starts anew, unless the strategy's `reset_optimizer` (`training.reset_optimizer`) is False.
    Raises InputError, before the first experience, if plugins want an evaluation on images that an experience does not
    have, and Diverged for an error that numbers which are not finite led to.
    """
    wanted: Wanted | None = getattr(strategy, "wanted", None)
    reset = getattr(strategy, "reset_optimizer", True)
    during = {} if wanted is None else {"eval_streams": _streams_of(stream, index, wanted)}
    meter = Meter(strategy)
    try:
        with meter:
            strategy.train(stream.train_stream[index], reset_optimizer_state=reset, **during)
    except Exception as error:
        raise cause_of(error, strategy) from error
    return meter


def _streams_of(stream: Any, index: int, wanted: Wanted) -> list[list[Any]]:
    """The current experience of each stream that is evaluated during training."""
    for name in wanted.streams if index == 0 else ():
        for number, experience in enumerate(stream.streams[name]):
            if not len(experience.dataset):
                raise InputError(f"a plugin measures on {name} images, and experience {number} has none")
    return [[stream.streams[name][index]] for name in wanted.streams]


def _wanted(plugin: Any) -> Wanted | None:
    if isinstance(plugin, EarlyStoppingPlugin):
        return Wanted((_stream_of(plugin),), plugin.peval_mode)  # type: ignore[arg-type]
    if isinstance(plugin, LRSchedulerPlugin) and plugin.metric == "val_loss":
        return Wanted(("validation",), "epoch")
    return Wanted(("validation",), "epoch") if reads_evaluator(plugin) else None


def _stream_of(plugin: EarlyStoppingPlugin) -> str:
    """The stream whose metric early stopping reads: it takes the last one whose name begins as it was told."""
    name = f"{type(plugin).__name__}: "
    if plugin.metric_name not in METRICS:
        raise InputError(f"{name}metric_name {plugin.metric_name!r}{nearest(plugin.metric_name, METRICS)}")
    asked = plugin.val_stream_name
    possible = [f"{stream}_stream" for stream in STREAMS]
    if asked and "test_stream".startswith(asked):
        raise InputError(f"{name}val_stream_name {asked!r} would stop by the test images: use {' or '.join(possible)}")
    found = [stream for stream in STREAMS if asked and f"{stream}_stream".startswith(asked)]
    if not found:
        raise InputError(f"{name}val_stream_name {asked!r}{nearest(asked, possible)}")
    return found[0]


def reads_evaluator(plugin: Any) -> bool:
    """Whether a plugin's code has the name `evaluator`: in a method, in a function of its module, or in its parts."""
    seen: set[Any] = set()
    kind = type(plugin)
    own = [value for cls in kind.__mro__ if cls is not object for value in vars(cls).values()]
    held = list(getattr(plugin, "__dict__", {}).values())
    functions = [getattr(value, "__func__", getattr(value, "fget", value)) for value in (*own, *held)]
    if any(_mentions(function, seen) for function in functions if isinstance(function, FunctionType)):
        return True
    parts = [part for value in held for part in (value if isinstance(value, list | tuple) else [value])]
    return any(reads_evaluator(part) for part in parts if isinstance(part, BasePlugin) and part is not plugin)


def _mentions(function: FunctionType, seen: set[Any]) -> bool:
    if function in seen:
        return False
    seen.add(function)
    names = set(_names(function.__code__))
    if "evaluator" in names:
        return True
    helpers = [function.__globals__.get(name) for name in names]
    return any(
        _mentions(helper, seen)
        for helper in helpers
        if isinstance(helper, FunctionType) and helper.__module__ == function.__module__
    )


def _names(code: CodeType) -> Iterator[str]:
    """Attributes and globals that code uses, and its texts (`getattr(strategy, "evaluator")`)."""
    for each in nested(code):
        yield from each.co_names
        yield from (constant for constant in each.co_consts if isinstance(constant, str))
