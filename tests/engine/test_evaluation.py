"""Evaluations on features: samples are gathered once, and a model may do to them what it likes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from tiny_stream import engine_of
from torch import nn

from lorisbench.engine import loader
from lorisbench.engine.own_plugins import Recorder

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT = 12  # samples of `engine_of`


def evaluated(model: nn.Module | None = None, plugins: tuple[Any, ...] = ()) -> tuple[Any, Any, Recorder]:
    recorder = Recorder(classes=2)
    engine, experience = engine_of([recorder, *plugins])
    engine.eval_mb_size = 5
    if model is not None:
        engine.model = model
    engine.eval([experience])
    return engine, experience, recorder


def answers_again(engine: Any, experience: Any, recorder: Recorder) -> torch.Tensor:
    engine.eval([experience])
    return recorder.predictions()


class Spoiling(nn.Module):
    """Answers by the sign of the first feature, and leaves its negative behind."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = x[:, 0].clone()
        x.neg_()
        return torch.stack([-first, first], dim=1)


class Reusing(nn.Module):
    """Gives its outputs in the same memory each time."""

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.zeros(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.out[: len(x)]
        out[:, 0], out[:, 1] = -x[:, 0], x[:, 0]
        return out


def right(engine: Any) -> torch.Tensor:
    return (engine.store.x[:COUNT, 0] > 0).int()


@pytest.mark.parametrize("model", [Spoiling(), Reusing()], ids=["inputs", "outputs"])
def test_a_model_may_change_its_inputs_or_its_outputs_in_place(model: nn.Module) -> None:
    engine, experience, recorder = evaluated(model)
    before = engine.store.x.clone()
    assert 0 < right(engine).sum() < COUNT
    assert torch.equal(recorder.predictions(), right(engine))
    assert torch.equal(answers_again(engine, experience, recorder), right(engine))
    assert torch.equal(engine.store.x, before)


def test_samples_are_gathered_once() -> None:
    engine, experience, recorder = evaluated()
    (kept,) = loader._kept[engine.store].values()
    answers_again(engine, experience, recorder)
    assert next(iter(loader._kept[engine.store].values())) is kept


@pytest.mark.parametrize("change", ["replaced", "in place"])
def test_samples_that_have_changed_are_gathered_anew(change: str) -> None:
    engine, experience, recorder = evaluated(Reusing())
    if change == "replaced":
        engine.store.x = -engine.store.x
    else:
        engine.store.x.neg_()
    assert torch.equal(answers_again(engine, experience, recorder), right(engine))


class Writing(SupervisedPlugin):
    """Changes a part of each minibatch that is evaluated, in place, after it has noted what was there."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        self.seen: list[torch.Tensor] = []

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        of = getattr(strategy, self.part)
        self.seen.append(of.clone())
        of.add_(1)


@pytest.mark.parametrize("part", ["mb_x", "mb_y", "mb_task_id"])
def test_a_plugin_may_change_a_minibatch_in_place(part: str) -> None:
    writing = Writing(part)
    engine, experience, recorder = evaluated(plugins=(writing,))
    first, writing.seen = torch.cat(writing.seen), []
    answers_again(engine, experience, recorder)
    assert torch.equal(torch.cat(writing.seen), first)


def test_too_many_features_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MOST_GATHERED", 8)
    engine, _, recorder = evaluated(Reusing())
    assert not loader._kept[engine.store]
    assert torch.equal(recorder.predictions(), right(engine))


class Reading(SupervisedPlugin):
    """Reads the loss, as a plugin from elsewhere may."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.losses.append(float(strategy.loss))


def test_the_loss_is_there_for_whoever_reads_it() -> None:
    reading = Reading()
    engine, _, _ = evaluated(plugins=(reading,))
    x, y = engine.store.x[:COUNT], engine.store.y[:COUNT]
    wanted = [
        float(nn.functional.cross_entropy(engine.model(x[part]), y[part])) for part in torch.arange(COUNT).split(5)
    ]
    assert reading.losses == pytest.approx(wanted)


def test_answers_are_read_off_in_between_where_outputs_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    from lorisbench.engine import own_plugins, whole_row

    monkeypatch.setattr(whole_row, "AT_ONCE", 4)
    _, _, whole = evaluated()
    monkeypatch.setattr(own_plugins, "MOST_HELD", 9)
    _, _, parts = evaluated()
    assert len(parts._predicted) > 1
    assert torch.equal(parts.predictions(), whole.predictions())
    assert (parts.answers().scores == whole.answers().scores).all()
