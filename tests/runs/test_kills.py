"""A suite whose processes are killed again and again, and whose files are damaged, ends with the same files."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from pathlib import Path

import pytest
from same import same_results
from warm import Command, until

STRATEGIES = ["naive", "ewc", "replay", "dnn"]


def damage(out: Path, draw: random.Random) -> None:
    """Cut off, garble or remove a file of a run, or a table: what a crash of the machine may leave."""
    names = ["status.json", "journal.jsonl", "predictions.npz", "env.json", "checkpoint/resume.safetensors", "log.txt"]
    files = [file for name in names for file in (out / "runs").glob(f"*/{name}")]
    files += [file for name in ("results.csv", "matrix.csv") if (file := out / name).exists()]
    if not files:
        return
    file = draw.choice(sorted(files))
    content = file.read_bytes()
    how = draw.randrange(2 if file.name == "predictions.npz" else 3)  # without them, the tables' lines are kept
    if how == 0:
        file.write_bytes(content[: draw.randrange(len(content) + 1)])
    elif how == 1:
        file.write_bytes(bytes(draw.randrange(256) for _ in range(40)) + content[40:])
    else:
        file.unlink()


def written(out: Path) -> int:
    """Experiences that have been journalled."""
    return sum(file.read_bytes().count(b"\n") for file in out.glob("runs/*/journal.jsonl"))


@pytest.mark.heavy  # tests/runs/test_joining.py has one of each kind
@pytest.mark.parametrize(("kills", "seed"), [(8, 0), (25, 1), (25, 2)])
def test_whatever_is_killed_the_files_are_the_same(suite_file, cli, tmp_path: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    seeds = [0] if kills < 10 else [0, 1]
    suite = suite_file(strategies=STRATEGIES, seeds=seeds, training={"epochs": 6, "batch_size": 2})
    assert cli("run", suite, "--out", tmp_path / "alone").code == 0
    out, killed, midway = tmp_path / "out", 0, 0
    while killed < kills:
        before = written(out)
        words = [("run", suite, "--out", out, "--workers", draw.choice([0, 1])) for _ in range(draw.choice([1, 3]))]
        commands = [Command(tmp_path / f"{killed + i}.log", *each) for i, each in enumerate(words)]
        if draw.random() < 0.85:  # else perhaps before anything is trained
            more = draw.randrange(1, 12)
            with contextlib.suppress(AssertionError):  # a damaged journal begins anew
                until(lambda: written(out) >= before + more or not any(c.process.is_alive() for c in commands), 15)  # noqa: B023
        for command in commands:
            time.sleep(draw.uniform(0.0, 0.1))
            command.send(signal.SIGKILL)
        for command in commands:
            code = command.ended()
            assert code in (-signal.SIGKILL, 0), command.said()
            killed += 1
        midway += len(list((out / "runs").glob("*/checkpoint/resume.safetensors")))
        if draw.random() < 0.5:
            damage(out, draw)
    last = [Command(tmp_path / f"last-{i}.log", "run", suite, "--out", out, "--workers", i) for i in range(2)]
    assert [command.ended(300) for command in last] == [0, 0], [command.said() for command in last]
    same_results(tmp_path / "alone", out)
    assert midway >= kills // 8, "kills that hit a run after its first experience"
    assert not list((out / "runs").rglob("claim-*")) and not list((out / "runs").rglob("resume.safetensors"))
