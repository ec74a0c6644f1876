"""How often the own domain's head answers, from tables made by hand and from those of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_runs

from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import UndefinedMetricError
from lorisbench.metrics.routing import routing_accuracy
from lorisbench.runs.rows import row_of

TWO_HEADS = [{"heads": 1}, {"heads": 2}, {"heads": 2}]
DECISIONS = [{"experience": e, "head": head} for e, head in enumerate((0, 1, 0))]
ANSWERS = [
    {"after_experience": after, "test_experience": test, "head": head, "share": share}
    for after, test, head, share in (
        (1, 0, 0, 1.0), (1, 1, 0, 1.0), (1, 2, 1, 1.0),
        (2, 0, -1, 0.25), (2, 0, 0, 0.5), (2, 0, 1, 0.25), (2, 1, 1, 0.875), (2, 1, 0, 0.125), (2, 2, 1, 1.0),
    )
]  # fmt: skip


def record(**changes: Any) -> RunRecord:
    entries = changes.pop("entries", TWO_HEADS)
    tables = {"decisions": DECISIONS, "answers": ANSWERS, **changes}
    return RunRecord(entries, {}, {}, {name: [tuple(row.values()) for row in rows] for name, rows in tables.items()})


def test_it_is_the_mean_share_of_the_head_that_each_experience_trained_in_the_end() -> None:
    assert routing_accuracy(record()) == (0.5 + 0.875 + 0) / 3
    earlier = [row for row in ANSWERS if row["after_experience"] == 1]  # of a run that is not done
    assert routing_accuracy(record(answers=earlier)) == (1 + 0) / 2
    as_text = [{key: str(value) for key, value in row.items()} for row in ANSWERS]
    assert routing_accuracy(record(answers=as_text)) == routing_accuracy(record())
    assert routing_accuracy(record(entries=[])) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"entries": [{"heads": 1}]}, "there is one head"),
        ({"answers": []}, "no readable answers.csv"),
        ({"answers": [], "decisions": []}, "no readable decisions.csv and no answers.csv"),
        ({"answers": [row for row in ANSWERS if row["test_experience"] != 1]}, "no share of experience 1"),
        ({"answers": [{**ANSWERS[0], "share": "half"}]}, "a number that cannot be right"),
        ({"answers": [{**ANSWERS[0], "share": "nan"}]}, "a number that cannot be right"),
        ({"decisions": [{"experience": 0}]}, "a number that cannot be right"),
    ],
)
def test_where_it_is_undefined_it_says_why(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UndefinedMetricError, match=reason):
        routing_accuracy(record(**changes))


@pytest.mark.parametrize("answer", ["oracle", "newest", "mean"])
def test_a_run_has_it(answer: str, tmp_path: Path) -> None:
    """The oracle's head is the own one, the newest is that of the last experience, and all heads share `mean`."""
    entry = {"strategy": "dnn", "expand_at": [1, 2], "answer": answer}
    run = small_runs.run(small_runs.bench(entry), tmp_path / "run")
    config = {"run_id": "run", "benchmark": {"name": "b"}, "label": "dnn", "seed": 0}
    wanted = {"oracle": 1.0, "newest": 1 / 3, "mean": 1 / 3}[answer]
    row = row_of(run, config).row
    assert row["routing_accuracy"] == pytest.approx(wanted) and "routing" not in row["undefined"]
    (run.path / "answers.csv").write_text("no,table\n")
    row = row_of(run, config).row
    assert (
        row.get("routing_accuracy") is None and "routing_accuracy: which head answers is not told" in row["undefined"]
    )
    assert np.isfinite(row["accuracy_last"]) and len(pd.read_csv(run.path / "decisions.csv")) == 3
