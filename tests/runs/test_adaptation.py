"""`adapt_ratio`: its arithmetic from stored files, and where it has none."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from small_models import TWO_CALLS

from lorisbench.metrics.costs import RunRecord, adapt_ratio
from lorisbench.metrics.matrix import UndefinedMetricError
from lorisbench.runs import latency
from lorisbench.runs.store import Output
from lorisbench.runs.tables import Tables
from lorisbench.runs.workbench import prepare
from lorisbench.suite.resolve import load_suite

TINY = {"name": "timm:test_efficientnet", "weights": "none", "image_size": 32}
FROZEN = {"train": "never", "cache": True}
ENTRIES = [
    {"experience": 0, "train_seconds": 100.0, "train_images": 5000},
    {"experience": 1, "train_seconds": 1.0, "train_images": 1000},
    {"experience": 2, "train_seconds": 3.0, "train_images": 3000},
]


def test_it_is_training_and_pass_over_pass_without_the_first_experience() -> None:
    # 4,000 images at 20 ms are 80 s; 4 s of training come on top
    assert adapt_ratio(RunRecord(ENTRIES, {"forward_ms_per_image": 20.0}, FROZEN)) == pytest.approx(84 / 80)
    assert adapt_ratio(
        RunRecord(ENTRIES, {"forward_ms_per_image": 1.0}, {**FROZEN, "train": "first"})
    ) == pytest.approx(2)


@pytest.mark.parametrize(
    ("entries", "measured", "backbone", "reason"),
    [
        (ENTRIES, {"forward_ms_per_image": 1.0}, {"train": "always", "cache": True}, "not on features"),
        (ENTRIES, {"forward_ms_per_image": 1.0}, {"train": "never", "cache": False}, "not on features"),
        (ENTRIES, {}, FROZEN, "were not measured"),
        (ENTRIES, {"error": "OSError: gone"}, FROZEN, "OSError: gone"),
        (ENTRIES[:1], {"forward_ms_per_image": 1.0}, FROZEN, "no experience after the first"),
        ([{"experience": 1, "train_seconds": 1.0}], {"forward_ms_per_image": 1.0}, FROZEN, "were not counted"),
    ],
)
def test_where_it_is_undefined_it_says_why(entries, measured, backbone, reason) -> None:
    with pytest.raises(UndefinedMetricError, match=reason):
        adapt_ratio(RunRecord(entries, measured, backbone))


def test_a_suite_stores_what_it_is_made_of(suite_file, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    extract = latency.extract

    def counted(backbone, blocks, device):
        passes.append(1)
        return extract(backbone, blocks, device)

    monkeypatch.setattr(latency, "BATCH", 5)
    monkeypatch.setattr(latency, "extract", counted)
    out = tmp_path / "out"
    suite = suite_file(seeds=[0, 1], backbone=TINY, training={"epochs": 1, "batch_size": 4}, latency=TWO_CALLS)
    assert cli("run", suite, "--out", out).code == 0
    assert len(passes) == 4, "a pass to warm up and three that count, for all runs together"
    results = pd.read_csv(out / "results.csv")
    for row in results.itertuples():
        folder = out / "runs" / row.run_id
        measured = json.loads((folder / "latency.json").read_text())
        assert measured["forward_images"] == 5 and measured["forward_threads"] >= 1
        entries = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
        assert [entry["train_images"] for entry in entries] == [6] * 9
        seconds = sum(entry["train_seconds"] for entry in entries[1:])
        assert row.adapt_ratio == pytest.approx(1 + seconds / (48 * measured["forward_ms_per_image"] / 1000))


def test_tables_and_reasons_of_an_older_output(tmp_path: Path) -> None:
    run = Output(tmp_path).run("a")
    run.start({"run_id": "a", "label": "naive", "seed": 0, "benchmark": {"name": "b"}, "backbone": FROZEN}, {})
    entry = {"train_seconds": 2.0, "model_mb": 1.0, "state_mb": 0.0, "replay_samples": 0, "heads": 1}
    for experience in range(2):
        run.journal({"experience": experience, "train_images": 100, **entry})
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"strategies": {"naive": {}}}))
    old = {"calls": 1, "ms": [2.0], "bare_ms": [2.0]}
    (run.path / "latency.json").write_text(json.dumps(old))
    (row,) = Tables(tmp_path).write().to_dict("records")
    assert pd.isna(row["adapt_ratio"]) and "adapt_ratio: forward passes over a batch were not" in row["undefined"]
    (run.path / "latency.json").write_text(json.dumps({**old, "forward_ms_per_image": 10.0}))
    (row,) = Tables(tmp_path).write().to_dict("records")
    assert row["adapt_ratio"] == pytest.approx((2 + 1) / 1)


def test_rows_whose_folder_is_gone_outlive_a_new_column(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"strategies": {"naive": {}}}))
    (tmp_path / "results.csv").write_text("run_id,benchmark,strategy,seed,status,accuracy_last\na,b,naive,0,done,0.5\n")
    (tmp_path / "matrix.csv").write_text("run_id,after_experience,test_experience,accuracy,n\na,0,0,0.5,10\n")
    (row,) = Tables(tmp_path).write().to_dict("records")
    assert row["accuracy_last"] == 0.5 and pd.isna(row["adapt_ratio"])
    (tmp_path / "results.csv").write_text("run_id,status,whatever\na,done,1\n")
    assert Tables(tmp_path).write().empty


@pytest.mark.parametrize("changes", [{"train": "always"}, {"cache": False}])
def test_passes_are_not_measured_where_they_mean_nothing(suite_file, monkeypatch, changes) -> None:
    suite = load_suite(str(suite_file(backbone={**TINY, **changes})))
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    monkeypatch.setattr(latency, "extract", None)
    assert latency.forward_cost(bench) == {}


def test_images_that_are_gone_leave_it_empty(suite_file, monkeypatch) -> None:
    suite = load_suite(str(suite_file(backbone=TINY)))
    bench = prepare(suite.config, suite.config.benchmark.manifest())

    def gone(*_: object) -> None:
        raise FileNotFoundError("an image")

    monkeypatch.setattr(latency.images, "decode", gone)
    assert latency.forward_cost(bench) == {}
