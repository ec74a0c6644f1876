"""`lorisbench reproduce clp-snn`: on a file of features, and what of it can be compared with the authors' values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lorisbench.common.errors import InputError
from lorisbench.reproduce.claims import ground_of
from lorisbench.reproduce.plan import plan
from lorisbench.reproduce.published import load
from lorisbench.suite.resolve import load_suite

CLASSES, WIDTH, FRAMES = 4, 16, 6
FITTING = ["benchmark.fraction=0.5", "dnn-heads.training.augment=null"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three recordings of six frames of each of four categories to train on, and a few images to test on."""
    rng = np.random.default_rng(0)
    places = 3 * rng.normal(size=(CLASSES, WIDTH))

    def some(count: int) -> tuple[np.ndarray, np.ndarray]:
        label = np.repeat(np.arange(CLASSES), count)
        return (places[label] + rng.normal(size=(len(label), WIDTH))).astype(np.float32), label

    (x, y), (tx, ty) = some(3 * FRAMES), some(5)
    names = np.array(["cup", "box", "can", "jar"])
    np.savez(
        tmp_path / "b0.npz", X_train=x, y_train=y, X_test=tx, y_test=ty, class_names=names,
        video_train=np.arange(len(y)) // FRAMES,
    )  # fmt: skip
    return tmp_path / "b0.npz"


@pytest.mark.heavy
def test_on_features_it_shows_what_is_published_and_what_cannot_be_compared(
    file: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    words = ("--data-root", file, "--out", out, "--parts", "1-shot", "--seeds", "10")
    answer = cli("reproduce", "clp-snn", *words)
    assert answer.code == 0, answer.err
    table = pd.read_csv(out / "tables" / "1-shot.csv").set_index("method")
    assert table.published.to_dict() == {"NCM": 53.1, "replay": 55.1, "SLDA": 54.8, "CLP": 57.0, "CLP-SNN": 55.4}
    assert table.status.to_dict() == {
        "NCM": "not comparable", "replay": "not comparable", "SLDA": "not comparable",
        "CLP": "not implemented", "CLP-SNN": "not implemented",
    }  # fmt: skip
    assert table.measured[["NCM", "replay", "SLDA"]].notna().all() and table.measured[["CLP", "CLP-SNN"]].isna().all()
    page = (out / "index.html").read_text()
    assert "16 features of each image, not 1280" in page and "4 objects, not 40" in page
    runs = pd.read_csv(out / "results.csv")
    assert runs.experiences.tolist() == [CLASSES] * 3 and runs.status.tolist() == ["done"] * 3
    counted = pd.read_csv(out / "experiences.csv")
    assert counted.train.tolist() == [FRAMES] * CLASSES and counted.test.tolist() == [5] * CLASSES  # one video a class


def stored(**changes: Any) -> Any:
    """The authors' file as it is run: 40 categories, one in each experience."""
    shots = load("clp-snn").parts["1-shot"].settings["benchmark.shots"]
    suite = {"benchmark": {"name": "features", "classes_per_experience": 1, "shots": shots}, **changes.pop("suite", {})}
    data = {"name": "b0", "synthetic": False, "classes": [f"c{i}" for i in range(40)], "features": 1280}
    return SimpleNamespace(suite=suite, data={**data, **changes.pop("data", {})}, names=["e"] * 40, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"data": {"features": 96}}, ["96 features of each image, not 1280"]),
        ({"data": {"features": None}}, ["features made here of images, not those that the authors published"]),
        ({"data": {"classes": ["c"] * 19}}, ["19 objects, not 40"]),
        ({"suite": {"benchmark": {"shots": {"frames": 60, "test": 60}}}},
         ["benchmark.shots: {'frames': 60, 'test': 60}, not {'recordings': 1, 'frames': 60, 'test': 60, 'seed': 10}"]),
        ({"suite": {"benchmark": {"shots": {"recordings": 1, "frames": 60, "test": 60, "seed": 20}}}}, []),
    ],
)  # fmt: skip
def test_only_the_authors_features_and_shots_can_be_compared(changes: dict[str, Any], said: list[str]) -> None:
    ground = ground_of(stored(**changes), load("clp-snn").parts["1-shot"])
    assert ground.faults == said and not ground.synthetic


def test_without_features_it_is_synthetic_and_of_categories() -> None:
    suite = plan("clp-snn").suite
    assert {spec.seed for spec in suite.runs} == {10, 20, 30} and list(suite.streams) == ["1-shot", "25-shot"]
    for stream, recordings in (("1-shot", 1), ("25-shot", 25)):
        benchmark = suite.streams[stream].benchmark
        assert (benchmark.name, benchmark.protocol, benchmark.labels) == ("openloris-sim", "classes", "category")
        assert benchmark.shots.recordings == recordings and benchmark.shots.test == 60
    replay = suite.config.strategies["replay"]
    assert (replay.training.lr, replay.training.weight_decay) == (1e-3, 1e-5)
    assert (replay.strategy.memory, replay.strategy.replay_batch) == (800, 50)
    assert suite.config.strategies["slda"].strategy.shrinkage == 1e-4


def test_any_suite_runs_on_a_file_of_features(file: Path, tmp_path: Path) -> None:
    suite = load_suite("quickstart", data_root=file, assignments=FITTING)
    benchmark = suite.config.benchmark
    assert (benchmark.name, benchmark.file, benchmark.fraction) == ("features", str(file), 0.5)
    (tmp_path / "list.csv").write_text("path,label\n")
    with pytest.raises(InputError, match=r"no images that could be augmented; set dnn-heads\.training\.augment=null"):
        load_suite("quickstart", data_root=file)
    with pytest.raises(InputError, match="none of these formats"):
        load_suite("quickstart", data_root=tmp_path / "list.csv", assignments=FITTING).config.benchmark.usable()
