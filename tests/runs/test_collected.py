"""What was read of finished runs is kept, and read again once a file of theirs, the code or the cache has changed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorisbench.runs import collected, tables

FILES = ("results.csv", "matrix.csv", "correct.npz")


@pytest.fixture
def out(finished: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output whose files are an hour old, and an empty cache."""
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    made = finished(tmp_path / "out")
    for file in made.rglob("*"):
        os.utime(file, (time.time() - 3600,) * 2)
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the runs whose files were read."""
    seeds: list[int] = []
    row_of = tables.row_of

    def spy(directory: Any, config: Any) -> Any:
        seeds.append(config["seed"])
        return row_of(directory, config)

    monkeypatch.setattr(tables, "row_of", spy)
    return seeds


def contents(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in FILES]


def test_a_second_look_reads_no_run_and_says_the_same(out: Path, read: list[int]) -> None:
    first = tables.Tables(out).complete()
    assert sorted(read) == [0, 1, 2]
    wanted = contents(out)
    again = tables.Tables(out).complete()
    assert sorted(read) == [0, 1, 2] and first.equals(again) and contents(out) == wanted
    for name in FILES:
        (out / name).unlink()
        assert len(tables.Tables(out).complete()) == 3
        assert sorted(read) == [0, 1, 2] and contents(out) == wanted, f"{name} is made again of what is known"


@pytest.mark.parametrize("name", ["status.json", "journal.jsonl", "predictions.npz", "config.yaml"])
def test_a_run_one_of_whose_files_has_changed_is_read_again(out: Path, read: list[int], name: str) -> None:
    tables.Tables(out).complete()
    (run,) = (out / "runs").glob("*.s1.*")
    os.utime(run / name)
    read.clear()
    tables.Tables(out).complete()
    tables.Tables(out).complete()
    assert read == [1, 1], "twice: what has just been written may change again within the same moment"
    os.utime(run / name, (time.time() - 60,) * 2)
    tables.Tables(out).complete()
    tables.Tables(out).complete()
    assert read == [1, 1, 1]


def test_other_code_and_a_damaged_memory_have_everything_read_again(
    out: Path, read: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.Tables(out).complete()
    wanted = contents(out)
    (file,) = (tmp_path / "cache" / collected.KIND).iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole.replace(b"accuracy_last", b"accuracy_lost")):
        file.write_bytes(damaged)
        read.clear()
        tables.Tables(out).complete()
        assert contents(out) == wanted
    read.clear()
    monkeypatch.setattr(collected, "_code", lambda: "other")
    tables.Tables(out).complete()
    assert sorted(read) == [0, 1, 2]


def test_an_output_that_took_anothers_place_is_read(out: Path, read: list[int], tmp_path: Path) -> None:
    tables.Tables(out).complete()
    shutil.copytree(out, tmp_path / "moved")
    read.clear()
    tables.Tables(tmp_path / "moved").complete()
    assert sorted(read) == [0, 1, 2], "another folder is another output"
    (gone,) = (out / "runs").glob("*.s2.*")
    shutil.rmtree(gone)
    read.clear()
    frame = tables.Tables(out).complete()
    assert read == [] and len(frame) == 3, "lines of a run whose folder is gone stay, as they did"
