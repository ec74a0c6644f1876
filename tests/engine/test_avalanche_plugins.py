"""Plugins of Avalanche, here and in a plain script: equal weights, and callbacks at the same moments."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from avalanche.core import BasePlugin, SupervisedMetaLearningPlugin, SupervisedPlugin
from avalanche.training import plugins as stock
from avalanche.training.plugins import EarlyStoppingPlugin, LRSchedulerPlugin
from small_models import small_backbone
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from lorisbench.common.errors import InputError
from lorisbench.conformance.observe import observe
from lorisbench.conformance.toy import Toy
from lorisbench.engine.evaluation import learn, reads_evaluator, wanted_by
from lorisbench.model.models import Classifier, make_head
from lorisbench.model.task_heads import TaskClassifier, TaskHead
from lorisbench.reproduce.verification import tiny
from lorisbench.reproduce.verification.plugin_cases import CASES
from lorisbench.reproduce.verification.plugins import (
    Case,
    compared,
    in_harness,
    in_plain,
    plain_stream,
    train_plain,
)

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).resolve().parents[2]
EVENTS = sorted(name for name in dir(SupervisedPlugin) if name.startswith(("before_", "after_")))
PLUGINS = "avalanche.training.plugins"


# ---- Avalanche's own


def told() -> dict[str, str]:
    """Outcomes of plugins by name, as strategies/README.md has them."""
    text = (ROOT / "strategies" / "README.md").read_text("utf-8")
    (block,) = re.findall(r"<!-- reference reproduce-plugins -->(.*)<!-- end reproduce-plugins -->", text, re.DOTALL)
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in block.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in rows[1:]}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_computes_what_it_computes_in_a_plain_script_or_is_refused(case: Case) -> None:
    found = compared(case)
    if case.kind == "GEMPlugin" and "quadprog" in found.why and found.outcome == "refused":
        return  # without its solver; the table was made with it
    assert found.outcome == told()[case.name], found
    if found.outcome == "refused":
        assert found.why and "\n" not in found.why
    else:
        assert found.difference == 0
        assert found.effect > 1e-3 or case.kind == "SynapticIntelligencePlugin", "it does nothing"


def test_each_plugin_of_avalanche_is_among_them() -> None:
    kinds = {name for name, kind in vars(stock).items() if inspect.isclass(kind) and issubclass(kind, BasePlugin)}
    assert kinds - {"SupervisedPlugin"} <= {case.kind for case in CASES}
    assert set(told()) == {case.name for case in CASES}


# ---- every callback at the same moments


METRICS = {"now": lambda strategy: sorted(strategy.evaluator.get_last_metrics().items())}
"""Where the recorder's code does not name it: a plugin whose code does is given metrics."""


class Recording(SupervisedPlugin):
    """Notes each callback and what a plugin sees then."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[Any, ...]] = []
        for name in EVENTS:
            setattr(self, name, lambda strategy, *args, name=name, **kwargs: self.note(name, strategy, kwargs))

    def note(self, name: str, strategy: Any, kwargs: dict[str, Any]) -> None:
        clock, experience, batch = strategy.clock, strategy.experience, strategy.mbatch
        self.log.append((
            name, sorted(kwargs), strategy.is_training, strategy.is_eval, strategy.model.training,
            strategy.train_epochs, strategy.train_mb_size, strategy.optimizer.param_groups[0]["lr"],
            [clock.train_iterations, clock.train_exp_counter, clock.train_exp_epochs, clock.train_exp_iterations,
             clock.train_epoch_iterations, clock.total_iterations],
            None if experience is None else (
                experience.current_experience, experience.task_labels, sorted(experience.classes_in_this_experience),
                experience.origin_stream.name, len(experience.dataset)
            ),
            None if batch is None else [(tuple(part.shape), part.dtype, float(part.sum())) for part in batch],
            None if strategy.mb_output is None else float(strategy.mb_output.sum()), float(strategy.loss.sum()),
            None if strategy.adapted_dataset is None else len(strategy.adapted_dataset),
            None if name.endswith("dataset_adaptation") else len(strategy.dataloader),
            len(list(strategy.current_eval_stream)),
            [len(stream) for stream in strategy._eval_streams or []],
            [None if p.grad is None else float(p.grad.sum()) for p in strategy.model.parameters()],
            METRICS["now"](strategy),
        ))  # fmt: skip


@pytest.mark.parametrize("watches", ["", "validation"])
def test_every_callback_comes_at_the_same_moment_with_the_same_state(watches: str) -> None:
    logs = [Recording(), Recording()]
    stop = {"patience": 1, "val_stream_name": "validation_stream", "metric_name": "Loss_Stream", "mode": "min"}

    def case(log: Recording) -> Case:
        second = EarlyStoppingPlugin(**stop) if watches else SupervisedPlugin()
        return Case("", makers=[lambda model, optimizer: log, lambda model, optimizer: second], watches=watches,
                    training={"epochs": 3, "lr": 0.3})  # fmt: skip

    stream, engine = in_harness(case(logs[0]))
    assert (engine.wanted is not None) == bool(watches)
    plain, other = in_plain(case(logs[1]), copy.deepcopy(engine.model)), plain_stream()
    for index in range(3):
        learn(engine, stream, index)
        train_plain(plain, other, index, watches)
        for strategy, streams in ((engine, stream), (plain, other)):
            strategy.eval(streams.test_stream)
    assert {entry[0] for entry in logs[0].log} == set(EVENTS)
    for one, two in zip(*(log.log for log in logs), strict=True):
        assert one == two
    if watches:
        assert engine.clock.train_iterations < 18  # it has stopped


# ---- plugins of a user's own


class Watching(SupervisedPlugin):
    """Reads the evaluator, as one of Avalanche's own might."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.seen.append(
            strategy.evaluator.get_last_metrics().get("Top1_Acc_Epoch/train_phase/train_stream/Task000", -1)
        )

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        last = strategy.evaluator.get_last_metrics()
        self.seen.append(last["Loss_Stream/eval_phase/validation_stream/Task000"])


def metrics_of(strategy: Any) -> dict[str, float]:
    return strategy.evaluator.get_last_metrics()


class Through(SupervisedPlugin):
    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        metrics_of(strategy)


class ByText(SupervisedPlugin):
    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        getattr(strategy, "evaluator").get_last_metrics()  # noqa: B009


class Inside(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Watching()


def trained(*plugins: Any, hidden: tuple[int, ...] = (8,), **training: Any) -> Any:
    """The harness's strategy after three experiences with these plugins, or functions that make them."""
    makers = [
        plugin if inspect.isfunction(plugin) else lambda model, optimizer, plugin=plugin: plugin for plugin in plugins
    ]
    stream, engine = in_harness(Case("", makers=makers, hidden=hidden, training=training))
    for index in range(3):
        learn(engine, stream, index)
    return engine


def test_a_plugin_whose_code_reads_the_evaluator_finds_metrics_and_changes_no_number() -> None:
    assert all(reads_evaluator(kind()) for kind in (Watching, Through, ByText, Inside))
    assert not any(reads_evaluator(kind()) for kind in (SupervisedPlugin, Unfreezing, stock.ReplayPlugin))
    plugin = Watching()
    watched, alone = trained(plugin), trained(SupervisedPlugin())
    assert len(plugin.seen) == 3 * 2 * 2 and len(set(plugin.seen)) > 6
    assert torch.equal(tiny.weights(watched), tiny.weights(alone))
    assert alone.evaluator.metrics == [] and alone.wanted is None
    assert wanted_by([SupervisedPlugin(), Unfreezing()]) is None


class Unfreezing(SupervisedPlugin):
    """Holds the first layer fast until the second epoch of the second experience."""

    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        strategy.model.head[0].requires_grad_(False)

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter == 1 and strategy.clock.train_exp_epochs == 1:
            strategy.model.head[0].requires_grad_(True)


class Early(SupervisedPlugin):
    """Sets rate and epochs in the first callback."""

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        strategy.optimizer.param_groups[0]["lr"] = 0.03
        strategy.train_epochs = 3


@pytest.mark.parametrize("kind", [Unfreezing, Early])
def test_what_a_plugin_unfreezes_or_schedules_acts_as_in_a_plain_script(kind: type) -> None:
    found = compared(Case("", variant=kind.__name__, makers=[lambda model, optimizer: kind()]))
    assert found.outcome == "equal" and found.effect > 1e-3, found


class Inner(SupervisedMetaLearningPlugin):
    def before_inner_updates(self, strategy: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Inner, ["Inner", "before_inner_updates", "meta-learning"]),
        (lambda: LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(torch.ones(1))]), 1)),
         ["LRSchedulerPlugin", "optimizer", "function"]),
        (lambda: stock.CWRStarPlugin(nn.Linear(2, 2)), ["CWRStarPlugin", "model", "function"]),
        (lambda: stock.RARPlugin(4, name_ext_layer="head.1.0"), ["RARPlugin", "'head.1.0'", "did you mean 'head.1'"]),
        (lambda: EarlyStoppingPlugin(1, "valdation_stream"), ["val_stream_name", "did you mean 'validation_stream'"]),
        (lambda: EarlyStoppingPlugin(1, "validation_stream", "Top1_Ac_Stream"), ["did you mean 'Top1_Acc_Stream'"]),
    ],
)  # fmt: skip
def test_one_that_would_do_nothing_is_refused_in_one_line(plugin: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        trained(plugin())
    assert all(word in str(refused.value) for word in words) and "\n" not in str(refused.value)


def test_a_plugin_of_the_optimizer_is_given_as_a_function() -> None:
    rates: list[float] = []
    spy = tiny.Spy(after_training_epoch=lambda s: rates.append(s.optimizer.param_groups[0]["lr"]))
    trained(spy, lambda model, optimizer: LRSchedulerPlugin(torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)))
    assert rates == pytest.approx([0.1, 0.05] * 3)


# ---- the model


def test_a_classifier_is_traced_on_images_and_on_features() -> None:
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    model = Classifier(small_backbone("", "none", 0), make_head(72, 3, [5])).eval()
    for layer, wanted in (("backbone.network.0.0", None), ("head.0", model.head[0](model.features(images)))):
        assert layer in get_graph_node_names(model)[1]
        found = create_feature_extractor(model, [layer])(images)[layer]
        assert wanted is None or torch.equal(found, wanted)
    model.on_features = True  # as after its backbone is frozen
    features = model.features(images)
    assert "backbone.network.0.0" not in get_graph_node_names(model)[1]
    assert torch.equal(create_feature_extractor(model, ["head.2"])(features)["head.2"], model(images))
    assert torch.equal(model.get_features(images), model.head[:2](features))


def test_a_classifier_with_a_layer_for_each_task_is_traced() -> None:
    model = TaskClassifier(None, TaskHead(4, [[0, 1], [2]], 3, [5]))
    x = torch.cat([torch.randn(6, 4), torch.tensor([0.0, 1, 0, 1, 1, 0])[:, None]], dim=1)
    traced = torch.fx.symbolic_trace(model)
    assert torch.equal(traced(x), model(x))


# ---- in suites


@pytest.mark.heavy
def test_early_stopping_stops_in_a_suite_and_what_cannot_work_ends_it_before_any_training(
    suite_file: Any, cli: Any, tmp_path: Path
) -> None:
    early = {"avalanche": f"{PLUGINS}:EarlyStoppingPlugin", "args": {"patience": 1, "val_stream_name": "validation"}}
    plateau = {"object": "torch.optim.lr_scheduler:ReduceLROnPlateau", "args": {"patience": 0, "threshold": 0.9}}
    slower = {"scheduler": plateau, "metric": "val_loss"}
    strategies = {
        "naive": None,
        "early": early,
        "slower": {"avalanche": f"{PLUGINS}:LRSchedulerPlugin", "args": slower},
    }
    suite = suite_file(strategies=strategies, training={"epochs": 4, "batch_size": 6})
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert (results.status == "done").all()
    assert results.loc["early", "state_mb"] > 0  # the best weights
    assert results.loc["naive", "state_mb"] == results.loc["slower", "state_mb"] == 0  # not the evaluator's
    held = [
        folder.read_bytes() for folder in sorted((tmp_path / "out" / "runs").glob("*/checkpoint/model.safetensors"))
    ]
    assert len(set(held)) == 3  # one has stopped, one has gone on at a lower rate
    written = yaml.safe_load((tmp_path / "out" / "suite.yaml").read_text())
    assert "validation images" in written["strategies"]["early"]["remarks"][0]

    early["args"]["val_stream_name"] = "test_stream"
    answer = cli("run", suite_file(strategies={"naive": None, "early": early}), "--out", tmp_path / "by test images")
    assert answer.code == 2 and "EarlyStoppingPlugin" in answer.err and "test images" in answer.err
    lfl = {"avalanche": f"{PLUGINS}:LFLPlugin", "args": {"lambda_e": 1}}
    answer = cli("run", suite_file(strategies={"naive": None, "lfl": lfl}), "--out", tmp_path / "frozen")
    assert answer.code == 2 and answer.err.strip().count("\n") == 0, answer.err
    assert "strategies.lfl" in answer.err and "head.hidden" in answer.err
    assert not (tmp_path / "frozen").exists() or not list((tmp_path / "frozen").glob("runs/*"))


def test_the_conformance_kit_lets_a_plugin_be_evaluated_on_validation_samples_that_it_asks_for() -> None:
    early = {"patience": 1, "val_stream_name": "validation_stream"}
    entry = {"strategy": "avalanche", "plugin": f"{PLUGINS}:EarlyStoppingPlugin", "args": early}
    seen = observe(Toy(entry, epochs=(2, 1), samples=16))
    assert (seen.error, seen.outside) == ("", [])
