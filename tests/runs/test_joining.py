"""Several processes on one output, and processes that are stopped or killed: nothing is trained twice or lost."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from answers import refused
from same import same_results
from small_models import TWO_CALLS
from warm import Command, elsewhere, until

from lorisbench.runs import tables

COUNTS = '''
import os, uuid
from pathlib import Path
import time
from avalanche.core import SupervisedPlugin
from lorisbench import Strategy


class Count(SupervisedPlugin):
    def __init__(self, folder, name, pause):
        super().__init__()
        self.folder, self.name, self.pause = folder, name, pause

    def before_training_exp(self, strategy, **kwargs):
        done = strategy.clock.train_exp_counter
        Path(self.folder, f"{self.name}-{done}-{uuid.uuid4().hex}").touch()

    def before_training_iteration(self, strategy, **kwargs):
        time.sleep(self.pause)


class Counted(Strategy, name="counted"):
    """Leaves a file each time that it begins an experience."""

    folder: str
    pause: float = 0.0

    def plugins(self, context):
        return [Count(self.folder, context.seed, self.pause)]
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all tests, as a name may stand for one strategy in a process."""
    file = tmp_path_factory.mktemp("plugin") / "counts.py"
    file.write_text(COUNTS)
    return file


@pytest.fixture
def counted(tmp_path: Path, plugin: Path, suite_file: Callable[..., Path]) -> Callable[..., Path]:
    (tmp_path / "marks").mkdir()

    def suite(seeds: int, pause: float = 0.0) -> Path:
        entry = {"strategy": "counted", "folder": str(tmp_path / "marks"), "pause": pause}
        return suite_file(plugins=[str(plugin)], strategies={"counted": entry}, seeds=list(range(seeds)))

    return suite


def begun(tmp_path: Path, seed: int, experience: int) -> int:
    return len(list((tmp_path / "marks").glob(f"{seed}-{experience}-*")))


@pytest.mark.heavy
def test_three_processes_share_a_suite(counted, cli, tmp_path: Path) -> None:
    suite = counted(5)
    assert cli("run", suite, "--out", tmp_path / "alone").code == 0
    for mark in (tmp_path / "marks").iterdir():
        mark.unlink()
    out = tmp_path / "out"
    commands = [
        Command(tmp_path / f"{i}.log", "run", suite, "--out", out, "--workers", workers)
        for i, workers in enumerate((0, 0, 1))
    ]
    assert [command.ended() for command in commands] == [0, 0, 0], [c.said() for c in commands]
    assert all(begun(tmp_path, seed, 0) == 1 for seed in range(5)), "each run once"
    same_results(tmp_path / "alone", out)
    assert not list((out / "runs").rglob("claim-*"))


@pytest.mark.heavy
def test_a_signal_stops_a_suite_that_goes_on_later(counted, cli, tmp_path: Path) -> None:
    """Two processes, as of a job array: one is preempted, by either signal, and requeued."""
    suite, out = counted(2, pause=0.02), tmp_path / "out"
    assert cli("run", suite, "--out", tmp_path / "alone").code == 0
    for mark in (tmp_path / "marks").iterdir():
        mark.unlink()
    for number, workers, experience in ((signal.SIGTERM, 0, 2), (signal.SIGUSR1, 1, 4)):
        command = Command(tmp_path / "log", "run", suite, "--out", out, "--seeds", "0", "--workers", workers)
        until(lambda experience=experience: begun(tmp_path, 0, experience))
        command.send(number)
        assert command.ended() == 75, command.said()
        assert number.name in command.said() and "goes on" in command.said()
        (folder,) = (out / "runs").glob("*.s0.*")
        status = json.loads((folder / "status.json").read_text())
        assert status["status"] == "pending"
        assert pd.read_csv(out / "results.csv").status.tolist() == ["pending"]
    assert cli("run", suite, "--out", out).code == 0
    same_results(tmp_path / "alone", out)
    assert begun(tmp_path, 0, 0) == 1, "it went on where it was"
    assert all(begun(tmp_path, 0, experience) <= 2 for experience in range(9))


def test_a_killed_process_loses_one_experience_and_nothing_else(counted, cli, tmp_path: Path) -> None:
    suite, out = counted(2, pause=0.02), tmp_path / "out"
    assert cli("run", suite, "--out", tmp_path / "alone").code == 0
    for mark in (tmp_path / "marks").iterdir():
        mark.unlink()
    command = Command(tmp_path / "log", "run", suite, "--out", out, "--workers", 1)
    until(lambda: begun(tmp_path, 1, 3))
    command.send(signal.SIGKILL)
    assert command.ended() == -signal.SIGKILL
    told = cli("status", out, "--json")
    runs = {run["seed"]: run for run in json.loads(told.out)["runs"]}
    assert runs[0]["state"] == "done"
    until(
        lambda: (
            {r["seed"]: r for r in json.loads(cli("status", out, "--json").out)["runs"]}[1]["state"] == "interrupted"
        )
    )
    assert cli("run", suite, "--out", out).code == 0
    same_results(tmp_path / "alone", out)
    assert begun(tmp_path, 0, 0) == 1
    assert begun(tmp_path, 1, 0) == 1 and all(begun(tmp_path, 1, experience) <= 2 for experience in range(9))


def test_runs_of_other_machines_are_left_to_them(counted, cli, tmp_path: Path, monkeypatch) -> None:
    from lorisbench.runs import claims, schedule

    monkeypatch.setattr(claims, "EXPIRY", 1.0)
    monkeypatch.setattr(schedule, "LOOK", 0.1)
    suite, out = counted(2), tmp_path / "out"
    assert cli("run", suite, "--out", out, "--seeds", "1").code == 0
    (one,) = (out / "runs").iterdir()
    theirs = out / "runs" / one.name.replace(".s1.", ".s0.")
    elsewhere(theirs)
    answer = cli("run", suite, "--out", out)
    assert answer.code == 0 and "1 run is being trained by other processes" in answer.err
    assert (theirs / "predictions.npz").exists(), "taken over when its owner had been silent for long"


def test_settings_that_are_replaced_leave_no_line_of_the_old_ones(
    suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    suite = suite_file(strategies=["naive", "ewc"], seeds=[0, 1], latency=TWO_CALLS)
    other = ["run", suite, "--out", out, "--set", "ewc.ewc_lambda=3"]
    assert cli("run", suite, "--out", out).code == 0
    before = pd.read_csv(out / "results.csv")
    told = refused(cli(*other), "ewc_lambda: 100.0 in the folder, 3.0 in this suite", "--rerun ewc")
    assert told and pd.read_csv(out / "results.csv").equals(before), "what was there is still there"

    assert cli(*other, "--rerun", "ewc", "--seeds", "0", "--dry-run").code == 0
    answer = cli(*other, "--rerun", "ewc", "--seeds", "0")
    assert answer.code == 0 and "ewc_lambda: 100.0, here 3.0" in answer.err
    after = pd.read_csv(out / "results.csv")
    old = set(before[before.strategy == "ewc"].run_id)
    assert sorted(zip(after.strategy, after.seed, strict=True)) == [("ewc", 0), ("naive", 0), ("naive", 1)]
    for table in ("results.csv", "matrix.csv", "latency.csv"):
        assert not old & set(pd.read_csv(out / table).run_id), table
    assert (
        after[after.strategy == "naive"]
        .reset_index(drop=True)
        .equals(before[before.strategy == "naive"].reset_index(drop=True))
    ), "others stay as they were"
    assert len(list((out / "runs").iterdir())) == 5, "nothing that was trained is deleted"
    assert yaml.safe_load((out / "suite.yaml").read_text())["strategies"]["ewc"]["ewc_lambda"] == 3.0
    assert cli("run", suite, "--out", out, "--set", "ewc.ewc_lambda=3").code == 0, "the new ones join as others do"

    # where somebody has deleted the folders of the old ones, their lines are no better; those of naive are kept
    rows, cells = (out / "results.csv").read_text(), (out / "matrix.csv").read_text()
    for run in (out / "runs").glob("*"):
        if run.name in old or "naive" in run.name:
            shutil.rmtree(run)
    stale = before[before.strategy == "ewc"].to_csv(index=False, header=False)
    (out / "results.csv").write_text(rows + stale)
    columns = "{run},{stream},0,{i},{j},0.5,2\n"
    stream, size = before.stream[0], int(before.experiences[0])
    torn = [columns.format(run=r, stream=stream, i=i, j=j) for r in old for i in range(size) for j in range(size)]
    (out / "matrix.csv").write_text(cells + "".join(torn))
    collect = tables.Tables(out)
    found = collect.write()
    assert sorted(zip(found.strategy, found.seed, strict=True)) == [("ewc", 0), ("ewc", 1), ("naive", 0), ("naive", 1)]
    assert not old & {*found.run_id, *pd.read_csv(out / "matrix.csv").run_id}
    assert [line for line in collect.faults if "its strategy has other settings now" in line] and len(old) == 2
