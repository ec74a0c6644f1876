"""What is told while runs are trained: progress lines, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from lorisbench.runs import display, loggers, observers
from lorisbench.runs.observers import Observer
from lorisbench.runs.resume import Checkpoints


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_gets_losses_rows_and_the_table(suite_file, cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = cli("run", suite_file(strategies=["naive", "slda"]), "--out", out, "--tensorboard")
    assert answer.code == 0, answer.err
    matrix = pd.read_csv(out / "matrix.csv")
    for label in ("naive", "slda"):
        (folder,) = (out / "tensorboard").glob(f"*.{label}.*")
        told = scalars_of(folder)
        rows = matrix[matrix.run_id == folder.name].groupby("after_experience").accuracy.mean()
        assert dict(told["accuracy/mean"]) == pytest.approx(rows.to_dict())
        assert len([tag for tag in told if tag.startswith("accuracy/")]) == 10
        if label == "naive":
            steps, losses = zip(*told["loss"], strict=True)
            assert list(steps) == list(range(1, 9 * 2 * 2 + 1)), "9 experiences, 2 epochs, 2 batches"
            assert losses[0] > losses[-1] > 0
        else:
            assert "loss" not in told, "it takes no gradient steps"
    events = b"".join(path.read_bytes() for path in (out / "tensorboard" / "suite").iterdir())
    assert b"accuracy_last" in events and b"slda" in events


def test_tensorboard_shows_each_step_of_a_resumed_run_once(suite_file, cli, tmp_path: Path, monkeypatch) -> None:
    suite, out, write, calls = suite_file(), tmp_path / "out", Checkpoints.write, []

    def interrupted(self: Checkpoints, *about: object) -> None:
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(self, *about)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write", interrupted)
        assert "interrupted" in cli("run", suite, "--out", out, "--tensorboard").err
    assert cli("run", suite, "--out", out, "--tensorboard").code == 0
    (folder,) = (out / "tensorboard").glob("*.naive.*")
    assert len(list(folder.iterdir())) == 2
    steps = [step for step, _ in scalars_of(folder)["loss"]]
    assert steps == list(range(1, 9 * 2 * 2 + 1))


@pytest.mark.heavy  # starts a program of its own for each run
def test_wandb_logs_offline_without_an_account(suite_file, cli, tmp_path: Path, monkeypatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    out = tmp_path / "out"
    answer = cli("run", suite_file(), "--out", out, "--wandb")
    assert answer.code == 0, answer.err
    logs = list((out / "wandb").glob("offline-run-*/*.wandb"))
    assert len(logs) == 2, "the run, and the table of the suite"
    assert any(b"accuracy/mean" in log.read_bytes() for log in logs)
    (table,) = (out / "wandb").rglob("results_*.table.json")
    assert "accuracy_last" in json.loads(table.read_text())["columns"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_is_told_first(suite_file, cli, tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    answer = cli("run", suite_file(), "--out", tmp_path / "out", f"--{name}")
    assert answer.code == 2 and f"pip install {name}" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["begun", "epoch", "experience", "ended"])
def test_a_logger_that_breaks_ends_no_run(suite_file, cli, tmp_path: Path, monkeypatch, method: str) -> None:
    class Broken(Observer):
        def __init__(self, out: Path) -> None:
            pass

    def broken(*about: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Broken, method, broken)
    monkeypatch.setitem(loggers.LOGGERS, "tensorboard", Broken)
    monkeypatch.setattr(loggers, "_table_to_tensorboard", lambda *_: None)
    answer = cli("run", suite_file(), "--out", tmp_path / "out", "--tensorboard")
    assert answer.code == 0 and answer.err.count("Broken is left out of the rest of this run: OSError") == 1


def test_plain_output_tells_where_a_long_run_is(suite_file, cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(display, "QUIET", 0.0)
    monkeypatch.setattr(observers, "PAUSE", 0.0)
    answer = cli("run", suite_file(seeds=[3]), "--out", tmp_path / "out", "--workers", 1)
    assert answer.code == 0, answer.err
    assert "naive seed 3, epoch 1/2, loss " in answer.err and "after 8 of 9 experiences" in answer.err
    assert "[1/1] naive seed 3: done" in answer.err
    told = re.findall(r"epoch (\d+)/(\d+)", answer.err)
    assert told and all(1 <= int(epoch) <= int(epochs) == 2 for epoch, epochs in told), told
