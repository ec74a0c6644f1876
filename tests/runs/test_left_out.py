"""Folders of runs that are not counted, and what file managers leave in an output."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from answers import refused

import lorisbench
from lorisbench.common.files import contents, is_leftover
from lorisbench.report.frame import read
from lorisbench.report.summary import summarise
from lorisbench.runs.store import Output
from lorisbench.suite.resolve import load_suite
from lorisbench.suite.run_folders import run_folders

LEFT = [
    ".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini", "._results.csv", "notes.txt~", ".nfs0000012",
    ".Trash-1000", "@eaDir", "__MACOSX", ".ipynb_checkpoints", ".directory", "Icon\r", ".gitkeep", ".gitignore", ".git",
    "lost+found", "$RECYCLE.BIN", "System Volume Information", "#recycle", ".~lock.a.csv#", "~$table.xlsx",
    ".a.yaml.swp", ".Spotlight-V100", ".fuse_hidden0003", ".stfolder",
]  # fmt: skip
KEPT = ["results.csv", "cup", "runs", "a.b", "trash", "recycler", "__init__.py", "Icon", "label.csv", ".lock", "x~y"]


@pytest.fixture
def out(finished: Callable[[Path], Path], tmp_path: Path) -> Path:
    return finished(tmp_path / "out")


def counted(out: Path) -> float:
    stored = read(out)
    return summarise(stored)["naive"]["accuracy_last"].n


@pytest.mark.parametrize("name", LEFT)
def test_leftovers_are_known_by_their_names(name: str) -> None:
    assert is_leftover(name)


def test_other_names_are_no_leftovers() -> None:
    assert [name for name in KEPT if is_leftover(name)] == []


def test_a_copied_folder_is_no_other_seed(out: Path, cli: Callable[..., Any], capsys: Any) -> None:
    first = min((out / "runs").iterdir())
    before = (out / "results.csv").read_bytes()
    for name in (f"{first.name}.bak", "copy", first.name.replace(".s0.", ".s7.")):
        shutil.copytree(first, out / "runs" / name)
    answer = cli("report", out)
    assert answer.code == 0 and answer.err.count(f"it holds the run {first.name}") == 3, answer.err
    assert (out / "results.csv").read_bytes() == before and counted(out) == 3
    assert any("copy is left out" in line for line in read(out).warnings)
    capsys.readouterr()
    assert len(lorisbench.load(out).table) == 3 and "copy is left out" in capsys.readouterr().err
    assert "copy is left out" in cli("compare", out, out).err
    refused(cli("export", out / "runs" / "copy"), "copy", f"holds the run {first.name}")


def test_a_renamed_folder_is_named_and_its_lines_stay(out: Path, cli: Callable[..., Any]) -> None:
    first = min((out / "runs").iterdir())
    first.rename(out / "runs" / "mine")
    assert f"it holds the run {first.name}" in cli("report", out).err
    assert counted(out) == 3


def test_a_run_of_another_suite_is_left_out(out: Path, cli: Callable[..., Any]) -> None:
    """A folder copied from another output has the right name, but other settings."""
    first = min((out / "runs").iterdir())
    other = out / "runs" / "openloris-clutter.naive.s0.0123456789"
    shutil.copytree(first, other)
    config = yaml.safe_load((other / "config.yaml").read_text())
    for changes in (
        {"training": {**config["training"], "epochs": 7}},
        {"benchmark": {**config["benchmark"], "factor": "pixel"}},
        {"strategy": {"strategy": "ewc", "ewc_lambda": 1.0}},
    ):
        (other / "config.yaml").write_text(yaml.safe_dump({**config, "run_id": other.name, **changes}))
        answer = cli("report", out)
        assert answer.code == 0 and "a run of another suite" in answer.err, answer.err
        assert counted(out) == 3


def test_a_run_is_listed_once_whatever_results_csv_says(out: Path) -> None:
    file = out / "results.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    again = table.iloc[[0]].assign(run_id="another")
    pd.concat([table, table.iloc[[1]], again]).to_csv(file, index=False)
    assert counted(out) == 3
    told = " ".join(read(out).warnings)
    assert "is listed again" in told and "the run another is left out" in told
    from lorisbench.metrics.compare import compare_outputs

    assert set(compare_outputs(out, out).seeds) == {3}


def test_something_else_in_the_place_of_a_run_is_not_overwritten(
    out: Path, suite_file: Callable[..., Path], cli: Callable[..., Any]
) -> None:
    suite = suite_file(seeds=[0, 1, 2])
    first, second, _ = sorted((out / "runs").iterdir())
    shutil.rmtree(second)
    shutil.copytree(first, second)
    refused(cli("run", suite, "--out", out), second.name, f"it holds the run {first.name}", "move it away")
    shutil.rmtree(second)
    second.write_text("a file")
    refused(cli("run", suite, "--out", out), second.name, "a file")
    second.unlink()
    shutil.rmtree(out / "runs")
    (out / "runs").write_text("")
    refused(cli("run", suite, "--out", out), "runs", "a file")


def test_leftovers_block_nothing(out: Path, suite_file: Callable[..., Path], cli: Callable[..., Any]) -> None:
    suite = suite_file(seeds=[0, 1, 2])
    first = min((out / "runs").iterdir())
    for folder in (out, out / "runs", first, first / "checkpoint"):
        for name in (".DS_Store", "Thumbs.db", "._x", "notes.txt"):
            (folder / name).write_bytes(b"\0\1")
        (folder / "@eaDir").mkdir()
    assert cli("run", suite, "--out", out).code == 0
    assert cli("report", out).code == 0 and counted(out) == 3
    assert run_folders(out, {}).faults == []


def test_a_folder_with_leftovers_only_is_empty(
    suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    suite, new = suite_file(), tmp_path / "new"
    (new / ".ipynb_checkpoints").mkdir(parents=True)
    (new / ".DS_Store").write_bytes(b"\0")
    (new / ".gitkeep").touch()
    assert Output(new).check(load_suite(str(suite)))["name"] == "tiny" and contents(new) == []
    (new / "thesis.tex").touch()
    refused(cli("run", suite, "--out", new), "holds files (thesis.tex", "empty folder")


def test_a_strategy_or_a_seed_listed_twice_is_refused(suite_file: Callable[..., Path]) -> None:
    refused(lambda: load_suite(str(suite_file(seeds=[0, 0]))), "different")
    refused(lambda: load_suite(str(suite_file(strategies=["naive", "ewc", "naive"]))), "'naive' is listed twice")
    given = {"name": "openloris-sim"}
    refused(lambda: lorisbench.run(given, ["ewc", "ewc"]), "'ewc' is given twice")
    entry = {"strategy": "ewc", "ewc_lambda": 1.0}
    refused(lambda: lorisbench.run(given, ["ewc", entry, entry]), "given twice")
