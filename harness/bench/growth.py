"""`lorisbench bench growth`: how costs grow with images, experiences, heads, classes, strategies and runs.

Each over four sizes that span a factor of eight, on one thread, in CPU seconds; all sizes are measured in turn. The
exponent is the slope on a log-log plot. What a size does not change (callbacks of an epoch, reading a suite) is in the
seconds, so small sizes pull exponents below 1.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from lorisbench.bench import many_runs
from lorisbench.bench.latency import CLASSES as CLASSES_OF_HEADS
from lorisbench.bench.latency import grown as network_with
from lorisbench.bench.measured import Finding, Growth
from lorisbench.bench.synthetic import WIDTH, engine_of, samples, stream_of
from lorisbench.bench.timing import in_turn, own_cache, timed
from lorisbench.common.threads import one_thread
from lorisbench.engine.own_plugins import Recorder
from lorisbench.report import frame, kept, summary, tables
from lorisbench.runs.plan import plan
from lorisbench.runs.store import Output
from lorisbench.runs.tables import Tables
from lorisbench.strategies.dnn.network import Answer
from lorisbench.suite.resolve import Suite
from lorisbench.suite.training import TrainingConfig

LIMIT = 1.05
UNLIMITED = "for comparison"
ROUNDS = 5
CLASSES, BATCH = 16, 32
IMAGES = (2000, 4000, 8000, 16000)
EXPERIENCES = (6, 12, 24, 48)
OF_EXPERIENCE = {"train": 64, "validation": 1, "test": 64}
HEADS = (4, 8, 16, 32)
ANSWERS: tuple[Answer, ...] = ("open-bounded", "confidence")
MANY_CLASSES = (16, 32, 64, 128)
STRATEGIES = (5, 10, 20, 40)
RUNS = (100, 200, 400, 800)
SEEDS, OF_RUNS = 5, 20  # runs of each strategy where strategies grow; strategies where runs do


def measure(rounds: int = ROUNDS) -> Iterator[Finding]:
    """The growth of work on random features, then of planning, collecting and tables of whole suites."""
    with one_thread():
        for what, of_size, sizes in FEATURES:
            yield grown(what, {size: of_size(size) for size in sizes}, rounds)
        with tempfile.TemporaryDirectory() as name, own_cache(Path(name) / "cache"):
            folder = Path(name)
            trained = many_runs.trained_runs(folder)
            yield from _suites(folder, trained, rounds)


def grown(what: str, by_size: Mapping[int, Callable[[], None]], rounds: int) -> Growth:
    """The growth of the CPU seconds of what there is for each size, ascending."""
    taken = in_turn({str(size): timed(call, time.process_time) for size, call in by_size.items()}, rounds)
    limit = None if what.startswith(UNLIMITED) else LIMIT
    return Growth.of(what, dict(zip(by_size, taken.values(), strict=True)), limit)


def _images(count: int) -> Callable[[], None]:
    counts = {"train": count, "validation": 1, "test": count}
    store, stream = stream_of(counts, 1, CLASSES, WIDTH)
    engine = engine_of(nn.Linear(WIDTH, CLASSES), [Recorder()], store, TrainingConfig(epochs=1, batch_size=BATCH))

    def trained_and_tested() -> None:
        engine.train(stream.train_stream[0])
        engine.eval(list(stream.test_stream))

    return trained_and_tested


def _experiences(of_row: bool, count: int) -> Callable[[], None]:
    store, stream = stream_of(OF_EXPERIENCE, count, CLASSES, WIDTH)
    engine = engine_of(nn.Linear(WIDTH, CLASSES), [Recorder()], store, TrainingConfig(epochs=1, batch_size=BATCH))
    tests = list(stream.test_stream)

    def row() -> None:
        for _ in range(5):  # of one, the clock is too coarse
            engine.eval(tests)

    def trained() -> None:
        for experience in stream.train_stream:
            engine.train(experience)

    return row if of_row else trained


def _heads(answer: Answer, count: int) -> Callable[[], None]:
    network = network_with(None, WIDTH, count, answer)
    x = torch.randn(BATCH, WIDTH).relu()

    @torch.inference_mode()
    def answered() -> None:
        for _ in range(20):
            network(x)

    return answered


def _product(count: int) -> Callable[[], None]:
    weights, x = torch.randn(count * CLASSES_OF_HEADS, WIDTH), torch.randn(BATCH, WIDTH).relu()

    @torch.inference_mode()
    def multiplied() -> None:
        for _ in range(20):
            torch.nn.functional.linear(x, weights)

    return multiplied


def _classes(count: int) -> Callable[[], None]:
    store, experience = samples(BATCH * 50, count, WIDTH)
    engine = engine_of(nn.Linear(WIDTH, count), [Recorder()], store, TrainingConfig(epochs=1, batch_size=BATCH))
    return lambda: engine.train(experience)


def _suites(folder: Path, trained: Mapping[str, Path], rounds: int) -> Iterator[Growth]:
    """Planning, collecting and the report's tables, without its plots, whose number does not depend on that of runs."""
    of_strategies = {size: many_runs.suite_of(folder, SEEDS * size, strategies=size) for size in STRATEGIES}
    of_runs = {size: many_runs.suite_of(folder, size, strategies=OF_RUNS) for size in RUNS}
    nowhere = Output(folder / "nowhere")
    for each, suites in (
        (f"{SEEDS} runs of each, to strategies", of_strategies),
        (f"of {OF_RUNS} strategies, to runs", of_runs),
    ):
        outs = {size: many_runs.written(folder, suite, trained) for size, suite in suites.items()}
        for what, by_size in (
            ("a plan", {size: partial(_planned, suite, nowhere) for size, suite in suites.items()}),
            ("collecting", {size: partial(_collected, out) for size, out in outs.items()}),
            ("the report's tables", {size: partial(_tabled, out) for size, out in outs.items()}),
        ):
            yield grown(f"{what}, {each}", by_size, rounds)


def _planned(suite: Suite, output: Output) -> None:
    plan(suite, output).lines(workers=2)


def _collected(out: Path) -> None:
    Tables(out).complete()


def _tabled(out: Path) -> None:
    stored = frame.read(out)
    tables.build(stored, summary.summarise(stored))
    kept.tables(stored, kept.read(stored))


FEATURES: tuple[tuple[str, Callable[[int], Callable[[], None]], tuple[int, ...]], ...] = (
    ("an epoch of naive and an evaluation of as many images, to images", _images, IMAGES),
    ("training on all experiences, to experiences", partial(_experiences, False), EXPERIENCES),
    # there are as many rows: the whole matrix grows with the square
    ("a row of the matrix, to experiences", partial(_experiences, True), EXPERIENCES),
    *(
        (f"answers of dnn ({answer}) to {BATCH} images, features given, to heads", partial(_heads, answer), HEADS)
        for answer in ANSWERS
    ),
    (f"{UNLIMITED}: one product of {BATCH} images and the weights of all heads, to heads", _product, HEADS),
    ("an epoch of naive, to classes", _classes, MANY_CLASSES),
)
