"""The one table of metrics: what takes its columns from it, and that one entry more is shown everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

from lorisbench.metrics import compare, costs, table
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import UndefinedMetricError, worst_seen
from lorisbench.metrics.metric import Metric
from lorisbench.report import summary
from lorisbench.reproduce.published import MEASURES
from lorisbench.reproduce.tables import HEADERS
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.rows import RUN_COLUMNS
from lorisbench.runs.tables import Tables

LABEL = np.array([0, 1, 0, 1])
ENTRY = {"train_seconds": 2.0, "model_mb": 1.0, "state_mb": 0.5, "replay_samples": 3, "heads": 1, "wheels": 4}
MORE = """
import contextlib, io, json, sys
from lorisbench.metrics import table

table.METRICS += (
    table.accuracy("kept", "Kept", lambda r: float(r[-1, 0]), "R[T−1, 0]."),
    table.at_the_end("wheels", "Wheels", "images", "lower", "wheels of the robot."),
)
from lorisbench.cli.app import main

answers = []
for words in json.load(sys.stdin):
    sys.argv, out, err = ["lorisbench", *words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            answers.append([end.code or 0, out.getvalue(), err.getvalue()])
        else:
            answers.append([0, out.getvalue(), err.getvalue()])
json.dump(answers, sys.stdout)
"""


def finished(out: Path, hits: float) -> Path:
    """An output with one finished run of two experiences, two test images each; `hits` of the first are kept."""
    (out / "runs").mkdir(parents=True)
    run = RunDirectory(out / "runs" / "a")
    run.start({"run_id": "a", "label": "naive", "seed": 0, "benchmark": {"name": "b"}}, {})
    last = np.where(np.arange(4) < 2 * (1 - hits), 1 - LABEL, LABEL)
    run.write_predictions(np.array([[0, 1, 1, 1], last]), LABEL, np.array([0, 0, 1, 1]))
    for experience in range(2):
        run.journal({"experience": experience, "train_images": 10, **ENTRY})
    run.set_status("done")
    (out / "suite.yaml").write_text(yaml.safe_dump({"name": "made", "strategies": {"naive": {"strategy": "naive"}}}))
    return out


class Answer(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


def with_more(*commands: tuple[object, ...]) -> list[Answer]:
    """The command line with two more entries in the table, and nothing else changed: what each command answers."""
    asked = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run([sys.executable, "-c", MORE], input=asked, capture_output=True, text=True, check=True)
    return [Answer(*answer) for answer in json.loads(done.stdout)]


@pytest.mark.heavy
def test_an_entry_more_is_shown_everywhere(tmp_path: Path) -> None:
    a, b = finished(tmp_path / "a", hits=1), finished(tmp_path / "b", hits=0.5)
    *made, compared, passed, metrics = with_more(
        ("report", a),
        ("report", b),
        ("compare", a, b, "--fail-on", "kept < -0.4"),
        ("compare", a, b, "--fail-on", "kept < -0.6"),
        ("ls", "metrics", "--json"),
    )
    assert [answer.code for answer in made] == [0, 0], made
    results = pd.read_csv(b / "results.csv")
    assert list(results.columns) == [*RUN_COLUMNS[:-1], "kept", "wheels", "undefined"]
    assert results.kept.tolist() == [0.5] and results.wheels.tolist() == [4]

    shown = pd.read_csv(b / "report" / "tables" / "comparison.csv")
    assert shown.kept_mean.tolist() == [50] and shown.wheels_mean.tolist() == [4]
    text = (b / "report" / "tables" / "comparison.md").read_text("utf-8")
    assert "| Kept (%) |" in text and "| Wheels, images |" in text and "- Kept: R\\[T−1, 0\\]." in text
    assert "<code>kept</code></dt><dd>R[T−1, 0].</dd>" in (b / "report" / "index.html").read_text("utf-8")

    assert compared.code == 1 and "kept B - A = -0.5000, which is < -0.4" in compared.err
    assert [line.split()[1] for line in compared.out.splitlines()[1:]][-1] == "wheels"
    assert passed.code == 0

    listed = {entry["name"]: entry for entry in json.loads(metrics.out)}
    assert listed["kept"]["formula"] == "R[T−1, 0]." and listed["wheels"]["unit"] == "images"


@pytest.mark.heavy
def test_an_entry_more_is_computed_for_older_outputs(tmp_path: Path) -> None:
    a = finished(tmp_path / "a", hits=0.5)
    Tables(a).write()
    for name in ("suite.yaml", "runs"):  # all that is left are the tables
        (a / name).rename(tmp_path / name)
    made, compared = with_more(("report", a), ("compare", a, a, "--fail-on", "accuracy_last < 0"))
    assert made.code == 0 and pd.read_csv(a / "report" / "tables" / "comparison.csv").kept_mean.tolist() == [50]
    assert compared.code == 0 and "kept" not in compared.out and "accuracy_last" in compared.out


def test_columns_and_their_orders_are_those_that_readers_know() -> None:
    latencies = ["latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_ratio", "throughput"]
    counted = ["parameters", "macs", "inference_mb"]
    further = [
        "fwt_gem", "average_anytime", "min_accuracy", "worst_case_accuracy", "stability_gap", "negative_flips",
        "calibration_error",
    ]  # fmt: skip
    costs = ["train_seconds", *latencies, "adapt_ratio", "model_mb", "state_mb", *counted]
    assert list(RUN_COLUMNS) == [
        "run_id", "benchmark", "stream", "order", "strategy", "seed", "status", "reason", "experiences",
        "square", "accuracy_last", "accuracy_seen", "bwt_mean", "fwt_mean", "forgetting_max", "forgetting_first",
        "plasticity", "routing_accuracy", *costs, "replay_samples", "heads", "train_flops", "feature_flops",
        "train_samples", "train_steps", "peak_memory_mb", "budget_used", "average_incremental", "bwt_gem", *further,
        "undefined",
    ]  # fmt: skip
    assert list(compare.METRICS) == [
        "accuracy_last", "accuracy_seen", "square", "bwt_mean", "fwt_mean", "forgetting_max", "forgetting_first",
        "plasticity", "average_incremental", "bwt_gem", "routing_accuracy", *costs, "train_flops", "train_samples",
        *further,
    ]  # fmt: skip
    assert [column.column_header for column in summary.COLUMNS] == [
        "Last row", "Seen", "Square", "BWT", "FWT", "Forgetting, points", "Plasticity", "Own head",
        "Latency p50, ms", "Latency ratio", "Training, s", "Adapt ratio",
        "State, MB", "Model, MB", "Replay, images", "Heads",
    ]  # fmt: skip
    assert [column.name for column in summary.COLUMNS if column.better == "lower"] == [
        "forgetting_max", "latency_p50_ms", "latency_ratio", "train_seconds", "adapt_ratio", "state_mb", "model_mb",
    ]  # fmt: skip
    assert {"forgetting_first", "worst_seen"} <= set(MEASURES) and "worst_seen" not in RUN_COLUMNS
    assert (HEADERS["bwt_mean"], HEADERS["accuracy_last"]) == ("Mean i > j (BWT)", "Last row")


def test_names_are_unique_and_every_metric_says_what_it_is() -> None:
    names = [metric.name for metric in table.METRICS]
    assert len(set(names)) == len(names)
    for metric in table.METRICS:
        assert metric.header and metric.formula.endswith("."), metric.name
        assert not metric.reason_of or metric.reason_of in names
    with pytest.raises(TypeError, match="metric x: one of"):
        Metric(name="x", header="X", unit="", better="", formula=".", group="Time", source="matrix.csv")


def test_the_markdown_table_has_a_line_a_metric() -> None:
    head, rule, *lines = table.markdown_table().split("\n")
    assert head == "| metric | header | unit | better | formula | from |" and rule == "|---|---|---|---|---|---|"
    assert [line.split("`")[1] for line in lines] == [metric.name for metric in table.METRICS]
    assert all(line.count(" | ") == 5 for line in lines)
    (line,) = (line for line in lines if "`state_mb`" in line)
    assert line == (
        "| `state_mb` | State | MB | lower | what the strategy keeps between experiences. | journal.jsonl |"
    )


def test_the_worst_cell_is_one_that_was_trained_and_measured() -> None:
    assert worst_seen(np.array([[0.9, 0.1], [0.4, 0.8]])) == 0.4
    with pytest.raises(UndefinedMetricError, match="1 of 3 cells with i ≥ j"):
        worst_seen(np.array([[0.9, 0.1], [np.nan, 0.8]]))


def test_a_latency_that_failed_is_explained_once() -> None:
    values, reasons = table.compute_costs(RunRecord([], {"error": "OSError: gone"}, {}))
    assert values == {} and reasons == {"latency_p50_ms": "OSError: gone"}
    assert table.reason_for("macs", reasons) == table.reason_for("throughput", reasons) == "OSError: gone"
    assert table.reason_for("adapt_ratio", reasons) == ""


OLD = {"batch": 1, "ms": [1.0, 2.0, 6.0], "bare_ms": [1.0]}
NEW = {**OLD, "batches": [{"batch": 8, "ms": [2.0], "bare_ms": [1.0]}, {"batch": 32, "ms": [10.0, 16.0, 99.0]}],
       "parameters": 5, "macs": 7, "inference_mb": 0.5}  # fmt: skip


def test_what_a_prediction_takes_is_read_from_its_calls_or_says_why_not() -> None:
    times = {"latency_p50_ms": 2, "latency_p95_ms": 5.6, "latency_p99_ms": 5.92, "latency_ratio": 2}
    values, reasons = table.compute_costs(RunRecord([], OLD, {}))
    assert values == pytest.approx(times)
    assert "latency.batch" in reasons.pop("throughput") and "did not count" in reasons.pop("parameters") and not reasons
    values, reasons = table.compute_costs(RunRecord([], NEW, {}))
    counted = {"parameters": 5, "macs": 7, "inference_mb": 0.5}
    assert values == pytest.approx({**times, **counted, "throughput": 1000 * 32 / 16}) and reasons == {}
    values, _ = table.compute_costs(RunRecord([], {**OLD, "batch": 4}, {}))
    assert values["throughput"] == 2000, "a single size is the largest one"


@pytest.mark.parametrize(
    ("ms", "bare", "expected"),
    [
        ([2.0, 4.0, 3.0, 5.0, 4.0], [2.0, 2.0, 2.0, 2.0, 1.0], (1.5, 2.5)),
        ([1.0], [2.0], (0.5, 0.5)),
        ([1.0, 2.0], [1.0], None),
        ([1.0], [0.0], None),
        ([], [], None),
    ],
)
def test_quartiles_are_those_of_pairs(ms: list[float], bare: list[float], expected: tuple[float, float] | None) -> None:
    assert costs.ratio_quartiles({"ms": ms, "bare_ms": bare}) == expected
