"""Plugins of Avalanche, its own and others', in the harness and in a plain script: equal weights, events and moments."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from avalanche.core import BasePlugin, SupervisedPlugin
from avalanche.training import plugins as stock
from avalanche.training.plugins import EarlyStoppingPlugin

from lorisbench.engine.evaluation import learn
from lorisbench.reproduce.verification.plugin_cases import CASES
from lorisbench.reproduce.verification.plugins import (
    Case,
    compared,
    in_harness,
    in_plain,
    plain_stream,
    train_plain,
)

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[2]
EVENTS = sorted(name for name in dir(SupervisedPlugin) if name.startswith(("before_", "after_")))
PLUGINS = "avalanche.training.plugins"


# ---- Avalanche's own


def told() -> dict[str, str]:
    """Outcomes of plugins by name, as strategies/README.md has them."""
    text = (ROOT / "strategies" / "README.md").read_text("utf-8")
    (block,) = re.findall(r"<!-- reference reproduce-plugins -->(.*)<!-- end reproduce-plugins -->", text, re.DOTALL)
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in block.splitlines() if line.startswith("| ")]
    return {name: outcome for name, outcome in rows[1:]}


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
            None if name.endswith("dataset_adaptation") else len(strategy.dataloader), len(list(strategy.current_eval_stream)),
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
