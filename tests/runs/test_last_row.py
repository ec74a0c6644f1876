"""`evaluation.rows: last`: one row of the matrix, of the same numbers, and all that reads it copes with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_runs

from lorisbench.metrics.predictions import NOT_TESTED
from lorisbench.report import frame, summary, tables
from lorisbench.report.page import write
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.loggers import _accuracies
from lorisbench.runs.one_run import train
from lorisbench.runs.rows import row_of
from lorisbench.runs.tables import _is_whole, collected

pytestmark = pytest.mark.usefixtures("one_thread")

LAST = small_runs.EXPERIENCES - 1


def last_only(entry: Any, **settings: Any) -> Any:
    return small_runs.bench(entry, evaluation={"rows": "last"}, **settings)


@pytest.mark.parametrize("entry", ["naive", "joint", {"stack": ["joint", "ewc"]}])
def test_the_last_row_is_that_of_the_whole_matrix(tmp_path: Path, entry: Any) -> None:
    whole = small_runs.run(small_runs.bench(entry), tmp_path / "whole").predictions()
    last = small_runs.run(last_only(entry), tmp_path / "last").predictions()
    assert (last[0][:LAST] == NOT_TESTED).all() and np.array_equal(last[0][LAST], whole[0][LAST])
    assert all(np.array_equal(one, other) for one, other in zip(whole[1:], last[1:], strict=True))


def test_joint_trains_in_the_last_experience_alone(tmp_path: Path) -> None:
    """Its steps, counted by the losses that observers are told."""
    from lorisbench.runs.observers import Observer

    class Steps(Observer):
        def __init__(self) -> None:
            self.of: dict[int, int] = {}

        def epoch(self, experience: int, epoch: int, epochs: int, step: int, losses: Any) -> None:
            self.of[experience] = self.of.get(experience, 0) + len(losses)

    def steps(bench: Any, folder: Path) -> dict[int, int]:
        counted = Steps()
        train(bench, vars(bench)["spec"], RunDirectory(folder), observers=[counted])
        return counted.of

    everything = steps(small_runs.bench("joint"), tmp_path / "whole")
    assert list(everything) == [0, 1, 2] and steps(last_only("joint"), tmp_path / "last") == {LAST: everything[LAST]}
    stacked = steps(last_only({"stack": ["joint", "ewc"]}), tmp_path / "stack")
    assert stacked == everything, "what goes with it may need what it does before"


@pytest.mark.parametrize("entry", ["joint", "replay"])
def test_it_goes_on_after_an_interrupt(tmp_path: Path, entry: str) -> None:
    plain = small_runs.run(last_only(entry), tmp_path / "plain")
    stopped = [2] if entry == "joint" else [1, 2]
    again = small_runs.interrupted(last_only(entry), tmp_path / "again", stopped)
    assert small_runs.written(plain.path) == small_runs.written(again.path)
    assert again.status()["resumed"] == stopped


def test_metrics_that_need_other_rows_are_empty_with_a_reason(tmp_path: Path) -> None:
    bench = last_only("naive")
    run = small_runs.run(bench, tmp_path)
    row, cells, _ = row_of(run, vars(bench)["spec"].config)
    assert cells[:, :2].tolist() == [[LAST, j] for j in range(LAST + 1)]
    assert row["accuracy_last"] == pytest.approx(cells[:, 2].mean()) and row["experiences"] == 3
    for name in ("square", "accuracy_seen", "bwt_mean", "fwt_mean", "forgetting_max", "forgetting_first", "plasticity"):
        assert row[name] is None and f"{name}: " in row["undefined"], name
    assert "accuracy_last: " not in row["undefined"]
    assert [entry["accuracy"] for entry in run.entries()][:LAST] == [[], []]


def test_loggers_are_told_nothing_of_experiences_without_a_test() -> None:
    assert _accuracies(["a", "b"], []) == [] and len(_accuracies(["a", "b"], [1.0, 0.5])) == 3


def test_what_reads_an_output_copes_with_one_row(suite_file: Any, cli: Any, tmp_path: Path) -> None:
    out, suite = tmp_path / "out", suite_file(strategies=["naive", "joint"], evaluation={"rows": "last"})
    assert cli("run", suite, "--out", out).code == 0
    cells = pd.read_csv(out / "matrix.csv")
    count = cells.test_experience.nunique()
    assert len(cells) == 2 * count > 2 and set(cells.after_experience) == {count - 1}
    runs = pd.read_csv(out / "results.csv")
    assert runs.accuracy_last.notna().all() and runs[["square", "forgetting_max", "plasticity"]].isna().all(axis=None)
    stored = frame.read(out)
    built = {table.name: table for table in tables.build(stored, summary.summarise(stored))}
    assert all("±" not in cell.text for cell in built["forgetting_per_experience"].rows[0])
    last = built["accuracy_last_per_experience"].values
    assert last.filter(like="_mean").notna().all(axis=None) and len(last) == 2
    assert write(out).is_file() and not (out / "report" / "plots" / "curves.png").exists()
    for command in (["status", out], ["report", out], ["compare", out, out], ["run", suite, "--out", out, "--dry-run"]):
        answer = cli(*command)
        assert answer.code == 0 and "accuracy_seen" not in answer.out, command
    # what both tables hold of a run whose predictions are gone counts, if it is the whole last row
    for run in (out / "runs").iterdir():
        (run / "predictions.npz").unlink()
    assert collected(out) == set(runs.run_id)
    whole = (out / "matrix.csv").read_text()
    (out / "matrix.csv").write_text("\n".join(whole.splitlines()[:-1]) + "\n")
    assert len(collected(out)) == 1
    (out / "matrix.csv").write_text(whole.replace(f",{count - 1},0,", ",0,0,", 1))
    assert len(collected(out)) == 1


@pytest.mark.parametrize(("rows", "experiences", "whole"), [
    ([0, 1, 2], 3, True), ([0, 1, 2], 3.0, True), ([2], 3, True), ([2], 3.0, True), ([0, 1], 3, False), ([0], 3, False),
    ([1, 2], 3.0, False), ([0], 1, True), ([], 3, False), ([0, 1, 2], 2.5, False), ([2], float("inf"), False),
    ([0, 1, 3], 3, False),
])  # fmt: skip
def test_a_matrix_is_whole_or_its_last_row(rows: list[int], experiences: float, whole: bool) -> None:
    """A number of experiences is a float where another line of the table has none."""
    cells = [(i, j, 0.5, 2) for i in rows for j in range(3 if experiences != 1 else 1)]
    assert _is_whole({"experiences": experiences}, np.array(cells, dtype=float).reshape(-1, 4)) is whole
