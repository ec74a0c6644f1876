"""Every path that a command is to write is checked before its work, by one rule."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import refused

from lorisbench.benchmarks.tools import open_data
from lorisbench.common.targets import output_file, output_folder

FILES = [
    (("data", "leaks", "{data}", "--out"), ".csv"),
    (("data", "describe", "{data}", "--sheet"), ".png"),
    (("data", "verify", "{data}", "--report"), ".csv"),
    (("data", "split", "{data}", "--disjoint", "--out"), ".csv"),
]
FOLDERS = [
    ("data", "render", "--out"),
    ("data", "unpack", "{data}", "--into"),
    ("new", "strategy", "my_own", "--out"),
    ("new", "benchmark", "my_own", "--out"),
    ("run", "quickstart", "--out"),
    ("run", "quickstart", "--dry-run", "--out"),
    ("reproduce", "baselines", "--out"),
    ("reproduce", "hik2019", "--dry-run", "--out"),
]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A folder of data that may not be opened, a file, a folder and one in which nothing may be written."""

    def opened(*_: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(open_data, "open_data", opened)
    (tmp_path / "data").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "locked").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode))
    return {name: tmp_path / name for name in ("data", "file", "locked")}


def words(command: tuple[str, ...], places: dict[str, Path]) -> list[str]:
    return [word.format(**places) for word in command]


@pytest.mark.parametrize(("command", "suffix"), FILES)
def test_a_file_that_cannot_be_written_is_refused_at_once(
    command: tuple[str, ...], suffix: str, places: dict[str, Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    given, option = words(command, places), command[-1]
    refused(cli(*given, tmp_path / f"folder{suffix}"), option, "it is a folder")
    refused(cli(*given, tmp_path / "table.txt"), option, f"must end in {suffix}")
    refused(cli(*given, tmp_path / "table"), option, suffix)
    refused(cli(*given, tmp_path / "file" / f"a{suffix}"), option, "is a file, not a folder")
    refused(cli(*given, tmp_path / "locked" / "new" / f"a{suffix}"), option, "nothing may be written")
    refused(cli(*given, tmp_path / (300 * "a" + suffix)), option, "255 bytes")
    assert sorted(path.name for path in tmp_path.iterdir() if "folder" not in path.name) == ["data", "file", "locked"]


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_that_cannot_be_written_is_refused_at_once(
    command: tuple[str, ...], places: dict[str, Path], cli: Callable[..., Any]
) -> None:
    given, option = words(command, places), command[-1]
    refused(cli(*given, places["file"]), option, "is not a folder")
    refused(cli(*given, places["file"] / "inner"), option, "is a file, not a folder")
    refused(cli(*given, places["locked"] / "new"), option, "nothing may be written")
    assert not (places["locked"] / "new").exists()


def test_an_exported_graph_ends_in_onnx(
    finished: Callable[[Path], Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    run = min((finished(tmp_path / "out") / "runs").iterdir())
    refused(cli("export", run, "--out", tmp_path / "model.pt"), "--out", "must end in .onnx")
    refused(cli("export", run, "--out", tmp_path), "--out", "it is a folder")


def test_folders_that_are_missing_are_made_later(tmp_path: Path) -> None:
    assert output_file(tmp_path / "a" / "b.CSV", (".csv",)) == tmp_path / "a" / "b.CSV"
    assert output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
