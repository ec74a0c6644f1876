"""Outputs of many finished runs, for benchmarks of what is made of them: few are trained, the others copied."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, resolve

EXPERIENCES, CLASSES = 12, 8
IMAGES = {"train": 40, "validation": 8, "test": 120}  # of each experience
KINDS = {"ewc": "ewc_lambda", "lwf": "alpha", "mas": "mas_lambda", "dnn": "router_temperature"}
STRATEGIES = 20  # those of `KINDS` in turn, with other values each; DNN's runs have tables besides their answers
DISTINCT = 20  # kinds of answers for each of `KINDS`: a run has one of these


def written(folder: Path, suite: Suite, trained: Mapping[str, Path]) -> Path:
    """Write an output in which all runs of a suite are finished, and return its path.

    trained : by kind, the folder of a run. Each run has its files, but answers of its own.
    """
    from lorisbench.runs.store import Output

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
    suite = suite_of(folder, len(KINDS), strategies=len(KINDS))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        launch(suite, folder / "trained", workers=0)
    return {spec.config["strategy"]["strategy"]: folder / "trained" / "runs" / spec.run_id for spec in suite.runs}


def suite_of(folder: Path, runs: int, orders: int = 1, strategies: int = STRATEGIES) -> Suite:
    """A suite of at least so many runs on the features that `trained_runs` wrote to a folder."""
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
