"""A row of the matrix is one pass where nothing depends on experiences, and Avalanche's passes where something may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from small_runs import CLASSES, EXPERIENCES, SPLITS, WIDTH, manifest
from torch import nn

from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.divergence import Diverged
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.engine.own_plugins import HarnessPlugin, Recorder
from lorisbench.suite.training import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")


class ByBatch(nn.Linear):
    """Scores that depend on the whole minibatch, of a layer from elsewhere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(dim=0))


class Passes(HarnessPlugin):
    """How many minibatches an evaluation had."""

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.seen: list[int] = []

    def after_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.append(len(strategy.mb_output))


class Between(SupervisedPlugin):
    """Notes the experiences of an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[int] = []

    def before_eval_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.noted.append(strategy.experience.current_experience)


class Outside(SupervisedPlugin):
    """Sees the minibatches of an evaluation."""

    def after_eval_forward(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        pass


def evaluated(model: nn.Module, *plugins: Any) -> tuple[list[int], np.ndarray, Any, Any]:
    """Sizes of the minibatches, predictions, the features (samples, WIDTH) that were tested, the engine."""
    of = manifest()
    generator = torch.Generator().manual_seed(0)
    y = torch.from_numpy(of.table.label.to_numpy(dtype=np.int64, copy=True))
    store = Store(torch.randn(len(y), WIDTH, generator=generator), y)
    settings, passes, recorder = TrainingConfig(epochs=1, batch_size=8), Passes(), Recorder()
    engine = Engine(
        model=model, optimizer=make_optimizer(model, settings), plugins=[*plugins, passes, recorder], store=store,
        training=settings, device=torch.device("cpu"), seed=0,
    )  # fmt: skip
    stream = make_stream(of, store)
    engine.train(stream.train_stream[0])
    tests = list(stream.streams["test"])
    engine.eval(tests)
    rows = np.concatenate([of.rows("test", experience) for experience in range(EXPERIENCES)])
    return passes.seen, recorder.predictions().numpy(), store.x[torch.from_numpy(rows)], engine


ONE_PASS, EACH = [SPLITS["test"] * EXPERIENCES], [SPLITS["test"]] * EXPERIENCES


def linear(kind: type[nn.Linear] = nn.Linear) -> nn.Module:
    torch.manual_seed(0)
    return kind(WIDTH, CLASSES)


def test_it_is_one_pass_with_the_answers_of_the_model() -> None:
    model = linear()
    sizes, predicted, x, _ = evaluated(model)
    assert sizes == ONE_PASS
    assert predicted.tolist() == model(x).argmax(dim=1).tolist()


def test_a_plugin_between_experiences_has_its_turn() -> None:
    between = Between()
    sizes, predicted, _, _ = evaluated(linear(), between)
    assert sizes == EACH and between.noted == list(range(EXPERIENCES))
    assert predicted.tolist() == evaluated(linear())[1].tolist()


def test_a_plugin_from_elsewhere_sees_the_minibatches_of_each_experience() -> None:
    assert evaluated(linear(), Outside())[0] == EACH


def test_a_model_that_may_look_at_the_whole_minibatch_gets_each_experience_by_itself() -> None:
    model = linear(ByBatch)
    sizes, predicted, x, _ = evaluated(model)
    assert sizes == EACH
    expected = torch.cat([model(part) for part in x.split(SPLITS["test"])])
    assert predicted.tolist() == expected.argmax(dim=1).tolist()


def test_new_features_and_other_experiences_are_not_those_of_before() -> None:
    model = linear()
    _, _, x, engine = evaluated(model)
    recorder = next(plugin for plugin in engine.plugins if isinstance(plugin, Recorder))
    tests = make_stream(manifest(), engine.store).streams["test"]
    backwards = [tests[2], tests[1], tests[0]]
    engine.eval(backwards)
    other = torch.cat(x.split(SPLITS["test"])[::-1])
    assert recorder.predictions().tolist() == model(other).argmax(dim=1).tolist()
    engine.store.x = -engine.store.x
    engine.eval(backwards)
    assert recorder.predictions().tolist() == model(-other).argmax(dim=1).tolist()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_no_answers(number: float) -> None:
    model = linear()
    _, _, _, engine = evaluated(model)
    with torch.no_grad():
        model.get_parameter("bias")[1] = number
    with pytest.raises(Diverged, match="100 % of the outputs are not finite"):
        engine.eval(list(make_stream(manifest(), engine.store).streams["test"]))
