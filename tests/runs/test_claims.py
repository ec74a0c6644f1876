"""Claims on a folder: one owner at a time, dead ones replaced, living ones left, whatever clocks do."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest
from warm import elsewhere

from lorisbench.runs import claims
from lorisbench.runs.claims import Lost, Taken, Watch, alone, claim, holder_of, is_held
from lorisbench.runs.directory import RunDirectory


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    watch = Watch()
    mine = claim(tmp_path / "run", watch)
    assert mine is not None and mine.held()
    assert claim(tmp_path / "run", watch) is None, "this process is alive"
    mine.release(finished=False)
    again = claim(tmp_path / "run", watch)
    assert again is not None and again.number == mine.number + 1
    assert not mine.held() and [p.name for p in (tmp_path / "run").iterdir()] == ["claim-000001"]
    again.release(finished=True)
    assert not list((tmp_path / "run").iterdir())


def test_many_threads_want_it_and_one_gets_it(tmp_path: Path) -> None:
    elsewhere(tmp_path, 3).write_text("")  # its owner died before it could write who it is
    old = time.time() - 10_000
    os.utime(tmp_path / "claim-000003", (old, old))
    watches = [Watch() for _ in range(16)]
    for watch in watches:
        holder = holder_of(tmp_path)
        assert holder is not None and not watch.is_free(holder), "old by the clock, but not seen to be silent"
        watch._seen[holder.file] = holder.beat, time.monotonic() - claims.EXPIRY - 1
    got: list[object] = []
    threads = [threading.Thread(target=lambda w=w: got.append(claim(tmp_path, w))) for w in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each is not None for each in got) == 1


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_clocks_that_jump_take_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    file, watch = elsewhere(tmp_path), Watch()
    monkeypatch.setattr(claims, "EXPIRY", 0.2)
    for beat in range(4):  # it lives: its time stamp changes, whatever it says
        stamp = time.time() + jump * (-1) ** beat
        os.utime(file, (stamp, stamp))
        assert claim(tmp_path, watch) is None
        time.sleep(0.1)
    assert claim(tmp_path, watch) is None
    time.sleep(0.25)
    assert claim(tmp_path, watch) is not None, "silent for long enough by the watcher's own clock"


def test_a_dead_process_of_this_machine_is_seen_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=claim, args=(tmp_path, Watch()))
    process.start()
    process.join()
    holder = holder_of(tmp_path)
    assert holder is not None and holder.processes[0][0] == process.pid
    assert claim(tmp_path, Watch()) is not None


def test_the_id_of_a_dead_process_that_another_has_now_does_not_keep_it(tmp_path: Path) -> None:
    mine = claim(tmp_path, Watch())
    assert mine is not None
    told = json.loads((tmp_path / "claim-000000").read_text())
    told["processes"][0][1] = "1"  # this process's id, but started at another time
    (tmp_path / "claim-000000").write_text(json.dumps(told))
    assert claim(tmp_path, Watch()) is not None


def test_who_was_asleep_for_too_long_writes_nothing_any_more(tmp_path: Path) -> None:
    mine = claim(tmp_path, Watch())
    assert mine is not None
    directory = RunDirectory(tmp_path, mine.number)
    directory.set_status("running")
    elsewhere(tmp_path, mine.number + 1)
    assert not is_held(tmp_path, mine.number)
    for write in (
        lambda: directory.set_status("done"),
        lambda: directory.journal({}),
        lambda: directory.start({}, {}),
        lambda: directory.write_predictions(None, None, None),  # type: ignore[arg-type]
    ):
        with pytest.raises(Lost):
            write()
    mine.release(finished=True)
    assert RunDirectory(tmp_path).status()["status"] == "running"
    assert (tmp_path / "claim-000001").exists(), "the other's claim"


def test_what_one_process_does_at_a_time(tmp_path: Path) -> None:
    with (
        alone(tmp_path / ".claims" / "x", "tuning it"),
        pytest.raises(Taken, match=rf"{tmp_path}: another process \(.*:{os.getpid()}\) is tuning it"),
        alone(tmp_path / ".claims" / "x", "tuning it"),
    ):
        pass
    with alone(tmp_path / ".claims" / "x", "tuning it"):
        pass


def test_a_run_that_starts_removes_what_was_being_written_but_no_claim(tmp_path: Path) -> None:
    left = [".config.yaml.ab3_x9zq", "checkpoint/.model.safetensors.k2m4n6p8"]
    kept = [".claim-000003.ab3_x9zq", ".hidden", "notes.md"]
    for name in (*left, *kept):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    RunDirectory(tmp_path).start({"a": 1}, {})
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert there.isdisjoint(left) and there >= set(kept)
