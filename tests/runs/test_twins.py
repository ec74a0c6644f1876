"""A strategy in which nothing depends on the seed is trained once, and the report says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answers import refused
from built_in import BUILT_IN
from small_models import TWO_CALLS

from lorisbench.common.registry import STRATEGIES
from lorisbench.report.frame import read
from lorisbench.report.summary import summarise
from lorisbench.report.tables import build
from lorisbench.runs import one_run

DETERMINISTIC = [name for name in BUILT_IN if STRATEGIES.get(name).deterministic]  # type: ignore[attr-defined]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were trained, in their order."""
    told: list[str] = []
    real = one_run.train

    def train(bench, spec, *given, **more) -> None:  # type: ignore[no-untyped-def]
        told.append(spec.told)
        real(bench, spec, *given, **more)

    monkeypatch.setattr(one_run, "train", train)
    return told


def answers(out: Path, label: str, seed: int) -> np.ndarray:
    (folder,) = (out / "runs").glob(f"*.{label}.s{seed}.*")
    with np.load(folder / "predictions.npz") as stored:
        return stored["predicted"]


def test_one_run_stands_for_all_seeds(suite_file: Callable, cli: Callable, trained: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    suite = suite_file(strategies=["naive", *DETERMINISTIC], seeds=[3, 4], latency=TWO_CALLS)
    answer = cli("run", suite, "--out", out)
    assert answer.code == 0, answer.err
    assert trained == ["naive seed 3", "naive seed 4", *(f"{label} seed 3" for label in DETERMINISTIC)]
    rows = pd.read_csv(out / "results.csv").set_index(["strategy", "seed"])
    assert (rows.status == "done").all() and rows.latency_p50_ms.notna().all()
    for label in DETERMINISTIC:
        assert rows.reason[label, 4] == "as seed 3: nothing in it depends on the seed"
        assert np.array_equal(answers(out, label, 3), answers(out, label, 4))
    stored = read(out)
    notes = [note.text for table in build(stored, summarise(stored)) for note in table.notes]
    assert any(note.startswith(f"{', '.join(DETERMINISTIC)}: one run stands for all seeds") for note in notes)

    trained.clear()
    assert cli("run", suite, "--out", out, "--seeds", "3,4,5", "--strategies", "ncm").code == 0
    assert not trained, "seed 5 is copied from one that is there"
    assert cli("run", suite, "--out", out, "--rerun", "ncm").code == 0
    assert trained == ["ncm seed 3"]
    (folder,) = (out / "runs").glob("*.ncm.s4.*")
    assert json.loads((folder / "status.json").read_text())["copied_from"].startswith("openloris-clutter.ncm.s3.")


def test_what_says_so_gives_the_same_under_any_seed(
    suite_file: Callable, cli: Callable, trained: list[str], tmp_path: Path
) -> None:
    """Each alone in its folder, so that none is copied."""
    for seed in (0, 1):
        suite = suite_file(strategies=DETERMINISTIC, seeds=[seed], latency={"enabled": False})
        assert cli("run", suite, "--out", tmp_path / str(seed)).code == 0
    for label in DETERMINISTIC:
        assert np.array_equal(answers(tmp_path / "0", label, 0), answers(tmp_path / "1", label, 1))


def test_on_images_every_seed_is_trained(
    suite_file: Callable, cli: Callable, trained: list[str], tmp_path: Path
) -> None:
    backbone = {"name": "timm:test_resnet", "weights": "none", "image_size": 32, "train": "first"}
    suite = suite_file(
        strategies=["ncm"], seeds=[0, 1], backbone=backbone, training={"epochs": 1}, latency={"enabled": False}
    )
    assert cli("run", suite, "--out", tmp_path / "out").code == 0
    assert trained == ["ncm seed 0", "ncm seed 1"]


def test_what_changes_no_number_may_change_later(
    suite_file: Callable, cli: Callable, trained: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cli("run", suite_file(strategies=["naive"], device="cpu"), "--out", out).code == 0
    before = pd.read_csv(out / "results.csv")
    trained.clear()
    other = suite_file(strategies=["naive"], device="auto", latency=TWO_CALLS)
    assert cli("run", other, "--out", out).code == 0
    assert cli("run", other, "--out", out, "--set", "latency.calls=3", "--set", "device=cpu").code == 0
    (folder,) = (out / "runs").iterdir()
    assert not trained and json.loads((folder / "latency.json").read_text())["calls"] == 3
    after = pd.read_csv(out / "results.csv")
    assert after.run_id.tolist() == before.run_id.tolist() and after.latency_p50_ms.notna().all()
    env = json.loads((folder / "env.json").read_text())
    (folder / "env.json").write_text(json.dumps({**env, "device": "cuda:0"}))
    assert cli("run", other, "--out", out, "--set", "device=auto").code == 0, "auto in the folder and in the suite"
    refused(cli("run", other, "--out", out, "--set", "device=cpu"), "different 'device'", "'cpu' in this suite")
