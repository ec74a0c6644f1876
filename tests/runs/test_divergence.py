"""Numbers that are not finite never count as answers: whatever gave them, the run has diverged and says where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from answers import refused
from safetensors.torch import load_file, save_file
from small_models import TWO_CALLS
from torch import nn

from lorisbench.common.registry import load_plugin
from lorisbench.conformance.kit import check
from lorisbench.engine.divergence import faulty_weights, not_finite
from lorisbench.model.backbones import backbone_of
from lorisbench.runs.checks import not_finite_rows
from lorisbench.runs.launch import launch
from lorisbench.runs.workbench import prepare
from lorisbench.suite.resolve import load_suite

PLUGIN = """
import torch
from avalanche.core import SupervisedPlugin
from torch import nn
from lorisbench import Strategy


class Spoiler(SupervisedPlugin):
    answers_unchanged = True

    def __init__(self, what):
        super().__init__()
        self.what = what

    @torch.no_grad()
    def after_training_exp(self, strategy, **kwargs):
        if self.what == "weights" and strategy.clock.train_exp_counter == 8:
            strategy.model.head.weight.fill_(float("nan"))
        if self.what == "unused":
            strategy.model.spare = nn.Parameter(torch.tensor([1.0, float("nan")]))

    def before_update(self, strategy, **kwargs):
        if self.what == "solver" and strategy.clock.train_exp_counter == 1:
            strategy.loss = strategy.loss * float("nan")
            torch.linalg.cholesky(torch.full((2, 2), float("nan")))

    def after_eval_forward(self, strategy, **kwargs):
        if self.what == "some" and strategy.experience.current_experience == 2:
            strategy.mb_output = strategy.mb_output.clone()
            strategy.mb_output[0, 1] = float("nan")
        if self.what == "infinite":
            strategy.mb_output = strategy.mb_output + torch.tensor([0.0, float("inf"), 0.0])
        if self.what == "masked":
            strategy.mb_output = strategy.mb_output + torch.tensor([0.0, 0.0, -float("inf")])
        if self.what == "nothing":
            strategy.mb_output = strategy.mb_output - float("inf")


class Spoilt(Strategy, name="spoilt"):
    what: str

    def plugins(self, context):
        return [Spoiler(self.what)]
"""

FAULTS = {
    "weights": "100 % of the outputs are not finite in the evaluation after experience 8, epoch 0",
    "some": "1.85 % of the outputs are not finite in the evaluation after experience 0, epoch 0",  # one of 54
    "infinite": "100 % of the outputs are not finite in the evaluation after experience 0, epoch 0",
    "nothing": "100 % of the outputs are not finite in the evaluation after experience 0, epoch 0",
    "unused": "1 of 3 parameters are not finite, the first spare after experience 0, epoch 0",
    "solver": "the loss is not finite in experience 1, epoch 0 (",
    "loss": "the loss is not finite in experience 1, epoch 0",
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "spoilt_by_numbers.py"
    file.write_text(PLUGIN)
    return file


def test_runs_that_give_no_answers_have_diverged(
    suite_file: Callable[..., Path], plugin: Path, cli: Any, tmp_path: Path
) -> None:
    wanted: dict[str, Any] = {what: {"strategy": "spoilt", "what": what} for what in (*FAULTS, "masked")}
    wanted["loss"] = {"strategy": "naive", "training": {"optimizer": "sgd", "lr": 1e38, "epochs": 2}}
    suite = suite_file(strategies=wanted, plugins=[str(plugin)], training={"epochs": 1, "batch_size": 4})
    answer = cli("run", suite, "--out", tmp_path / "out", report=True)
    assert answer.code == 1
    runs = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert dict(runs.status) == dict.fromkeys(FAULTS, "diverged") | {"masked": "done"}
    for label, fault in FAULTS.items():
        assert runs.loc[label, "reason"].startswith(f"{label}: {fault}"), runs.loc[label, "reason"]
        assert label in answer.err and fault in answer.err
        assert np.isnan(runs.loc[label, "accuracy_last"]) and np.isnan(runs.loc[label, "accuracy_seen"])
    assert runs.loc["weights", "experiences"] == 9  # what was measured before is kept
    assert len(pd.read_csv(tmp_path / "out" / "matrix.csv").groupby(["run_id", "after_experience"])) == 8 + 1 + 1 + 9
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "7 runs failed or diverged" in page and FAULTS["weights"] in page
    table = pd.read_csv(tmp_path / "out" / "report" / "tables" / "comparison.csv").set_index("strategy")
    means = table.filter(regex="_mean$")
    assert means.loc["weights"].isna().all() and means.loc["masked"].notna().any()
    (run,) = (tmp_path / "out" / "runs").glob("*.weights.*")
    refused(cli("export", run, "--plugin", plugin), "diverged", "experience 8")


@pytest.mark.parametrize("what", ["unused", "some"])
def test_check_reports_them(plugin: Path, what: str) -> None:
    load_plugin(plugin)
    report = check({"strategy": "spoilt", "what": what})
    (row,) = [row for row in report.rows if row.check == "losses"]
    assert row.status == "fail" and "spoilt: " in row.hint and "not finite" in row.hint and "experience 0" in row.hint


def test_which_outputs_are_no_answers() -> None:
    nan, inf = float("nan"), float("inf")
    scores = torch.tensor([[1, -inf], [nan, 1], [inf, 1], [-inf, -inf], [0, -1000], [1, nan]])
    assert not_finite(scores).tolist() == [False, True, True, True, False, True]
    assert not_finite(torch.ones(2, 3, dtype=torch.int64)).tolist() == [False, False]
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.bias.fill_(-inf)  # as the closed-form heads say of a class without a sample
        assert faulty_weights(model) == ""
        model.bias[0] = inf
    assert faulty_weights(model) == "1 of 2 parameters are not finite, the first bias"


def test_features_that_are_not_finite_are_refused_before_any_run(suite_file: Callable[..., Path]) -> None:
    suite = load_suite(str(suite_file()))
    manifest = suite.config.benchmark.manifest()
    backbone = backbone_of(suite.config.backbone)
    backbone.mean[0, 0] = float("nan")
    refused(lambda: prepare(suite.config, manifest, backbone), "162 of 162 images", str(manifest.table.path[0]))
    x = torch.full((5, 3), 3e38)  # whose sum overflows
    x[3, 1] = float("inf")
    assert not_finite_rows(x, 2).tolist() == [3]


@pytest.mark.usefixtures("one_thread")
def test_a_checkpoint_that_answers_nothing_is_neither_timed_nor_exported(
    suite_file: Callable[..., Path], finished: Callable[[Path], Path], cli: Any, tmp_path: Path
) -> None:
    out = finished(tmp_path / "out")
    (run,) = (out / "runs").glob("*.s0.*")
    for other in (out / "runs").iterdir():
        if other != run:
            shutil.rmtree(other)
    stored = load_file(file := run / "checkpoint" / "model.safetensors")
    save_file({key: value * float("nan") for key, value in stored.items()}, file)
    for path in (out / "suite.yaml", tmp_path / "tiny.yaml"):
        settings = yaml.safe_load(path.read_text()) if path.is_file() else {}
        path.write_text(yaml.safe_dump({**settings, "latency": {**settings.get("latency", {}), **TWO_CALLS,
                                                                "enabled": True}}))  # fmt: skip
    suite = load_suite(str(suite_file(latency=TWO_CALLS)))
    launch(suite, out)
    assert "100 % of the outputs are not finite" in json.loads((run / "latency.json").read_text())["error"]
    frame = pd.read_csv(out / "results.csv")
    assert np.isnan(frame.latency_p50_ms[0]) and "not finite" in frame.undefined[0]
    pytest.importorskip("onnx")
    refused(cli("export", run), "has diverged and is not exported", "100 % of the outputs")
