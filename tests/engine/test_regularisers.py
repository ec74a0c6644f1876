"""The regularising baselines in the harness: on cached features, end to end, and with a backbone trained at first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_models import FEATURES, SMALL

from lorisbench.common.registry import STRATEGIES

NAMES = ["si", "mas", "rwalk", "l2sp", "frozen"]
ENTRIES = dict.fromkeys(NAMES) | {
    "ewc": None,
    "ewc-online": {"strategy": "ewc", "mode": "online", "gamma": 0.9, "fisher": "batch"},
    "l2sp-initial": {"strategy": "l2sp", "anchor": "initial"},
}
HEAD = 4 * (FEATURES * 3 + 3)  # bytes of the linear head
FAST = {"training": {"epochs": 1, "batch_size": 6}}


def predictions(out: Path, label: str) -> np.ndarray:
    (folder,) = (path for path in (out / "runs").iterdir() if path.name.split(".")[1] == label)
    with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
        return np.array(stored["predicted"])


def test_on_frozen_features_what_they_keep_is_of_the_size_of_the_head(suite_file, cli, tmp_path: Path) -> None:
    answer = cli("run", suite_file(strategies=ENTRIES, **FAST), "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert (results.status == "done").all()
    assert (results.replay_samples == 0).all()
    kept = (results.state_mb * 1e6).round().astype(int).to_dict()
    # importance and centre; RWalk its Fisher information and score as well; L2-SP one number for each of two tensors
    two = dict.fromkeys(("ewc", "ewc-online", "si", "mas"), 2 * HEAD)
    assert kept == two | {"rwalk": 4 * HEAD, "l2sp": HEAD + 8, "l2sp-initial": HEAD + 8, "frozen": 0}
    assert len({tuple(predictions(tmp_path / "out", "frozen")[i]) for i in range(9)}) == 1


@pytest.mark.usefixtures("one_thread")
@pytest.mark.heavy
def test_with_a_backbone_that_trains(suite_file, cli, tmp_path: Path) -> None:
    backbone = {**SMALL, "train": "always"}
    # an exact estimate of a whole network takes a while; test_run.py has it
    entries = {label: settings for label, settings in ENTRIES.items() if label not in ("ewc", "l2sp-initial")}
    answer = cli("run", suite_file(backbone=backbone, strategies=entries, **FAST), "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert (results.status == "done").all()
    assert (results.drop("frozen").state_mb > 0).all() and results.loc["frozen", "state_mb"] == 0
    assert len({tuple(row) for row in predictions(tmp_path / "out", "frozen")}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_they_are_registered_and_declare_that_they_keep_no_samples(name: str) -> None:
    kind = STRATEGIES.get(name)
    config = kind()
    assert config.plugins(None)[0] is not config.plugins(None)[0]
    assert (kind.needs_task_labels, kind.state_growth, config.replay_limit(), config.remarks()) == (
        False, "constant", 0, []
    )  # fmt: skip
