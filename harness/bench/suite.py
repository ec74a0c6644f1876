"""What a suite costs beyond the training of its runs: starting them, several workers, checkpoints, planning."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lorisbench.bench.timing import alternated
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, resolve

CLASSES, EXPERIENCES = 8, 6
IMAGES = {"train": 60, "test": 20}  # of each experience
PENDING = 1000
ROUNDS = 3
EPOCHS = 150  # of runs that take as long as those of quickstart, some seconds


def measure() -> Iterator[str]:
    """One line for each figure, as soon as it is measured; everything is written to a temporary folder."""
    with tempfile.TemporaryDirectory() as name, _own_cache(Path(name) / "cache"):
        folder = Path(name)
        images = _images(folder)
        yield _overhead(folder, images)
        yield _workers(folder, images)
        yield _checkpoints(folder, images)
        yield _planning(images)


def _overhead(folder: Path, images: Path) -> str:
    """From the time that a suite takes with few runs and with many: what it does once cancels out."""
    few, many = 2, 12
    suites = {count: _suite(images, seeds=count, epochs=4) for count in (few, many)}
    outs: dict[int, Path] = {}

    def run(count: int) -> None:
        outs[count] = _trained(folder, suites[count], workers=1)

    seconds = alternated({str(count): functools.partial(run, count) for count in suites}, ROUNDS)
    each = (seconds[str(many)] - seconds[str(few)]) / (many - few)
    trained = statistics.fmean(
        sum(json.loads(line)["train_seconds"] for line in file.read_text().splitlines())
        for file in outs[many].glob("runs/*/journal.jsonl")
    )
    return f"a run takes {each - trained:.2f} s beyond its training of {trained:.2f} s ({EXPERIENCES} experiences)"


def _workers(folder: Path, images: Path) -> str:
    suite = _suite(images, seeds=8, epochs=EPOCHS)
    seconds = alternated({str(count): functools.partial(_trained, folder, suite, count) for count in (1, 2)}, ROUNDS)
    ratio = seconds["1"] / seconds["2"]
    taken = f"{seconds['1']:.1f} s, {seconds['2']:.1f} s"
    return f"8 runs: 2 workers are {ratio:.2f} x as fast as 1 ({taken}), {os.cpu_count()} cores"


def _checkpoints(folder: Path, images: Path) -> str:
    """What writing checkpoints takes of runs that keep a teacher and a memory.

    Timed where it happens: whole runs with checkpoints and without differ by less than two runs of the same kind.
    """
    from lorisbench.runs.one_run import train
    from lorisbench.runs.resume import Checkpoints
    from lorisbench.runs.store import Output
    from lorisbench.runs.workbench import prepare

    suite = _suite(images, seeds=ROUNDS, epochs=EPOCHS, strategies=("lwf", "replay"))
    config = next(iter(suite.streams.values()))
    bench = prepare(config, config.benchmark.usable("test"))
    seconds = {"waiting": 0.0, "beside": 0.0}

    def timed(function: Callable[..., None], what: str, clock: Callable[[], float]) -> Callable[..., None]:
        @functools.wraps(function)
        def inner(*args: Any) -> None:
            start = clock()
            function(*args)
            seconds[what] += clock() - start

        return inner

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as name, contextlib.ExitStack() as undone:
        for method, what, clock in (("write", "waiting", time.perf_counter), ("_replace", "beside", time.thread_time)):
            undone.callback(setattr, Checkpoints, method, getattr(Checkpoints, method))
            setattr(Checkpoints, method, timed(getattr(Checkpoints, method), what, clock))
        for spec in suite.runs:
            train(bench, spec, Output(Path(name)).run(spec.run_id))
    whole = time.perf_counter() - start
    waiting, beside = (f"{100 * each / whole:.1f} %" for each in seconds.values())
    each = whole / len(suite.runs)
    return (
        f"writing checkpoints keeps lwf and replay waiting for {waiting} of their time ({each:.1f} s a run, "
        f"{EXPERIENCES - 1} checkpoints), and takes {beside} of another core's"
    )


def _planning(images: Path) -> str:
    from lorisbench.runs.plan import plan
    from lorisbench.runs.store import Output

    with tempfile.TemporaryDirectory() as name:
        output = Output(Path(name) / "out")

        def planned() -> None:
            suite = _suite(images, seeds=PENDING // 4, epochs=4, strategies=("naive", "ewc", "lwf", "replay"))
            plan(suite, output).lines(workers=2)

        seconds = alternated({"plan": planned}, ROUNDS)["plan"]
    return f"{PENDING} pending runs are planned in {seconds:.2f} s"


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


@contextlib.contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    before = os.environ.get("LORISBENCH_CACHE")
    os.environ["LORISBENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LORISBENCH_CACHE")
        if before is not None:
            os.environ["LORISBENCH_CACHE"] = before
