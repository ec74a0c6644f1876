"""`--dry-run` as a plan: what is done, what the cache holds, what the rest takes; and from what that is known."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import refused

from lorisbench.common import timings
from lorisbench.common.cache import cache_contents, clear_cache
from lorisbench.runs.estimate import Finished, Left, estimate
from lorisbench.runs.plan import plan
from lorisbench.runs.store import Output
from lorisbench.suite.resolve import load_suite


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "own cache"))
    return tmp_path / "own cache"


def test_a_plan_says_what_is_there_and_what_the_rest_takes(
    suite_file: Callable[..., Path], cli: Callable[..., Any], own_cache: Path, tmp_path: Path
) -> None:
    def planned(out: str, *more: object) -> str:
        answer = cli("run", suite_file(strategies=["naive", "ewc"], seeds=[0, 1]), "--out", tmp_path / out, *more)
        assert answer.code == 0, answer.err
        lines = answer.out.splitlines()
        assert all(re.fullmatch(r"\S+\t\w+", line) for line in lines) and len(lines) >= 4
        return str(answer.err)

    first = planned("out", "--dry-run")
    assert "4 runs: 4 to train" in first and "time: not known yet" in first and "not known yet for 4 runs" in first
    assert "0.062 MB, would be made in the cache\n" in first and not (own_cache / "features").exists()
    assert cli("run", suite_file(strategies=["naive"]), "--out", tmp_path / "out").code == 0
    here = planned("out", "--dry-run")
    assert "3 to train, 1 done" in here and "0.062 MB, in the cache" in here
    assert "from the times of 1 run finished here; without 2 runs of which no time is known yet" in here
    assert "for 1 run in the output, not known yet for 2 runs" in here
    elsewhere = planned("other", "--dry-run", "--workers", "2")
    assert "from the times of 1 run of earlier outputs; without 2 runs" in elsewhere and "with 2 workers" in elsewhere
    clear_cache("timings")
    assert "time: not known yet" in planned("other", "--dry-run")
    shutil.rmtree(own_cache / "features")
    assert "would be made in the cache\n" in planned("out", "--dry-run"), "the time it took is forgotten too"


def test_times_of_other_images_and_settings_do_not_count(
    suite_file: Callable[..., Path], cli: Callable[..., Any], own_cache: Path, tmp_path: Path
) -> None:
    assert cli("run", suite_file(), "--out", tmp_path / "out").code == 0
    assert (own_cache / "timings" / "measured.json").is_file()
    for change in ("training.epochs=3", "benchmark.factor=pixel", "backbone.weights=imagenet", "head.hidden=[4]"):
        changed = load_suite(
            str(suite_file()), assignments=[change, "backbone.name=pixels"][: 2 if "imagenet" in change else 1]
        )
        assert plan(changed, Output(tmp_path / "other")).rest.known == 0, change
    config = load_suite(str(suite_file())).runs[0].config
    images = json.loads((tmp_path / "out" / "data.json").read_text())["content_hash"]
    for told, known in (((images, 9), 1), (("other images", 9), 0), ((images, None), 0), (("", 9), 0)):
        assert estimate([Left("s", "naive", config, *told)], []).known == known, told
    same = plan(load_suite(str(suite_file()), seeds=[7, 8]), Output(tmp_path / "other")).rest
    assert (same.known, same.before, same.here) == (2, 1, 0)
    seconds = json.loads((own_cache / "timings" / "measured.json").read_text()).values()
    (run,) = [times[0] for times in seconds if "experiences" in times[0]]
    assert same.seconds == pytest.approx(2 * run["seconds"]) and same.bytes == 2 * run["bytes"]


def test_what_is_trained_again_is_shown(
    suite_file: Callable[..., Path], cli: Callable[..., Any], finished: Callable[[Path], Path], tmp_path: Path
) -> None:
    out = finished(tmp_path / "out")
    runs = sorted((out / "runs").iterdir())
    (runs[0] / "status.json").write_text(json.dumps({"status": "failed", "reason": "gone"}))
    (runs[1] / "predictions.npz").write_bytes(b"")

    def planned(*more: str) -> str:
        answer = cli("run", suite_file(seeds=[0, 1, 2]), "--out", out, "--dry-run", *more)
        assert answer.code == 0 and answer.out.count("\n") == 3
        return str(answer.err)

    damaged = f"done, but its files are damaged, so trained again: {runs[1].name}\n"
    assert "3 runs: 1 to train, 1 failed, 1 done" in planned() and damaged in planned()
    assert f"trained again for --retry-failed: {runs[0].name}\n" in planned("--retry-failed")
    again = planned("--rerun", "naive")
    assert "3 runs: 3 to train\n" in again
    assert f"trained again for --rerun: {', '.join(sorted(run.name for run in runs))}\n" in again
    refused(cli("run", suite_file(), "--out", out, "--dry-run", "--rerun", "naiv"), "'naive'")


def test_an_estimate_takes_from_what_is_left_what_is_spent() -> None:
    done = [Finished("s", "a", 10.0, 1000), Finished("s", "a", 20.0, 3000), Finished("other", "b", 99.0)]
    left = [Left("s", "a", {}), Left("s", "a", {}, spent=14.0), Left("s", "a", {}, spent=99.0), Left("s", "b", {})]
    found = estimate(left, done)
    assert (found.left, found.known, found.sized, found.here, found.before) == (4, 3, 3, 2, 0)
    assert found.seconds == 15.0 + 1.0 and found.bytes == 6000
    nothing = estimate([Left("s", "b", {})], done)
    assert (nothing.known, nothing.seconds) == (0, 0.0)


def test_what_is_remembered_is_bounded_and_survives_damage(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timings, "THINGS", 3)
    for number in range(5):
        for seconds in range(timings.TIMES + 2):
            timings.remember(["thing", number], seconds=float(seconds))
    recall = timings.memory()
    assert [bool(recall(["thing", number])) for number in range(5)] == [False, False, True, True, True]
    assert [each["seconds"] for each in recall(["thing", 4])] == [2, 3, 4, 5, 6]
    file = own_cache / "timings" / "measured.json"
    assert ("timings", 1) in [(name, entries) for name, entries, _ in cache_contents()]
    for damage in ("{", "[]", '{"a": 1}', '{"a": [{"seconds": "x"}]}', '{"a": [{"seconds": -1}]}'):
        file.write_text(damage)
        assert timings.memory()(["thing", 4]) == []
        timings.remember(["thing", 4], seconds=1.0)
        assert timings.memory()(["thing", 4]) == [{"seconds": 1.0}]
    file.unlink()
    file.mkdir()
    timings.remember(["thing", 4], seconds=1.0)
    assert timings.memory()(["thing", 4]) == []


@pytest.mark.heavy
def test_a_thousand_runs_are_planned_in_two_seconds(suite_file: Callable[..., Path], tmp_path: Path) -> None:
    import time

    names = ["naive", "ewc", "lwf", "si", "mas", "slda", "dnn", "l2sp", "ncm", "replay"]
    suite = str(suite_file(strategies=names, seeds=list(range(100))))
    plan(load_suite(suite, seeds=[0]), Output(tmp_path / "first"))  # imports
    start = time.process_time()
    loaded = load_suite(suite)
    planned = plan(loaded, Output(tmp_path / "out"))
    assert time.process_time() - start < 2.0 and len(planned.todo) == 1000
