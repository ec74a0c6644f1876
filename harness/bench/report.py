"""`lorisbench bench report`: what collecting and reporting on many runs takes, and how it grows with their number."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lorisbench.bench.timing import peak_so_far
from lorisbench.common.errors import InputError
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, resolve

EXPERIENCES, CLASSES = 12, 8
IMAGES = {"train": 40, "validation": 8, "test": 120}  # of each experience
COUNTS = (250, 1000, 4000)  # of runs
KINDS = {"ewc": "ewc_lambda", "lwf": "alpha", "mas": "mas_lambda", "dnn": "router_temperature"}
STRATEGIES = 20  # those of `KINDS` in turn, with other values each; DNN's runs have tables besides their answers
ORDERS = 5
DISTINCT = 20  # kinds of answers for each of `KINDS`: a run has one of these
ROUNDS = 3
STEPS = ("imports", "collect", "report", "status")


def measure(counts: Sequence[int] = COUNTS, rounds: int = ROUNDS) -> Iterator[str]:
    """A line for each output, by number of runs, then the exponents of growth.

    CPU seconds, which other work on the machine hardly changes, of fresh processes that look at the outputs in turn.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = trained_runs(folder)
        outs = {f"{runs:,} runs of {EXPERIENCES} x {EXPERIENCES}": written(folder, runs, trained) for runs in counts}
        outs[f"{counts[0]:,} runs in {ORDERS} orders"] = written(folder, counts[0], trained, ORDERS)
        found: dict[str, list[dict[str, float]]] = {told: [] for told in outs}
        for number in range(rounds):
            for told, out in list(outs.items())[:: -1 if number % 2 else 1]:
                found[told].append(in_fresh_process(out))
    medians = {
        told: {key: float(np.median([each[key] for each in rounds_of])) for key in rounds_of[0]}
        for told, rounds_of in found.items()
    }
    for told, taken in medians.items():
        steps = ", ".join(f"{step} {taken[step]:.2f}" for step in STEPS)
        yield f"{told}: {sum(taken[step] for step in STEPS[:-1]):.1f} s of CPU for a report ({steps}), {_mb(taken)}"
    if len(counts) > 1:
        single = list(medians.values())[: len(counts)]
        grown = ", ".join(f"{step} {slope(counts, [taken[step] for taken in single]):.2f}" for step in STEPS[1:])
        yield f"growth with the number of runs, exponents on a log-log plot: {grown}"


def _mb(taken: Mapping[str, float]) -> str:
    return f"peak {1000 * taken['peak']:.0f} MB"


def slope(counts: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the straight line through the logarithms of both: 1 where the seconds grow as the counts do."""
    return float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])


def in_fresh_process(out: Path) -> dict[str, float]:
    """What `measure_reporting` prints of an output, run in a process of its own."""
    code = "import sys; from lorisbench.bench.report import measure_reporting; measure_reporting(sys.argv[1])"
    process = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True)
    if process.returncode:
        raise InputError(f"{out}: reporting ended with exit code {process.returncode}: {process.stderr[-300:]}")
    return dict(json.loads(process.stdout.splitlines()[-1]))


def measure_reporting(out: str) -> None:
    """Print as JSON the CPU seconds of `lorisbench report` and `status`, by step, and the report's peak in GB."""
    taken: dict[str, float] = {}
    last = 0.0

    def lap(name: str) -> None:
        nonlocal last
        now = time.process_time()
        taken[name], last = now - last, now

    from lorisbench.report import drawings, write_report  # noqa: F401  (matplotlib)
    from lorisbench.runs.status import as_text, overview
    from lorisbench.runs.tables import Tables

    lap("imports")
    tables = Tables(Path(out))
    tables.complete()
    del tables
    lap("collect")
    write_report(Path(out))
    lap("report")
    taken["peak"] = peak_so_far()
    as_text(overview(Path(out)))
    lap("status")
    print(json.dumps(taken))


def written(folder: Path, runs: int, trained: Mapping[str, Path], orders: int = 1) -> Path:
    """Write an output of so many finished runs and return its path.

    trained : by kind, the folder of a run. Each run has its files, but answers of its own.
    """
    from lorisbench.runs.store import Output

    suite = _suite(folder, runs, orders, STRATEGIES)
    output = Output(Path(tempfile.mkdtemp(dir=folder)) / "out")
    manifests = {name: config.benchmark.usable("test") for name, config in suite.streams.items()}
    output.prepare(suite, suite.resolved, manifests)
    answers = {kind: _answers(source, number) for number, (kind, source) in enumerate(trained.items())}
    for number, spec in enumerate(suite.runs):
        kind = str(spec.config["strategy"]["strategy"])
        target = output.run(spec.run_id).path
        for file in trained[kind].iterdir():
            if file.is_file() and file.name not in ("config.yaml", "predictions.npz"):
                shutil.copyfile(file, target / file.name)
        (target / "predictions.npz").write_bytes(answers[kind][number % DISTINCT])
    return output.root


def trained_runs(folder: Path) -> dict[str, Path]:
    """Write features to a folder, train one run of each of `KINDS` on them, and return the folders of these runs."""
    from lorisbench.runs.launch import launch

    rng = np.random.default_rng(0)
    splits = [split for split, count in IMAGES.items() for _ in range(count)] * EXPERIENCES
    labels = rng.integers(CLASSES, size=len(splits))
    np.savez(
        folder / "features.npz",
        features=(rng.normal(size=(CLASSES, 16))[labels] + rng.normal(size=(len(splits), 16))).astype(np.float32),
        labels=labels,
        split=np.array(splits),
        experience=np.repeat(np.arange(EXPERIENCES), sum(IMAGES.values())),
    )
    suite = _suite(folder, len(KINDS), 1, len(KINDS))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        launch(suite, folder / "trained", workers=0)
    return {spec.config["strategy"]["strategy"]: folder / "trained" / "runs" / spec.run_id for spec in suite.runs}


def _suite(folder: Path, runs: int, orders: int, strategies: int) -> Suite:
    names = list(KINDS)
    chosen = {f"{names[k % len(names)]}-{k}": names[k % len(names)] for k in range(strategies)}
    settings = {
        "name": "bench",
        "benchmark": {"features": str(folder / "features.npz")},
        "training": {"epochs": 1},
        "strategies": {
            label: {"strategy": kind, KINDS[kind]: 0.5 + number} for number, (label, kind) in enumerate(chosen.items())
        },
        "seeds": list(range(-(-runs // (strategies * orders)))),
        "orders": orders,
        "latency": {"calls": 20},
        "device": "cpu",
    }
    return resolve(parse(SuiteConfig, settings), base=folder)


def _answers(source: Path, seed: int) -> list[bytes]:
    """Files of answers like those of a run, each with some of its answers changed."""
    from lorisbench.runs.directory import RunDirectory

    rng, found = np.random.default_rng(seed), []
    stored = RunDirectory(source).answers()
    for _ in range(DISTINCT):
        guessed = rng.integers(CLASSES, size=stored.predicted.shape, dtype=np.int32)
        changed = stored._replace(predicted=np.where(rng.random(guessed.shape) < 0.1, guessed, stored.predicted))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: array for name, array in changed._asdict().items() if array is not None})
        found.append(buffer.getvalue())
    return found
