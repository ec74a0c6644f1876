"""`backbone.runtime: onnxruntime`: the same features by another way, kept apart, and refused where it cannot be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from answers import refused
from small_models import SMALL
from torch import nn

from lorisbench.model import features, onnx_graph
from lorisbench.model.backbones import make_backbone
from lorisbench.model.models import Backbone
from lorisbench.suite.resolve import load_suite

pytestmark = pytest.mark.usefixtures("one_thread")
RUNTIME = {**SMALL, "runtime": "onnxruntime"}
SIZE = SMALL["image_size"]
CPU = torch.device("cpu")


def backbone(runtime: str = "onnxruntime") -> Backbone:
    made = make_backbone(SMALL["name"], "none", SIZE)
    made.freeze()
    made.runtime = runtime
    return made


def extracted(by: Backbone) -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (2, 5, SIZE, SIZE, 3), np.uint8)
    return np.concatenate(list(features.extract(by, iter(blocks), CPU)))


def test_onnxruntime_gives_pytorchs_features(monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[int] = []
    forward = onnx_graph.GraphNetwork.forward

    def watched(self: Any, x: torch.Tensor) -> torch.Tensor:
        answered.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(onnx_graph.GraphNetwork, "forward", watched)
    wanted = extracted(backbone("torch"))
    assert not answered
    found = extracted(backbone())
    assert answered == [2, 5, 5]  # a trial first
    assert found.dtype == np.float32 and np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_a_suite_has_them_kept_apart_and_says_who_made_them(
    cli: Callable[..., Any], suite_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    plain = cli("run", suite_file(backbone=SMALL), "--out", tmp_path / "plain")
    other = cli("run", suite_file(backbone=RUNTIME), "--out", tmp_path / "other")
    assert plain.code == other.code == 0, other
    assert len(list((tmp_path / "cache" / "features").glob("*.npy"))) == 2
    (here,) = (tmp_path / "other" / "runs").glob("*/env.json")
    (there,) = (tmp_path / "plain" / "runs").glob("*/env.json")
    ours, theirs = json.loads(here.read_text()), json.loads(there.read_text())
    assert ours["runtime"] == "onnxruntime" and ours["versions"]["onnxruntime"][0].isdigit()
    assert theirs["runtime"] == "torch" and "onnxruntime" not in theirs["versions"]


@pytest.mark.parametrize(
    "settings", [{"train": "always"}, {"cache": False}, {"name": "pixels", "weights": "none"}, {"runtime": "onnx"}]
)
def test_where_nothing_is_extracted_it_is_refused(suite_file: Callable[..., Path], settings: dict[str, Any]) -> None:
    suite = suite_file(backbone={**RUNTIME, **settings})
    refused(lambda: load_suite(str(suite)), "backbone", "runtime")


def test_a_missing_package_is_named_before_anything_is_written(
    cli: Callable[..., Any], suite_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    answer = cli("run", suite_file(backbone=RUNTIME), "--out", tmp_path / "out")
    refused(answer, "backbone.runtime: onnxruntime needs the package onnxruntime", "lorisbench[onnx]")
    assert not (tmp_path / "out").exists()


def test_other_features_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = onnx_graph.GraphNetwork.forward
    monkeypatch.setattr(onnx_graph.GraphNetwork, "forward", lambda self, x: 1.001 * forward(self, x))
    refused(lambda: extracted(backbone()), "backbone.runtime: onnxruntime gives other features", "0.001 of the largest")


class Deciding(nn.Module):
    """Goes one way or the other by what is in the images, which no graph can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) if x.sum() > 0 else x.amax(dim=(2, 3))


def test_a_network_that_is_no_graph_is_refused() -> None:
    made = Backbone(Deciding(), (0.5,) * 3, (0.2,) * 3, feature_dim=3, frozen=True)
    made.runtime = "onnxruntime"
    refused(lambda: extracted(made), "backbone.runtime: onnxruntime cannot run this backbone")
