"""Whatever happens to a run and to its files, it ends with the numbers that it has when nothing happens."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import refused
from small_runs import bench, interrupted, run, written

from lorisbench.common.errors import Stopped
from lorisbench.runs import one_run, running
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.resume import PLACE, Checkpoints, packed, unpacked
from lorisbench.runs.workbench import Workbench

pytestmark = pytest.mark.usefixtures("one_thread")
DNN = {"strategy": "dnn", "expand_below": 1.0}  # which grows, and writes tables


@pytest.fixture(scope="module")
def made() -> Workbench:
    return bench(DNN)


@pytest.fixture(scope="module")
def whole(made: Workbench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    run(made, folder)
    return written(folder)


@pytest.fixture(scope="module")
def begun(made: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its last experience; only to be copied."""
    folder = tmp_path_factory.mktemp("begun")
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += len(RunDirectory(folder).lines()) == 2
        return steps > 2

    with pytest.raises(Stopped):
        run(made, folder, stop)
    status = RunDirectory(folder).status()
    assert status == {"status": "pending", "reason": "stopped; it goes on from experience 2"}
    return folder


def test_it_is_one_file_with_no_more_than_is_needed(begun: Path) -> None:
    (file,) = (begun / "checkpoint").iterdir()
    about, state = unpacked(file)
    assert about.trained == 2 and ".method.s0." in about.of["run"]
    assert sum(map(len, state.blobs.values())) < 4000  # heads, optimizer, router; no sample


def edit(change: Callable[[dict[str, Any]], None], of: str = "tree") -> Callable[[Path], None]:
    """Change the JSON of a checkpoint, and give it the checksum of what is in it now."""

    def damage(folder: Path) -> None:
        about, state = unpacked(folder / PLACE)
        value = state.tree if of == "tree" else about.of
        change(value)
        (folder / PLACE).write_bytes(b"".join(map(bytes, packed(about, state))))

    return damage


def cut(part: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = (folder / PLACE).read_bytes()
        (folder / PLACE).write_bytes(data[: int(part * len(data))])

    return damage


def wrong_shape(tree: dict[str, Any]) -> None:
    record = next(each for each in tree["records"] if each and each[0] == "tensor" and each[6])
    record[6][0] += 50


def unknown_class(tree: dict[str, Any]) -> None:
    tree["records"][tree["roots"][0][0]][1:3] = [None, "os:system"]


def shorten_journal(folder: Path) -> None:
    lines = (folder / "journal.jsonl").read_text().splitlines()
    (folder / "journal.jsonl").write_text(lines[0] + "\n")


def other_predictions(folder: Path) -> None:
    predicted, label, experience = RunDirectory(folder).predictions()
    RunDirectory(folder).write_predictions((predicted + 1) % 3, label, experience)


def fewer_predictions(folder: Path) -> None:
    predicted, label, experience = RunDirectory(folder).predictions()
    RunDirectory(folder).write_predictions(predicted[:1], label, experience)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "empty": (cut(0), "damaged", "damaged"),
    "torn": (cut(0.9), "damaged", "damaged"),
    "foreign JSON": (lambda f: (f / PLACE).write_text('{"a": 1}'), "damaged", "no checkpoint"),
    "a folder's name": (edit(lambda of: of.update(run="other"), "about"), "foreign", "of another run"),
    "settings": (edit(lambda of: of.update(settings="0"), "about"), "foreign", "of other settings"),
    "images": (edit(lambda of: of.update(data="0"), "about"), "foreign", "of other images"),
    "code": (edit(lambda of: of.update(code="0"), "about"), "foreign", "code has changed"),
    "torch": (edit(lambda of: of.update(torch="1.0"), "about"), "foreign", "written with torch 1.0"),
    "version": (edit(lambda of: of.update(lorisbench="0.1"), "about"), "foreign", "written with lorisbench 0.1"),
    "says too little": (edit(lambda of: of.pop("data"), "about"), "foreign", "less of itself"),
    "wrong shape": (edit(wrong_shape), "unusable", "a tensor of shape (53, 8) in 96 bytes"),
    "unknown class": (edit(unknown_class), "unusable", "there is no class os:system here"),
    "other parts": (edit(lambda tree: tree.update(built=1)), "unusable", "other parts"),
    "nonsense": (edit(lambda tree: tree.update(records=[])), "unusable", "does not fit"),
    "no journal": (lambda f: (f / "journal.jsonl").unlink(), "unfitting", "journal.jsonl"),
    "garbled journal": (lambda f: (f / "journal.jsonl").write_bytes(b"\xff\xfe\n"), "unfitting", "not UTF-8 text"),
    "short journal": (shorten_journal, "unfitting", "journal.jsonl"),
    "no predictions": (lambda f: (f / "predictions.npz").unlink(), "unfitting", "predictions.npz"),
    "damaged predictions": (lambda f: (f / "predictions.npz").write_text("x"), "unfitting", "predictions.npz"),
    "other predictions": (other_predictions, "unfitting", "predictions.npz"),
    "fewer predictions": (fewer_predictions, "unfitting", "predictions.npz"),
}  # fmt: skip
TRAINED = ("torn", "wrong shape", "short journal", "fewer predictions", "torch")


@pytest.mark.parametrize("name", DAMAGES)
def test_a_checkpoint_that_does_not_fit_is_set_aside(
    name: str, made: Workbench, begun: Path, whole: dict[str, Any], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    folder = Path(shutil.copytree(begun, tmp_path / "run"))
    damage, kind, words = DAMAGES[name]
    damage(folder)
    if name not in TRAINED:  # that it starts again is seen often enough
        monkeypatch.setattr(running.Running, "_learn", lambda self, index: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            run(made, folder)
        assert not (folder / "journal.jsonl").exists()
    else:
        status = run(made, folder).status()
        assert "resumed" not in status
        (folder / "checkpoint" / f"resume.{kind}").unlink()
        assert written(folder) == whole
        (folder / "checkpoint" / f"resume.{kind}").touch()
    assert {path.name for path in (folder / "checkpoint").iterdir()} - {"model.safetensors"} == {f"resume.{kind}"}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "set aside" in line]
    assert words in line and str(folder) in line and "method seed 0 starts again from its beginning" in line


def test_no_bit_of_it_can_flip_unnoticed(begun: Path, tmp_path: Path) -> None:
    data = bytearray((begun / PLACE).read_bytes())
    chance = random.Random(0)
    for _ in range(150):
        place, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
        data[place] ^= bit
        (tmp_path / "flipped").write_bytes(data)
        refused(lambda: unpacked(tmp_path / "flipped"), str(tmp_path / "flipped"))
        data[place] ^= bit


MOMENTS = {
    "before predictions": (RunDirectory, "write_predictions"),
    "before journal": (RunDirectory, "journal"),
    "before tables": (RunDirectory, "write_tables"),
    "before checkpoint": (Checkpoints, "write"),
    "before the end": (one_run, "keep_model"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_may_end_between_any_two_files(
    moment: str, made: Workbench, begun: Path, whole: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    folder, last = Path(shutil.copytree(begun, tmp_path / "run")), moment in ("before the end", "before tables")
    if not last:
        shutil.rmtree(folder)
    owner, name = MOMENTS[moment]
    real, calls = getattr(owner, name), 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > (moment != "before the end"):
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        with pytest.raises(KeyboardInterrupt):
            run(made, folder)
    assert run(made, folder).status()["resumed"] == ([2, 2] if last else [1])
    assert written(folder) == whole


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own: torch trains in no fork of one that has ever used autograd's threads."""

    @functools.wraps(test)
    def begun(*args: Any, **given: Any) -> None:
        if "LORISBENCH_TEST_ALONE" in os.environ:
            test(*args, **given)
            return
        name = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
        command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-m", "heavy or not heavy", name]
        ended = subprocess.run(
            command, env={**os.environ, "LORISBENCH_TEST_ALONE": "1"}, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout

    return begun


def _killed(made: Workbench, folder: Path, die: Callable[[], Callable[[], bool]]) -> int | None:
    """Train in a process of its own, which `die` may prepare to be killed; its exit code."""
    process = multiprocessing.get_context("fork").Process(target=lambda: run(made, folder, die()))
    process.start()
    process.join()
    return process.exitcode


@alone
def test_a_killed_process_loses_one_experience_at_most(made: Workbench, whole: dict[str, Any], tmp_path: Path) -> None:
    def at_step(number: int) -> Callable[[], bool]:
        steps = iter(range(number))

        def die() -> bool:
            if next(steps, None) is None:
                while not (tmp_path / PLACE).exists():  # it is written beside what the run does next
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            return False

        return die

    for number in (12, 10):
        code = _killed(made, tmp_path, lambda number=number: at_step(number))
        assert code == -signal.SIGKILL, RunDirectory(tmp_path).status()
    assert run(made, tmp_path).status()["resumed"]
    assert written(tmp_path) == whole


@pytest.mark.heavy
@pytest.mark.parametrize("entry", [DNN, {"strategy": "replay", "memory": 20}, {"stack": ["ewc", "lwf"]}], ids=str)
@pytest.mark.parametrize("backbone", ["never", "first"])
@alone
def test_it_may_be_killed_at_any_moment(entry: dict[str, Any], backbone: str, tmp_path: Path) -> None:
    made = bench(entry, backbone={"name": "pixels", "image_size": 16, "train": backbone})
    run(made, tmp_path / "whole")
    chance = random.Random(str(entry))
    for _ in range(15):

        def soon() -> Callable[[], bool]:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whose default is to end the process, wherever it is
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.01, 0.4))
            return lambda: False

        if _killed(made, tmp_path / "parts", soon) == 0:
            break
        chance.random()
    run(made, tmp_path / "parts")
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_another_machine_is_noted(made: Workbench, begun: Path, tmp_path: Path, monkeypatch: Any) -> None:
    folder = Path(shutil.copytree(begun, tmp_path / "run"))
    real = one_run.environment
    monkeypatch.setattr(one_run, "environment", lambda *args: {**real(*args), "machine": {"cpu": "another"}})
    run(made, folder)
    noted = json.loads((folder / "env.json").read_text())
    assert noted["machine"]["cpu"] != "another" and noted["resumed"] == [2]
    (later,) = noted["resumed_on"]
    assert later["machine"] == {"cpu": "another"} and later["experience"] == 2
    assert np.isfinite([entry["train_seconds"] for entry in RunDirectory(folder).entries()]).all()


def test_resuming_on_the_same_machine_notes_no_other(made: Workbench, begun: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(begun, tmp_path / "run"))
    interrupted(made, folder, [2])
    noted = json.loads((folder / "env.json").read_text())
    assert noted["resumed"] == [2, 2] and "resumed_on" not in noted
