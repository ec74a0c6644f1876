"""Runs that end badly: each ends alone, is told with its reason, and is tried again where that may help."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ENDS = '''
import ctypes, os, signal, sys, time
from pathlib import Path
import torch
from avalanche.core import SupervisedPlugin
from lorisbench import Strategy


class End(SupervisedPlugin):
    def __init__(self, way, folder):
        super().__init__()
        self.way, self.folder = way, folder

    def before_training_exp(self, strategy, **kwargs):
        if strategy.clock.train_exp_counter != 1:
            return
        times = len(list(Path(self.folder).glob(f"{self.way}-*")))
        (Path(self.folder) / f"{self.way}-{times}").touch()
        print("on the way out", flush=True)
        if self.way == "segfault":
            ctypes.string_at(0)
        elif self.way == "killed" or (self.way == "once" and not times):
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.way == "exit":
            os._exit(3)
        elif self.way == "stuck":
            time.sleep(600)
        elif self.way == "memory" and not times:
            raise torch.OutOfMemoryError("CUDA out of memory")
        elif self.way == "bug":
            raise ValueError("a bug")


class Ends(Strategy, name="ends"):
    """Ends its run in some way."""

    way: str
    folder: str

    def plugins(self, context):
        return [End(self.way, self.folder)]
'''


@pytest.fixture
def ends(tmp_path: Path, suite_file: Callable[..., Path]) -> Callable[..., Path]:
    """A suite whose strategies end in these ways, and naive as the last."""
    (tmp_path / "ends.py").write_text(ENDS)
    marks = tmp_path / "marks"
    marks.mkdir()

    def suite(*ways: str) -> Path:
        strategies = {way: {"strategy": "ends", "way": way, "folder": str(marks)} for way in ways}
        return suite_file(plugins=[str(tmp_path / "ends.py")], strategies={**strategies, "naive": None})

    return suite


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "results.csv").set_index("strategy")


def status_of(out: Path, label: str) -> dict:
    (folder,) = (out / "runs").glob(f"*.{label}.s0.*")
    return json.loads((folder / "status.json").read_text())


def test_whatever_ends_a_process_ends_one_run(ends, cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    suite = ends("segfault", "exit", "killed", "once", "memory", "bug", "stuck")
    answer = cli("run", suite, "--out", out, "--workers", 2, "--time-limit", "4s")
    assert answer.code == 1, answer.err
    rows = rows_of(out)
    ended_well = {"once", "memory", "naive"}
    assert set(rows.index[rows.status == "done"]) == ended_well
    assert set(rows.index[rows.status == "failed"]) == {"segfault", "exit", "killed", "bug", "stuck"}
    assert "SIGSEGV (2 attempts)" in rows.reason["segfault"]
    assert "exit code 3" in rows.reason["exit"] and "attempts" not in rows.reason["exit"]
    assert "SIGKILL, as happens when memory runs out" in rows.reason["killed"]
    assert "--time-limit 4 s" in rows.reason["stuck"]
    segfault = status_of(out, "segfault")
    assert segfault["signal"] == "SIGSEGV"
    assert "on the way out" in segfault["log"] and any("Segmentation fault" in line for line in segfault["log"])
    assert len(list((tmp_path / "marks").glob("segfault-*"))) == 2, "tried again once"
    assert len(list((tmp_path / "marks").glob("exit-*"))) == 1, "an exit is not what passes"
    for label in ("segfault", "exit", "killed", "bug", "stuck"):
        assert f".{label}.s0." in answer.err, "named at the end"
    left = [str(path) for path in (out / "runs").rglob("claim-*")]
    assert not left, "claims of what has ended"

    # Failed runs are left as they are, unless they are to be tried again
    again = cli("run", suite, "--out", out)
    assert again.code == 1 and "--retry-failed" in again.err
    assert len(list((tmp_path / "marks").glob("bug-*"))) == 1
    text = (tmp_path / "ends.py").read_text()
    (tmp_path / "ends.py").write_text(text.replace('raise ValueError("a bug")', "return"))
    mended = cli("run", suite, "--out", out, "--workers", 1, "--retry-failed", "--strategies", "bug")
    assert mended.code == 0, mended.err
    assert rows_of(out).status["bug"] == "done"


def test_rerun_trains_a_finished_label_again(finished, suite_file, cli, tmp_path: Path) -> None:
    out, suite = finished(tmp_path / "out"), suite_file(seeds=[0, 1, 2])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("predictions.npz")}
    answer = cli("run", suite, "--out", out, "--rerun", "naive", "--seeds", "1")
    assert answer.code == 0, answer.err
    changed = [path for path, then in before.items() if path.stat().st_mtime_ns != then]
    assert len(changed) == 1 and ".s1." in str(changed[0])
    assert cli("run", suite, "--out", out, "--rerun", "naiv").code == 2


@pytest.mark.parametrize("text", ["0", "-3", "soon", "3 weeks", "1e3"])
def test_a_time_limit_is_a_duration(suite_file, cli, text: str) -> None:
    answer = cli("run", suite_file(), f"--time-limit={text}")
    assert answer.code == 2 and "--time-limit" in answer.err and "2h" in answer.err


def test_a_worker_is_used_again(suite_file, cli, tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(
        ENDS.replace('name="ends"', 'name="told"').replace("print(", 'print("pid", os.getpid(), ')
    )
    told = {"strategy": "told", "way": "none", "folder": str(tmp_path)}
    suite = suite_file(plugins=[str(tmp_path / "told.py")], strategies={"told": told}, seeds=[0, 1, 2])
    assert cli("run", suite, "--out", tmp_path / "out", "--workers", 1).code == 0
    logs = {log.read_text() for log in (tmp_path / "out" / "runs").glob("*/log.txt")}
    assert len(logs) == 1 and str(os.getpid()) not in logs.pop().split()


@pytest.mark.heavy  # its worker imports everything anew
def test_a_temporary_folder_with_a_long_name_does_no_harm(suite_file, cli, tmp_path: Path, monkeypatch) -> None:
    from multiprocessing import util

    monkeypatch.setattr(util, "get_temp_dir", lambda: str(tmp_path / ("x" * 100)))
    assert cli("run", suite_file(), "--out", tmp_path / "out", "--workers", 1).code == 0
