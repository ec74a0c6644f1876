"""`lorisbench learn`: a finished run goes on with images that came later."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answers import refused

from lorisbench.runs.directory import RunDirectory

LABELS = ("naive", "replay", "dnn")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Path:
    """Images of the same objects under another factor, split as they are there, as one experience."""
    folder = tmp_path_factory.mktemp("new") / "attic"
    for split in ("train", "test", "validation"):
        for name in ("box_01", "cup_01", "cup_02"):
            shutil.copytree(release / split / "pixel" / "segment9" / name, folder / split / name)
    return folder


def only(out: Path, label: str) -> Path:
    return next((out / "runs").glob(f"*.{label}.*"))


@pytest.fixture
def trained(suite_file: Callable[..., Path], cli: Any, tmp_path: Path) -> Callable[..., Path]:
    def train(keep: bool, **changes: Any) -> Path:
        out = tmp_path / f"kept-{keep}"
        suite = suite_file(**{"strategies": list(LABELS), "keep_state": keep, **changes})
        answer = cli("run", suite, "--out", out)
        assert answer.code == 0, answer
        return out

    return train


def test_it_goes_on_where_the_run_has_ended(
    trained: Callable[..., Path], cli: Any, suite_file: Callable[..., Path], tmp_path: Path, later: Path, release: Path
) -> None:
    """With the state that was kept, with the training repeated, and as one stream from the start: the same answers."""
    kept, gone = trained(True), trained(False)
    assert not list(gone.glob("runs/*/checkpoint/state.safetensors"))
    rows = [
        (f"{split}/clutter/segment{segment}/{name}/{frame:03d}.jpg", segment, split, name)
        for segment in range(1, 10)
        for split in ("train", "validation", "test")
        for name in ("box_01", "cup_01", "cup_02")
        for frame in range(2)
    ]
    rows += [
        (f"{split}/pixel/segment9/{name}/{frame:03d}.jpg", 10, split, name)
        for split in ("train", "validation", "test")
        for name in ("box_01", "cup_01", "cup_02")
        for frame in range(2)
    ]
    listed = tmp_path / "all.csv"
    pd.DataFrame(rows, columns=["path", "experience", "split", "class_name"]).to_csv(listed, index=False)
    oracle = suite_file(
        strategies=list(LABELS), benchmark={"name": "manifest", "file": str(listed), "root": str(release)}
    )
    assert cli("run", oracle, "--out", tmp_path / "oracle").code == 0
    for label in LABELS:
        answers = {}
        for out in (kept, gone):
            target = tmp_path / f"{out.name}-{label}"
            answer = cli("learn", only(out, label), "--data", later, "--out", target)
            assert answer.code == 0, answer
            assert ("is repeated first" in answer.err) == (out is gone)
            assert "answered otherwise" not in answer.err
            answers[out.name] = RunDirectory(only(target, label))
        predicted = {name: run.predictions() for name, run in answers.items()}
        first, second = predicted.values()
        assert all(map(np.array_equal, first, second)), label
        assert np.array_equal(first[0][-1], RunDirectory(only(tmp_path / "oracle", label)).predictions()[0][-1]), label
        assert (first[0][:-1] == -1).all() and first[2].max() == 9
        names = [entry["name"] for entry in answers[kept.name].entries()]
        assert names[-1] == "attic" and len(names) == 10


def test_what_was_learned_goes_on_again(trained: Callable[..., Path], cli: Any, tmp_path: Path, later: Path) -> None:
    out = trained(True, strategies=["replay"])
    run = only(out, "replay")
    for step in ("once", "twice"):
        answer = cli("learn", run, "--data", later, "--out", tmp_path / step)
        assert answer.code == 0, answer
        assert "answered otherwise" not in answer.err
        run = only(tmp_path / step, "replay")
    assert [entry["name"] for entry in RunDirectory(run).entries()][-2:] == ["attic", "attic (later)"]
    matrix = pd.read_csv(tmp_path / "twice" / "matrix.csv")
    assert set(matrix.after_experience) == {10} and len(matrix) == 11


def test_a_damaged_checkpoint_of_what_was_learned_is_set_aside(
    trained: Callable[..., Path], cli: Any, tmp_path: Path, later: Path
) -> None:
    """It is then learned anew, from where the finished run has ended, and not from the first experience on."""
    learn = ("learn", only(trained(True, strategies=["replay"]), "replay"), "--data", later, "--out", tmp_path / "new")
    assert cli(*learn).code == 0
    directory = RunDirectory(only(tmp_path / "new", "replay"))
    before = directory.predictions(), len(directory.entries())
    (directory.path / "checkpoint" / "resume.safetensors").write_bytes(b"damaged")
    directory.set_status("pending")
    answer = cli(*learn)
    assert answer.code == 0 and "set aside as resume.damaged" in answer.err, answer
    assert all(map(np.array_equal, before[0], directory.predictions())) and len(directory.entries()) == before[1]


@pytest.mark.parametrize("train", ["first", "always"])
def test_a_backbone_that_is_trained_goes_on_too(
    trained: Callable[..., Path], cli: Any, tmp_path: Path, later: Path, train: str
) -> None:
    changes = {
        "backbone": {"name": "pixels", "image_size": 16, "train": train},
        "strategies": ["replay"],
        "training": {"epochs": 1, "batch_size": 8},
    }
    kept, gone = (trained(keep, **changes) for keep in (True, False))
    answers = []
    for out in (kept, gone):
        target = tmp_path / f"{out.name}-learned"
        answer = cli("learn", only(out, "replay"), "--data", later, "--out", target)
        assert answer.code == 0, answer
        assert "answered otherwise" not in answer.err
        answers.append(RunDirectory(only(target, "replay")).predictions()[0])
    assert np.array_equal(*answers)


def test_what_cannot_go_on_is_refused(
    trained: Callable[..., Path], cli: Any, tmp_path: Path, later: Path, release: Path
) -> None:
    out = trained(False, strategies=["naive"])
    run = only(out, "naive")

    def learn(run: Path, data: Path) -> Any:
        return cli("learn", run, "--data", data, "--out", tmp_path / "refused")

    refused(learn(out, later), "not the folder of a run")
    refused(learn(run, tmp_path / "nothing"), "--data", "no such folder")
    unknown = tmp_path / "unknown" / "cellar"
    shutil.copytree(later, unknown)
    (unknown / "train" / "cup_02").rename(unknown / "train" / "cup_03")
    refused(learn(run, unknown), "class 'cup_03'", "did you mean 'cup_0")
    several = tmp_path / "several.csv"
    several.write_text(
        "path,class_name,experience\n"
        + "".join(
            f"train/pixel/segment{k}/box_01/000.jpg,box_01,{k}\ntrain/pixel/segment{k}/box_01/001.jpg,box_01,{k}\n"
            for k in (1, 2)
        )
    )
    several.write_text(f"# root: {release}\n" + several.read_text())
    refused(learn(run, several), "2 experiences", "one is learned at a time")
    RunDirectory(run).set_status("failed", "because")
    refused(learn(run, later), "its status is failed")
    assert not (tmp_path / "refused").exists()
