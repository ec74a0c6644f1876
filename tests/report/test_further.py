"""Tables of accuracies beyond the comparison, and metrics of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored_output import Folder, answered

from lorisbench.report import frame, write_report
from lorisbench.report import tables as tables_of_report
from lorisbench.report.further import further
from lorisbench.report.summary import summarise

OWN = """
from lorisbench.metrics.run_data import RunData, UndefinedMetricError

def lost(run: RunData) -> float:
    if run.seed == 7:
        raise UndefinedMetricError("seed 7 is out of luck")
    assert run.matrix.shape == (len(run.predicted),) * 2
    return float((run.predicted[0] == run.label).mean() - (run.predicted[-1] == run.label).mean())

def fails(run): return 1 / 0
def infinite(run): return float("inf")
def text(run): return "much"
number = 3
"""


def tables(out: Path) -> dict[str, pd.DataFrame]:
    stored = frame.read(out)
    return {table.name: table.values.set_index("strategy") for table in further(stored, summarise(stored))}


def test_intransigence_is_beside_the_strategy_that_keeps_all_images(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    for seed in range(2):
        folder.run("some", seed, np.full((3, 3), 0.7 - 0.1 * seed), replay_samples=50)
        folder.run("all-data", seed, np.full((3, 3), 0.9), replay_samples=2 * 960)
    folder.run("other-seed", 5, np.full((3, 3), 0.2))
    found = tables(folder.write())["further_metrics"]
    assert found.intransigence_mean["some"] == pytest.approx(25) and found.intransigence_mean["all-data"] == 0
    assert np.isnan(found.intransigence_mean["other-seed"])
    assert found.average_incremental_mean["some"] == pytest.approx(65)


def test_means_by_what_counts_alike(tmp_path: Path) -> None:
    out = answered(tmp_path / "out", {"a": (0.9, 0.6, 0.3), "b": (0.5,) * 3}, seeds=2)
    images = pd.read_csv(out / "images.csv.gz", keep_default_na=False)
    images["factor"] = np.where(images.experience == 0, "light", "clutter")  # two test sets of three
    images["class_name"] = np.where(images.image % 4 == 0, "cup", "pen")
    images.to_csv(out / "images.csv.gz", index=False)
    found = tables(out)
    accuracy = frame.read(out).runs.query("strategy == 'a'").accuracy_last.mean() * 100
    weights = found["weights"].loc["a"]
    assert weights["by_test set_mean"] == weights.by_image_mean == pytest.approx(accuracy)
    by_factor = found["accuracy_by_factor"].loc["a"]
    assert weights.by_factor_mean == pytest.approx((by_factor.light_mean + by_factor.clutter_mean) / 2)
    assert weights.worst_factor_mean == pytest.approx(by_factor.clutter_mean)
    assert by_factor.light_mean + 2 * by_factor.clutter_mean == pytest.approx(3 * accuracy)
    by_class = found["accuracy_by_class"].loc["a"]
    assert by_class.cup_mean + 3 * by_class.pen_mean == pytest.approx(4 * accuracy)


def test_how_what_is_underlined_was_told_apart_is_said_of_each_table(tmp_path: Path) -> None:
    out = answered(tmp_path / "out", {"low": (0.4,) * 3, "best": (0.8,) * 3, "near": (0.79,) * 3})
    stored = frame.read(out)
    means = summarise(stored)
    told = {
        table.name: next((note.text for note in table.notes if note.text.startswith("Underlined")), "")
        for table in tables_of_report.build(stored, means)
    }
    assert "on the last row drawn over seeds and test recordings, corrected" in told["comparison"]
    assert "Holm" not in told["weights"] and "intervals over seeds overlap, not corrected" in told["weights"]
    assert "time" not in told["weights"]


def test_a_metric_of_ones_own_is_added_without_training(finished: Any, cli: Any, tmp_path: Path) -> None:
    out, file = finished(tmp_path / "out"), tmp_path / "my.py"
    file.write_text(OWN)
    assert cli("report", out, "--metric", f"{file}:lost", report=True).code == 0
    table = pd.read_csv(out / "report" / "tables" / "own_metrics.csv")
    expected = []
    for run in (out / "runs").iterdir():
        answers = np.load(run / "predictions.npz")
        right = answers["predicted"] == answers["label"]
        expected.append(right[0].mean() - right[-1].mean())
    assert table[f"{file}:lost_mean"].tolist() == pytest.approx([np.mean(expected)])
    before = (out / "report" / "index.html").read_bytes()
    for function, why in (
        ("fails", "ZeroDivisionError: division by zero"), ("infinite", "inf is no finite number"),
        ("text", "a number was expected, not str"), ("number", "has no function 'number'"), ("lose", "'lost'"),
    ):  # fmt: skip
        answer = cli("report", out, "--metric", f"{file}:{function}", report=True)
        assert answer.code == 2 and why in answer.err and len(answer.err.strip().splitlines()) == 1, answer
    for wrong in (str(file), "gone.py:lost", f"{tmp_path}:lost"):
        assert cli("report", out, "--metric", wrong, report=True).code == 2
    assert (out / "report" / "index.html").read_bytes() == before
    write_report(out)
    assert not (out / "report" / "tables" / "own_metrics.csv").exists()
