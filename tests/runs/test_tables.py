"""What is read and written while the runs of a suite end: no more for the last run than for the first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_models import TWO_CALLS

from lorisbench.runs import crews, tables, workbench
from lorisbench.suite import resolve


def test_a_run_that_ends_is_the_only_one_read(
    suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, row_of = [], tables.row_of

    def spy(directory: Any, config: Any) -> Any:
        read.append((config["seed"], directory.status()["status"], (directory.path / "latency.json").is_file()))
        return row_of(directory, config)

    monkeypatch.setattr(tables, "row_of", spy)
    out = tmp_path / "out"
    assert cli("run", suite_file(seeds=[0, 1, 2], latency=TWO_CALLS), "--out", out).code == 0
    assert sorted(read[:3]) == [(seed, "pending", False) for seed in range(3)]
    assert read[3:6] == [(seed, "done", False) for seed in range(3)], "each as it ended"
    assert read[6:] == [(seed, "done", True) for seed in range(3)], "each as its latency had been measured"
    files = [out / "results.csv", out / "matrix.csv", out / "correct.npz"]
    written = [file.read_bytes() for file in files]
    tables.Tables(out).write()
    assert [file.read_bytes() for file in files] == written, "the same as if all were read at the end"


def test_tables_are_not_written_more_than_a_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"strategies": {"naive": {}}}))
    clock, written = 100.0, []

    def write(file: Path, text: str) -> None:
        nonlocal clock
        clock += 0.5
        written.append(file.name)

    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(tables, "write_text", write)
    both = tables.Tables(tmp_path)
    both.write_if_due()
    assert written == ["results.csv", "matrix.csv"], "the first at once"
    for _ in range(199):
        clock += 0.1
        both.write_if_due()
    assert len(written) == 2, "they took a second: nothing for twenty"
    clock += 0.2
    both.write_if_due()
    both.write()
    assert len(written) == 6


def test_a_worker_resolves_its_suite_once(
    suite_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = resolve.load_suite(str(suite_file(seeds=[0, 1, 2])))
    resolved, real = [], resolve.resolve
    monkeypatch.setattr(resolve, "resolve", lambda config: resolved.append(1) or real(config))
    monkeypatch.setattr(workbench, "prepare", lambda config, manifest: "bench")
    bench_of, specs = crews.prepared(json.dumps(suite.resolved))
    assert [bench_of(specs[spec.run_id].stream) for spec in suite.runs] == ["bench"] * 3 and len(resolved) == 1
