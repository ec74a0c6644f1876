"""Mammoth's logs: parsed, never evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import refused

from lorisbench.gather.mammoth import MEANS_ONLY, read_mammoth

MATRIX = np.array([[90.5, np.nan], [70.25, 80]])
CELLS = {"accuracy_1_task1": 90.5, "accuracy_1_task2": 70.25, "accuracy_2_task2": 80.0}
ARGS: dict[str, Any] = {"dataset": "perm-mnist", "model": "er", "seed": 3, "lr": 0.1, "class_order": [1, 0], "x": None}


def file_of(tmp_path: Path, text: str, name: str = "logs.pyd") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_each_line_is_a_run(tmp_path: Path) -> None:
    lines = [str({**ARGS, **CELLS, "accmean_task2": 75.125, "forgetting": 20.25}), str({**CELLS, "seed": None}), ""]
    first, second = read_mammoth(file_of(tmp_path, "\n".join(lines)))
    assert np.allclose(first.matrix, MATRIX / 100, equal_nan=True)
    assert (first.label, first.seed, second.label, second.seed) == ("er", 3, "", None)
    assert first.notes == ["experiences still to come were not tested"]


def test_the_future_may_be_measured(tmp_path: Path) -> None:
    (run,) = read_mammoth(file_of(tmp_path, str({**CELLS, "accuracy_2_task1": 10.0})))
    assert run.matrix[0, 1] == pytest.approx(0.1) and not run.notes


def test_what_numpy_and_torch_show_is_no_obstacle(tmp_path: Path) -> None:
    line = str({**ARGS, **CELLS}).replace("90.5", "np.float64(90.5)").replace("None", "device(type='cuda', index=0)")
    (run,) = read_mammoth(file_of(tmp_path, line.replace("[1, 0]", "array([1, 0])")))
    assert np.allclose(run.matrix, MATRIX / 100, equal_nan=True)


@pytest.mark.parametrize("many", [False, True])
def test_json_holds_the_same(many: bool, tmp_path: Path) -> None:
    record = {**ARGS, **CELLS}
    runs = read_mammoth(file_of(tmp_path, json.dumps([record, record] if many else record, indent=1), "logs.json"))
    assert len(runs) == 1 + many and np.allclose(runs[-1].matrix, MATRIX / 100, equal_nan=True)


def test_means_alone_give_the_last_row(tmp_path: Path) -> None:
    (run,) = read_mammoth(file_of(tmp_path, str({"model": "sgd", "accmean_task1": 90.0, "accmean_task2": 60.0})))
    assert np.isnan(run.matrix).all() and run.matrix.shape == (2, 2)
    assert run.known == {"accuracy_last": pytest.approx(0.6)} and run.notes == [MEANS_ONLY]


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    line = f"{{'accuracy_1_task1': 50.0, 'model': open({str(trap)!r}, 'w').write('x'), **dict(a=1)}}"
    (run,) = read_mammoth(file_of(tmp_path, line))
    assert run.matrix.tolist() == [[0.5]] and not trap.exists() and run.label == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("{'accuracy_1_task1': 50.0", [":1", "dict of Python"]),
        ("[1, 2]", ["each a mapping"]),
        ("open('x')", [":1", "dict of Python"]),
        ("{" * 100_000, [":1", "dict of Python"]),
        ("{'accuracy_1_task1': " + "-" * 200_000 + "1}", [":1", "dict of Python"]),
        ("{'a': 1}\n", [":1", "accuracy_1_task1"]),
        ("{'accuracy_1_task1': 50.0}\n{'accuracy_1_task1': 100.5}", [":2", "100.5"]),
        ("{'accuracy_1_task1': -1}", [":1", "-1"]),
        ("{'accuracy_1_task1': nan}", [":1", "nan"]),
        ("{'accuracy_1_task1': 'x'}", [":1", "not a number"]),
        ("{'accuracy_1_task1': True}", [":1", "not a number"]),
        ("{'accuracy_1_task1': open('x')}", [":1"]),
        ("{'accuracy_0_task1': 1.0}", [":1", "between 1"]),
        ("{'accuracy_1_task9999': 1.0}", [":1", "between 1"]),
        ("{'accuracy_3_task2': 1.0}", [":1", "more tasks than it trains on"]),
    ],
)
def test_what_is_none_is_refused_in_one_line(text: str, words: list[str], tmp_path: Path) -> None:
    refused(lambda: read_mammoth(file_of(tmp_path, text)), "logs.pyd", *words)
