"""`lorisbench reproduce der2020`: what is published and what is not, the settings, and a stream for each seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from answers import refused
from idx_files import write_mnist

from lorisbench.report.stored import Stored
from lorisbench.reproduce.plan import plan
from lorisbench.reproduce.published import load
from lorisbench.reproduce.tables import build
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.overrides import override

TINY = (
    "--set", "benchmark.tasks=2", "--set", "training.batch_size=16", "--set", "head.hidden=[8]",
    "--set", "latency.calls=2", "--set", "latency.warmup=0",
    "--set", "strategies={naive: {training: {lr: 0.2}}, joint: , gem-200: {strategy: gem, memory: 8}}",
)  # fmt: skip


def stored(accuracy: dict[str, float], part: str = "rotated", **benchmark: Any) -> Stored:
    """What a part's folder would hold after a run with this accuracy on the last row."""
    suite = plan("der2020", parts=[part]).suite.resolved
    settings = {**suite["benchmarks"][part], **benchmark}
    last = np.full((20, 20), np.nan)
    runs = [(label, label, 0, "done", "") for label in accuracy]
    matrices = {}
    for label, value in accuracy.items():
        matrices[label] = last.copy()
        matrices[label][-1] = value
    return Stored(
        out=Path("/nowhere"), suite={"benchmark": settings, "strategies": {label: {} for label in accuracy}},
        data={"name": f"{part.capitalize()} MNIST", "synthetic": False, "classes": [str(k) for k in range(10)]},
        runs=pd.DataFrame(runs, columns=["run_id", "strategy", "seed", "status", "reason"]),
        experiences=pd.DataFrame(), names=[str(k) for k in range(20)], matrices=matrices, environments={},
        latencies={}, warnings=[],
    )  # fmt: skip


def rows_of(found: Stored, part: str = "rotated") -> pd.DataFrame:
    (table,) = (table for table in build(load("der2020"), {part: found}) if table.name == part)
    return table.values.set_index("method")


def test_values_are_compared_where_they_were_read_and_called_second_hand() -> None:
    found = stored({"naive": 0.6, "ewc-online": 0.5, "der-500": 0.9224})
    rows = rows_of(found)
    assert rows.status[["SGD", "oEWC", "DER, 500", "SI"]].tolist() == [
        "reproduced", "differs", "reproduced", "not measured",
    ]  # fmt: skip
    assert rows.published.notna().all() and rows.published["JOINT"] == 95.76 and np.isnan(rows.published_std["JOINT"])
    permuted = rows_of(stored({"naive": 0.4, "si": 0.6}, "permuted"), "permuted")
    assert permuted.published.dropna().to_dict() == {"SGD": 40.70, "JOINT": 94.33}
    assert permuted.status["SI"] == "published value unknown" and permuted.status["SGD"] == "reproduced"
    table = next(each for each in build(load("der2020"), {"rotated": found}) if each.name == "rotated")
    assert any("quoted by a later paper" in note.text for note in table.notes)


@pytest.mark.parametrize("changed", [{"stream_seed": 0}, {"validation": 100}, {"fraction": 0.1}, {"name": "permuted"}])
def test_another_stream_is_not_comparable(changed: dict[str, Any]) -> None:
    rows = rows_of(stored({"naive": 0.6}, **changed))
    assert set(rows.status) == {"not comparable"}


def test_settings_are_those_of_the_list() -> None:
    """Of Mammoth's `best_args`: for permuted and rotated, as FACTS of the project quote them."""
    streams = plan("der2020").suite.streams
    permuted, rotated = streams["permuted"], streams["rotated"]
    assert (permuted.benchmark.name, rotated.benchmark.name) == ("permuted", "rotated")
    for config in (permuted, rotated):
        assert (config.benchmark.tasks, config.benchmark.stream_seed, config.benchmark.validation) == (20, "run", 0)
        assert config.evaluation.rows == "last" and config.head.init == "xavier" and config.backbone.scale == (0, 1)
        trained = {label: entry.training for label, entry in config.strategies.items()}
        assert {(t.optimizer, t.momentum, t.epochs, t.batch_size) for t in trained.values()} == {("sgd", 0.0, 1, 128)}
        rates = [trained[each].lr for each in ("naive", "ewc-online", "er-200", "agem-500", "der-200", "der++-500")]
        assert rates == [0.2, 0.1, 0.2, 0.1, 0.2, 0.1]
        of = {label: entry.strategy for label, entry in config.strategies.items()}
        assert (of["ewc-online"].ewc_lambda, of["ewc-online"].gamma, of["si"].xi) == (2 * 0.7, 1.0, 1.0)
        assert (of["der-200"].name, of["der-200"].alpha, of["gem-500"].memory) == ("der", 1.0, 500)
        assert {of[f"{kind}-{size}"].memory for kind in ("er", "der++") for size in (200, 500)} == {200, 500}
    both = [config.strategies for config in (permuted, rotated)]
    assert [(of["si"].strategy.si_lambda, of["gem-200"].training.lr) for of in both] == [(0.5, 0.1), (1.0, 0.01)]
    assert [of["der++-500"].strategy.beta for of in both] == [1.0, 0.5]


def test_the_command_runs_both_parts_from_one_folder(cli: Callable[..., Any], tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    out = tmp_path / "out"
    answer = cli("reproduce", "der2020", "--data-root", root, "--out", out, "--seeds", "0,1", *TINY)
    assert answer.code == 0 and "not measured" not in answer.err
    runs = pd.read_csv(out / "results.csv")
    assert len(runs) == 12 and (runs.status == "done").all() and runs.accuracy_last.notna().all()
    cells = pd.read_csv(out / "matrix.csv")
    assert set(cells.after_experience) == {1}
    rows = pd.read_csv(out / "tables" / "rotated.csv").set_index("method")
    assert set(rows.status) <= {"other data", "not measured", "not comparable"}, "these are no digits"
    told = refused(cli("reproduce", "der2020", "--data-root", tmp_path, "--out", tmp_path / "none"), "train-images")
    assert told


def test_each_seed_has_the_stream_of_its_own_number(cli: Callable[..., Any], tmp_path: Path) -> None:
    """On bytes, and, where images have to be scaled, on features extracted for each seed."""
    root = write_mnist(tmp_path / "mnist")
    suite: dict[str, Any] = {
        "name": "seeds", "benchmark": {"name": "rotated", "tasks": 2, "validation": 0, "root": str(root)},
        "backbone": {"name": "pixels"}, "training": {"epochs": 1}, "strategies": ["naive"],
        "latency": {"enabled": False},
    }  # fmt: skip

    def answers(name: str, seeds: str, *assignments: str) -> dict[int, np.ndarray]:
        whole = {key: dict(value) if isinstance(value, dict) else value for key, value in suite.items()}
        override(whole, assignments)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(whole))
        out = tmp_path / name
        assert cli("run", tmp_path / f"{name}.yaml", "--out", out, "--seeds", seeds, "--workers", "0").code == 0
        runs = pd.read_csv(out / "results.csv")
        return {s: RunDirectory(out / "runs" / r).predictions()[0] for s, r in zip(runs.seed, runs.run_id, strict=True)}

    for size in (28, 32):
        of_runs = answers(f"run-{size}", "0,1", f"backbone.image_size={size}", "benchmark.stream_seed=run")
        for seed in (0, 1):
            fixed = answers(
                f"fixed-{size}-{seed}", str(seed), f"backbone.image_size={size}", f"benchmark.stream_seed={seed}"
            )
            assert np.array_equal(of_runs[seed], fixed[seed]), (size, seed)
        other = answers(f"other-{size}", "1", f"backbone.image_size={size}", "benchmark.stream_seed=0")
        assert not np.array_equal(of_runs[1], other[1]), "the stream makes the difference"
