"""A report's page in a browser, of an output that has a little of everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import chromium, opened
from stored_output import Folder, accuracy_matrix
from without_plots import without_plots

from lorisbench.report import write_report


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="package")
def reported(tmp_path_factory: pytest.TempPathFactory, render_only: Callable[..., None]) -> Path:
    """An output of four strategies, of which one failed; one keeps tables of its heads, another one that is plotted."""
    made = Folder(tmp_path_factory.mktemp("page") / "out", 6, about="dnn")
    for seed in range(3):
        for k, (label, final, forgets) in enumerate([("dnn", 0.64, 0.08), ("naive", 0.45, 0.45), ("joint", 0.7, 0.0)]):
            extra = {"replay_samples": 100} if label == "joint" else {"latency_ratio": 1 + k + 0.01 * seed}
            extra |= {"negative_flips": 0.1}
            matrix = np.round(120 * accuracy_matrix(6, 10 * seed + k, final, forgets)) / 120
            run = made.run(label, seed, matrix, strategy=label, latency_p50_ms=5 + k + 0.1 * seed, **extra)
            made.put(run, "status.json", '{"status": "done"}')
            made.put(run, "log.txt", "")
            if label == "dnn":
                _heads(made, run)
            # Calls whose medians cannot be told apart: of one architecture a seed is measured, and the others share it
            calls = {"ms": list(np.linspace(k, 10 + k, 100)), "bare_ms": [5.0] * 100}
            shared = {"measured_on": run if seed else made.rows[k]["run_id"]}
            made.put(run, "latency.json", json.dumps({"calls": 100, "batch": 1, "load": 0.5, **calls, **shared}))
            if label == "naive":
                made.put(run, "losses.csv", "step,loss\n0,2.5\n1,1.5\n")
                made.put(run, "tables.json", json.dumps({"losses": {"x": "step", "y": "loss"}}))
    made.suite["strategies"]["naive"]["training"] = {"later": {"lr": None}}
    made.run("broken", 0, None, reason="out of memory & <patience>")
    out = made.write()
    with pytest.MonkeyPatch.context() as patch:
        render_only(patch, ())
        write_report(out)
    return out


def _heads(made: Folder, run: str) -> None:
    made.decide(run, [
        {"experience": 0, "verdict": "base", "head": 0, "teacher": "", "gap_0": "", "known": 0, "samples": 9},
        {"experience": 1, "verdict": "expand", "head": 1, "teacher": 0, "gap_0": 0.2, "known": 3, "samples": 9},
        {"experience": 2, "verdict": "distill", "head": 0, "teacher": 0, "gap_0": 0.9, "gap_1": 0.4, "known": 8,
         "samples": 9},
    ])  # fmt: skip
    answers = [{"after_experience": 5, "test_experience": j, "head": j % 2, "share": 1.0} for j in range(6)]
    made.put(run, "answers.csv", pd.DataFrame(answers).to_csv(index=False))
    experience = np.repeat(np.arange(6), 4)
    label = np.tile(np.arange(4), 6)
    predicted = np.tile(label, (6, 1))
    predicted[:, 7] = 0  # image 107 is always taken for another
    file = made.out / "runs" / run / "predictions.npz"
    arrays = {"predicted": predicted, "label": label, "experience": experience, "image": 100 + np.arange(24)}
    whole = {name: array.astype(np.int32) for name, array in arrays.items()}
    np.savez(file, **whole, head=np.zeros((6, 24), np.int16))


@pytest.fixture
def no_plots() -> Iterator[None]:
    """The page has links to plots as files, and no more of them."""
    with without_plots():
        yield


@pytest.fixture
def page(browser: Any, reported: Path) -> Iterator[Any]:
    with opened(browser, reported / "report" / "index.html") as found:
        yield found
