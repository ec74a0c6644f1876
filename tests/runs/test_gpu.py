"""The GPU path: the same runs on the device, repeatable and close to the CPU. Skipped where there is none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_models import SMALL, TWO_CALLS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
LARGE = {"name": "efficientnet-lite0", "image_size": 32}
STRATEGIES = ["naive", "joint", "ewc", "lwf", "dnn"]


def run(cli, suite: Path, out: Path, *options: str) -> dict[str, np.ndarray]:
    """Run a suite and return each strategy's predictions."""
    answer = cli("run", suite, "--out", out, *options)
    assert answer.code == 0, answer.err
    found = {}
    for folder in (out / "runs").iterdir():
        with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
            found[folder.name.split(".")[1]] = np.array(stored["predicted"])
    return found


def test_features_on_the_gpu(suite_file: Callable[..., Path], cli, tmp_path: Path) -> None:
    settings = {"strategies": STRATEGIES, "backbone": LARGE, "latency": TWO_CALLS}
    first = run(cli, suite_file(**settings, device="cuda"), tmp_path / "one")
    again = run(cli, suite_file(**settings, device="cuda"), tmp_path / "two", "--workers", "2")
    cpu = run(cli, suite_file(**settings, device="cpu"), tmp_path / "cpu")
    for label in STRATEGIES:
        assert np.array_equal(first[label], again[label]), label
        assert (first[label] == cpu[label]).mean() > 0.97, label
    results = pd.read_csv(tmp_path / "one" / "results.csv")
    assert results.latency_p50_ms.notna().all()


@pytest.mark.parametrize("mode", ["first", "always"])
def test_training_the_backbone_on_the_gpu(suite_file, cli, tmp_path: Path, mode: str) -> None:
    backbone = {**SMALL, "train": mode}
    suite = suite_file(strategies=STRATEGIES, device="cuda", backbone=backbone,
                       training={"epochs": 1, "batch_size": 6})  # fmt: skip
    first, again = (run(cli, suite, tmp_path / name) for name in ("one", "two"))
    for label in STRATEGIES:
        assert np.array_equal(first[label], again[label]), label
