"""Plugins are called as Avalanche calls them, though what each does for a batch is looked up once for an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training import Naive
from tiny_stream import engine_of, head

from lorisbench.engine.callbacks import acting
from lorisbench.engine.engine import make_optimizer
from lorisbench.suite.training import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")
BATCH, BATCHES = 5, 3
PER_BATCH = [
    name for name in dir(SupervisedPlugin)
    if name.startswith(("before_", "after_")) and name.endswith(("iteration", "forward", "backward", "update"))
]  # fmt: skip


def tracer(names: list[str], trace: list[str]) -> Any:
    """A plugin that notes each of these callbacks."""

    def noting(name: str) -> Callable[..., None]:
        return lambda self, strategy, **kwargs: trace.append(name)

    kind = type("Tracer", (SupervisedPlugin,), {name: noting(name) for name in names})
    return kind()


def trained(strategy: Any, experience: Any) -> None:
    strategy.train(experience)
    strategy.eval([experience])


def test_every_callback_comes_when_it_does_in_avalanche() -> None:
    everything = [name for name in dir(SupervisedPlugin) if name.startswith(("before_", "after_"))]
    here: list[str] = []
    there: list[str] = []
    engine, experience = engine_of([tracer(everything, here)])
    trained(engine, experience)
    model = head()
    naive = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), train_mb_size=BATCH, train_epochs=2,
        eval_mb_size=256, plugins=[tracer(everything, there)], evaluator=None,
    )  # fmt: skip
    trained(naive, experience)
    assert here == there
    assert len(PER_BATCH) == 12 and all(name in here for name in PER_BATCH)


def test_what_does_nothing_is_not_called() -> None:
    quiet, loud, alien = SupervisedPlugin(), tracer(["before_forward"], []), object()
    assert acting([quiet, loud, alien], "before_forward") == [loud.before_forward]
    assert acting([quiet, loud, alien], "after_forward") == []


def test_a_method_may_be_given_to_a_plugin_itself() -> None:
    calls: list[int] = []
    plugin: Any = SupervisedPlugin()
    plugin.after_update = lambda strategy, **kwargs: calls.append(strategy.clock.train_epoch_iterations)
    engine, experience = engine_of([plugin])
    engine.train(experience)
    assert calls == [*range(BATCHES)] * 2


class Adding(SupervisedPlugin):
    """Adds a penalty to the loss in one callback, and keeps the losses that the steps end with."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.losses: list[torch.Tensor] = []
        if where:
            setattr(self, where, self.add)

    def add(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss += sum(weight.square().sum() for weight in strategy.model.parameters())

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        self.losses.append(strategy.loss.detach())


@pytest.mark.parametrize("where", ["before_forward", "after_forward", "before_backward", ""])
def test_a_plugin_adds_to_the_loss_where_it_does_in_avalanche(where: str) -> None:
    ours, theirs = Adding(where), Adding(where)
    engine, experience = engine_of([ours], batch_size=BATCH * BATCHES)  # all at once: the order is another one there
    model = head()
    naive = Naive(
        model=model, optimizer=make_optimizer(model, TrainingConfig()), train_mb_size=BATCH * BATCHES, train_epochs=2,
        plugins=[theirs], evaluator=None,
    )  # fmt: skip
    for strategy in (engine, naive):
        strategy.train(experience)
    assert [loss.shape for loss in ours.losses] == [loss.shape for loss in theirs.losses]
    torch.testing.assert_close(torch.cat(ours.losses), torch.cat(theirs.losses))
    torch.testing.assert_close(engine.model.state_dict(), model.state_dict())


class Inviting(SupervisedPlugin):
    """Brings another plugin in at the second batch, and sends it away at the second batch of the next epoch."""

    def __init__(self, guest: Any) -> None:
        super().__init__()
        self.guest = guest

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_epoch_iterations == 1:
            if self.guest in strategy.plugins:
                strategy.plugins.remove(self.guest)
            else:
                strategy.plugins.append(self.guest)


def test_a_plugin_that_joins_within_an_epoch_is_called_from_the_next_batch_on() -> None:
    trace: list[str] = []
    engine, experience = engine_of([Inviting(tracer(["after_backward"], trace))])
    engine.train(experience)
    assert len(trace) == 1 + 2  # batch 2, then batches 0 and 1


class Evaluating(SupervisedPlugin):
    """Has the strategy tested in the midst of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.experience: Any = None

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        loss = strategy.loss
        strategy.eval([self.experience])
        strategy.loss = loss


def test_callbacks_go_on_after_an_evaluation_in_the_midst_of_a_batch() -> None:
    trace: list[str] = []
    testing = Evaluating()
    engine, testing.experience = engine_of([testing, tracer(PER_BATCH, trace)])
    engine.train(testing.experience)
    assert trace.count("before_eval_forward") == 2 * BATCHES
    assert trace.count("after_update") == trace.count("after_training_iteration") == 2 * BATCHES
