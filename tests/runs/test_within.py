"""`evaluation.every`: how accuracies move within experiences is measured, and nothing else changes by it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import small_runs
from torch import nn

from lorisbench.engine.within import Within
from lorisbench.runs.rows import row_of

pytestmark = pytest.mark.usefixtures("one_thread")

MEASURED = ("fwt_gem", "average_anytime", "min_accuracy", "worst_case_accuracy", "stability_gap")


def every(entry: Any, steps: int = 2, **settings: Any) -> Any:
    return small_runs.bench(entry, evaluation={"every": steps, "scores": True}, **settings)


@pytest.mark.parametrize("entry", ["naive", "joint", "ewc", "lwf", "dnn", "replay", "slda", "ncm"])
def test_it_changes_nothing_else(tmp_path: Path, entry: Any) -> None:
    plain = small_runs.run(small_runs.bench(entry, evaluation={"scores": True}), tmp_path / "plain")
    bench = every(entry)
    watched = small_runs.run(bench, tmp_path / "watched")
    for one, other in zip(plain.answers(), watched.answers(), strict=True):
        assert (one is None and other is None) or np.array_equal(one, other, equal_nan=True)
    keys = ("train_flops", "train_samples", "train_steps", "accuracy")
    assert [[e[k] for k in keys] for e in plain.entries()] == [[e[k] for k in keys] for e in watched.entries()]
    row = row_of(watched, vars(bench)["spec"].config).row
    told = [name for name in MEASURED if row.get(name) is not None]
    assert set(MEASURED) - {"fwt_gem"} <= set(told), row["undefined"]
    steps = [entry["train_steps"] for entry in watched.entries()]
    assert row["min_accuracy"] <= row["accuracy_last"] + 1e-9 or not sum(steps)
    assert 0 <= row["calibration_error"] <= 1 and 0 <= row["negative_flips"] <= 1


def test_its_rows_are_of_the_experiences_so_far_and_of_all_before_training(tmp_path: Path) -> None:
    run = small_runs.run(every("naive", 3), tmp_path / "run")
    table = pd.read_csv(run.path / "within.csv")
    first = table[(table.experience == 0) & (table.step == 0)]
    assert first.test_experience.tolist() == [0, 1, 2]
    steps = [entry["train_steps"] for entry in run.entries()]
    for experience, own in table[table.step > 0].groupby("experience"):
        assert own.test_experience.max() == experience
        assert sorted(set(own.step)) == list(range(3, steps[experience] + 1, 3))
    matrix = run.matrix()
    assert matrix is not None
    last = table[(table.experience == 2) & (table.step == steps[2])]
    if len(last):
        assert last.accuracy.to_numpy() == pytest.approx(matrix[0][2])


def test_a_run_that_was_interrupted_has_the_same_rows(tmp_path: Path) -> None:
    whole = small_runs.run(every("naive"), tmp_path / "whole")
    parts = small_runs.interrupted(every("naive"), tmp_path / "parts")
    assert (whole.path / "within.csv").read_bytes() == (parts.path / "within.csv").read_bytes()


def test_without_it_its_metrics_are_empty_and_say_why(tmp_path: Path) -> None:
    bench = small_runs.bench("naive")
    run = small_runs.run(bench, tmp_path / "run")
    row = row_of(run, vars(bench)["spec"].config).row
    assert not (run.path / "within.csv").exists() and not any(row.get(name) for name in MEASURED)
    assert "average_anytime: nothing was measured within experiences (evaluation.every)" in row["undefined"]
    assert "calibration_error: no probabilities are stored (evaluation.scores)" in row["undefined"]


def test_a_frozen_part_stays_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    model.train()
    model[0].eval()
    strategy = SimpleNamespace(model=model, clock=SimpleNamespace(train_exp_counter=0), mbatch=None, is_training=True)
    Within(1, cast(Any, None), [])._measure(strategy, 0)
    assert [module.training for module in model] == [False, True] and model.training
