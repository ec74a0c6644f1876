"""`lorisbench bench`: that each part works, at tiny sizes; nothing is timed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lorisbench.bench import data as bench_data
from lorisbench.bench import run_benchmarks as bench
from lorisbench.benchmarks.openloris.layouts import read
from lorisbench.benchmarks.openloris.protocols import Subset


def test_bench_knows_data_and_says_so(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_data, "reading", lambda: ["reading was measured"])
    for name in ("caching", "verifying"):
        monkeypatch.setattr(bench_data, name, lambda name=name: f"{name} was measured")
    answer = cli("bench", "data")
    assert answer.code == 0, answer.err
    _, *lines = answer.out.splitlines()
    assert lines == [f"data: {name} was measured" for name in ("reading", "caching", "verifying")]
    answer = cli("bench", "dta")
    assert answer.code == 2 and "'data'" in answer.err
    answer = cli("bench", "data", "--device", "cuda")
    assert answer.code == 2 and "CPU alone" in answer.err and "endtoend" in answer.err
    for device in ("cuda:99", "gpu"):
        answer = cli("bench", "steps", "--device", device)
        assert answer.code == 2 and len(answer.err.splitlines()) == 1 and repr(device) in answer.err
    help_text = cli("bench", "--help").out
    assert all(name in help_text for name in bench.BENCHMARKS)


def test_a_tree_of_links_is_read_as_so_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_data, "LINKS", 100)
    bench_data.write_tree(tmp_path / "set", 500, 2)
    manifest = read(tmp_path / "set", "auto", "sequence", None, Subset())
    assert len(manifest.table) == 500 and manifest.experiences == 12 and len(manifest.classes) == 2
    counts = manifest.table.groupby(["split", "factor", "recording"]).size()
    assert len(counts) == 3 * 4 * 9 * 2 and counts.max() - counts.min() == 1
    assert len({os.stat(file).st_ino for file in manifest.files()}) == 5
    assert max(os.stat(file).st_nlink for file in manifest.files()) == 101


def test_without_hard_links_there_are_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    bench_data.write_tree(tmp_path / "set", 216, 1)
    assert len(read(tmp_path / "set", "auto", "sequence", None, Subset()).table) == 216


def test_reading_passes_over_every_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(root: Path, cache: Path) -> dict[str, float]:  # in this process: another one imports torch for seconds
        monkeypatch.setenv("LORISBENCH_CACHE", str(cache))
        bench_data.measure_reading(str(root))
        return bench_data.json.loads(capsys.readouterr().out)

    monkeypatch.setattr(bench_data, "in_fresh_process", here)
    first, second = bench_data.reading(images=250, objects=2)
    assert first.startswith("a manifest and stream of 250 images") and re.search(r"peak \d+\.\d\d GB$", first)
    assert "content hash" in second


def test_caching_compares_the_same_images() -> None:
    found = bench_data.caching(count=5, size=16, pairs=1)
    assert found.what == "decoding 5 JPEGs of 424x240 to 16 pixels, to reading them from the cache"


def test_verifying_looks_through_all_files_with_one_worker_and_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    def bad_files(files: list[str], workers: int) -> list[tuple[str, str]]:
        assert all(os.path.isfile(file) for file in files)
        calls.append((len(set(files)), workers))
        return []

    stub = ModuleType("lorisbench.benchmarks.tools.verify")
    stub.bad_files = bad_files  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lorisbench.benchmarks.tools.verify", stub)
    found = bench_data.verifying(count=7, distinct=2, pairs=1)
    one, all_ = (7, 1), (7, os.cpu_count())
    assert calls == [all_, one, one, all_], "a round to warm up and one that counts, backwards"
    assert found.what.startswith("looking through 7 JPEGs")


def test_the_peak_of_a_process_is_not_that_of_this_one() -> None:
    assert np.ones(40_000_000).nbytes == 320_000_000  # touched, so that this process has had them in memory
    assert bench._peak([sys.executable, "-c", "pass"]) < 0.1
    assert bench._peak([sys.executable, "-c", "x = b'x' * 200_000_000"]) > 0.2
