"""A run whose model cannot be had back says so when it ends, and one whose model has grown is measured and exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small_runs
from small_models import TWO_CALLS

from lorisbench.common.registry import load_plugin

GROWING = Path(__file__).parents[1] / "conformance" / "growing_strategies.py"
PLUGIN = '''
import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from lorisbench import Strategy
from lorisbench.model.models import Classifier


class Remembers(Classifier):
    scale = 1.0

    def forward(self, x):
        return self.scale * super().forward(x)


class Hides(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


class Says(Classifier):
    def get_extra_state(self):
        return lambda: None


class Learns(SupervisedPlugin):
    def after_training_exp(self, strategy, **kwargs):
        strategy.model.scale = 3.0


class Kept(Strategy, name="kept-badly"):
    """What its model knows is not in its state."""

    kind: str = "remembers"

    def wrap(self, model, context):
        if self.kind == "hides":
            return Hides(model)
        return {"remembers": Remembers, "says": Says}[self.kind](model.backbone, model.head)

    def plugins(self, context):
        return [Learns()]
'''


@pytest.fixture(scope="module")
def badly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "kept_badly.py"
    file.write_text(PLUGIN)
    return file


def test_it_is_told_in_every_place_that_a_model_cannot_be_had_back(
    cli: Callable[..., Any], suite_file: Callable[..., Path], badly: Path, tmp_path: Path
) -> None:
    kinds = {
        "remembers": "scale (a float) changed in training",
        "hides": "a Hides, has no `backbone`",
        "says": "TypeError: Object of type function is not JSON serializable",
    }
    strategies = {"naive": {}} | {kind: {"strategy": "kept-badly", "kind": kind} for kind in kinds}
    quick = {"epochs": 1, "batch_size": 32}
    suite = suite_file(strategies=strategies, plugins=[str(badly)], latency=TWO_CALLS, training=quick)
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 0, answer
    results = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False).set_index("strategy")
    assert (results.status == "done").all() and results.reason["naive"] == ""
    for kind, words in kinds.items():
        (line,) = [
            line for line in answer.err.splitlines() if line.startswith("[") and f"] {kind} seed 0: done" in line
        ]
        folder = tmp_path / "out" / "runs" / results.run_id[kind]
        status = json.loads((folder / "status.json").read_text())
        for told in (line, status["reason"], results.reason[kind]):
            assert "its model cannot be restored: " in told and words in told, told
    assert "hides seed 0: its latency could not be measured: ValueError: the model that wrap()" in answer.err
    assert "naive seed 0: its latency" not in answer.err


@pytest.mark.parametrize(
    ("name", "mode"),
    [("kmeans-router", "never"), ("class-mahalanobis", "first"), ("kmeans-router", "always"), ("dnn", "never")],
)
def test_a_model_that_has_grown_can_be_had_back(name: str, mode: str, tmp_path: Path) -> None:
    load_plugin(GROWING)
    entry = {"strategy": name, **({"expand_at": [1, 2]} if name == "dnn" else {})}
    made = small_runs.bench(entry, backbone={"name": "pixels", "image_size": 16, "train": mode})
    directory = small_runs.run(made, tmp_path / "out" / "runs" / vars(made)["spec"].run_id)
    assert directory.status() == {"status": "done", "reason": ""}
