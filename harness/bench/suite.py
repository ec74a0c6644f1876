"""What a suite costs beyond the training of its runs: starting them, several workers, checkpoints, planning."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lorisbench.bench.measured import Amount, Finding, Ratio, paired
from lorisbench.bench.timing import in_turn, own_cache, timed
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, resolve

CLASSES, EXPERIENCES = 8, 6
IMAGES = {"train": 60, "test": 20}  # of each experience
PENDING = 1000
ROUNDS = 7
EPOCHS = 150  # of runs that take as long as those of quickstart, some seconds


def measure() -> Iterator[Finding]:
    """Each figure, as soon as it is measured; everything is written to a temporary folder."""
    with tempfile.TemporaryDirectory() as name, own_cache(Path(name) / "cache"):
        folder = Path(name)
        images = _images(folder)
        yield from _overhead(folder, images)
        yield _workers(folder, images)
        yield _checkpoints(folder, images)
        yield _planning(images)


def _overhead(folder: Path, images: Path) -> Iterator[Finding]:
    """From the time that a suite takes with few runs and with many: what it does once cancels out."""
    few, many = 2, 12
    suites = {count: _suite(images, seeds=count, epochs=4) for count in (few, many)}
    outs: dict[int, Path] = {}

    def run(count: int) -> None:
        outs[count] = _trained(folder, suites[count], workers=1)

    taken = in_turn({str(count): timed(functools.partial(run, count)) for count in suites}, ROUNDS)
    trained = statistics.fmean(
        sum(json.loads(line)["train_seconds"] for line in file.read_text().splitlines())
        for file in outs[many].glob("runs/*/journal.jsonl")
    )
    pairs = zip(taken[str(many)], taken[str(few)], strict=True)
    beyond = tuple((a - b) / (many - few) - trained for a, b in pairs)
    yield Amount(f"a run beyond its training of {EXPERIENCES} experiences", beyond, "s")
    yield f"its training takes {trained:.2f} s"


def _workers(folder: Path, images: Path) -> Ratio:
    suite = _suite(images, seeds=8, epochs=EPOCHS)
    with_one, with_two = (functools.partial(_trained, folder, suite, count) for count in (1, 2))
    return paired("8 runs by 2 workers, to 1 worker", with_two, with_one, pairs=ROUNDS)


def _checkpoints(folder: Path, images: Path) -> Ratio:
    """What writing checkpoints takes of runs that keep a teacher and a memory.

    Timed where it happens: whole runs with checkpoints and without differ by less than two runs of the same kind.
    """
    from lorisbench.runs.one_run import train
    from lorisbench.runs.resume import Checkpoints
    from lorisbench.runs.store import Output
    from lorisbench.runs.workbench import prepare

    suite = _suite(images, seeds=4, epochs=EPOCHS, strategies=("lwf", "replay"))
    config = next(iter(suite.streams.values()))
    bench = prepare(config, config.benchmark.usable("test"))
    waiting, whole = [0.0], []

    def timed_write(self: Checkpoints, *args: Any) -> None:
        start = time.perf_counter()
        write(self, *args)
        waiting[-1] += time.perf_counter() - start

    with tempfile.TemporaryDirectory(dir=folder) as name, contextlib.ExitStack() as undone:
        write = Checkpoints.write
        undone.callback(setattr, Checkpoints, "write", write)
        setattr(Checkpoints, "write", timed_write)  # noqa: B010
        for spec in suite.runs:
            start = time.perf_counter()
            train(bench, spec, Output(Path(name)).run(spec.run_id))
            whole.append(time.perf_counter() - start)
            waiting.append(0.0)
    what = f"waiting for {EXPERIENCES - 1} checkpoints in runs of lwf and replay, to these runs"
    return Ratio.of(what, waiting[:-1], whole)


def _planning(images: Path) -> Amount:
    from lorisbench.runs.plan import plan
    from lorisbench.runs.store import Output

    with tempfile.TemporaryDirectory() as name:
        output = Output(Path(name) / "out")

        def planned() -> None:
            suite = _suite(images, seeds=PENDING // 4, epochs=4, strategies=("naive", "ewc", "lwf", "replay"))
            plan(suite, output).lines(workers=2)

        seconds = in_turn({"plan": timed(planned)}, ROUNDS)["plan"]
    return Amount(f"planning {PENDING:,} pending runs", tuple(seconds), "s")


def _suite(images: Path, seeds: int, epochs: int, strategies: tuple[str, ...] = ("naive",)) -> Suite:
    settings = {
        "name": "bench",
        "benchmark": {"manifest": str(images)},
        "backbone": {"name": "resnet18", "weights": "none", "image_size": 32},
        "training": {"epochs": epochs, "batch_size": 32},
        "strategies": list(strategies),
        "seeds": list(range(seeds)),
        "latency": {"enabled": False},
        "device": "cpu",
    }
    return resolve(parse(SuiteConfig, settings), base=images.parent)


def _trained(folder: Path, suite: Suite, workers: int) -> Path:
    from lorisbench.runs.launch import launch

    out = Path(tempfile.mkdtemp(dir=folder))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        launch(suite, out, workers)
    return out


def _images(folder: Path) -> Path:
    """A list of small images of random numbers; returns its CSV file."""
    from PIL import Image

    rng = np.random.default_rng(0)
    lines = ["path,class_name,experience,split"]
    for experience in range(EXPERIENCES):
        for split, count in IMAGES.items():
            for number in range(count):
                name = f"{experience}-{split}-{number}.png"
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / name)
                lines.append(f"{name},c{number % CLASSES},{experience},{split}")
    file = folder / "images.csv"
    file.write_text("\n".join(lines) + "\n")
    return file
