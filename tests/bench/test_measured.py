"""What `lorisbench bench` finds goes to a file, and is put beside what such a file holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lorisbench.bench import extraction, steps, synthetic
from lorisbench.bench import run_benchmarks as bench
from lorisbench.bench.measured import Amount, Growth, Ratio, paired
from lorisbench.engine.own_plugins import DivergenceGuard, Schedule
from lorisbench.suite.training import TrainingConfig


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What the benchmark `steps` finds; the only one there is."""
    found: dict[str, list[Any]] = {"found": [Ratio("a step", (1.0, 1.1, 1.3), 2.0, 1.2), "a sentence"]}
    monkeypatch.setattr(bench, "BENCHMARKS", {"steps": lambda _: found["found"]})
    return found


def test_what_is_found_is_told_and_written(cli, tmp_path: Path, measured: dict[str, list[Any]]) -> None:
    answer = cli("bench", "--out", tmp_path / "new" / "found.json")
    assert answer.code == 0, answer.err
    _, step, sentence, kept = answer.out.splitlines()
    assert step == "steps: a step: 1.1 x (1 to 1.3 in 3 pairs; at most 1.2; 2 ms)"
    assert sentence == "steps: a sentence" and kept == "1 of 1 limits kept"
    found = json.loads((tmp_path / "new" / "found.json").read_text())
    assert {"cpu", "cores", "system"} <= set(found["machine"]) and "torch" in found["versions"] and found["date"]
    ratio, told = found["benchmarks"]["steps"]
    assert ratio == {"what": "a step", "median": 1.1, "values": [1.0, 1.1, 1.3], "milliseconds": 2.0, "limit": 1.2,
                     "kept": True}  # fmt: skip
    assert told == "a sentence"


def test_a_limit_that_is_missed_is_said_to_be(cli, measured: dict[str, list[Any]]) -> None:
    measured["found"] = [Ratio("a step", (1.0, 1.5, 1.6), 2.0, 1.2)]
    out = cli("bench").out
    assert "at most 1.2: MISSED" in out and out.endswith("0 of 1 limits kept\n")


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ((2.0, 2.2, 2.4), "1.1 x then, +100.0 %"),
        ((1.2, 1.21, 1.9), "1.1 x then, +10.0 % (their ranges overlap)"),
    ],
)
def test_ratios_are_put_beside_earlier_ones(
    cli, tmp_path: Path, measured: dict[str, list[Any]], now: tuple[float, ...], told: str
) -> None:
    measured["found"].append(Ratio("another", (1.0,), 1.0))
    cli("bench", "--out", tmp_path / "found.json")
    measured["found"] = [Ratio("a step", now, 2.0, 1.2), Ratio("a new one", (1.0,), 1.0)]
    answer = cli("bench", "steps", "--compare", tmp_path / "found.json")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[1].endswith(f" | {told}")
    assert lines[2].endswith(" | not measured then")
    assert lines[3] == "steps: another: only in found.json"


def test_another_machine_is_refused_unless_told(cli, tmp_path: Path, measured: dict[str, list[Any]]) -> None:
    file = tmp_path / "found.json"
    cli("bench", "--out", file)
    found = json.loads(file.read_text())
    found["machine"]["cores"] = 128
    file.write_text(json.dumps(found))
    answer = cli("bench", "--compare", file)
    assert answer.code == 2 and "cores 128 there" in answer.err and "--any-machine" in answer.err and not answer.out
    assert cli("bench", "--compare", file, "--any-machine").code == 0


def test_other_software_is_told(cli, tmp_path: Path, measured: dict[str, list[Any]]) -> None:
    file = tmp_path / "found.json"
    cli("bench", "--out", file)
    found = json.loads(file.read_text())
    assert found["threads"] == torch.get_num_threads()
    found["versions"]["torch"], found["threads"] = "1.0", 64
    file.write_text(json.dumps(found))
    answer = cli("bench", "--compare", file)
    line = answer.out.splitlines()[1]
    assert answer.code == 0 and str(file) in line, answer.err
    assert f"torch 1.0 then, {version('torch')} now" in line and "threads of torch 64 then" in line
    assert "timm" not in line


def test_what_was_found_before_an_interrupt_is_kept(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Any) -> Iterator[Any]:
        yield "found in time"
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "BENCHMARKS", {"steps": interrupted})
    file = tmp_path / "found.json"
    answer = cli("bench", "--out", file)
    assert answer.code == 1 and answer.err == f"lorisbench: interrupted; {file} has what was found until then\n"
    assert json.loads(file.read_text())["benchmarks"] == {"steps": ["found in time"]}
    answer = cli("bench")
    assert answer.code == 1 and answer.err == "lorisbench: interrupted\n"


TAKEN = {"what": "a step", "median": 1.0, "values": [1.0]}
GROWN = {"what": "a sum", "exponent": 1.0, "interval": [0.9, 1.1]}


@pytest.mark.parametrize(
    "text",
    [
        None, "", "[]", "{}", '{"machine": {}, "date": "", "benchmarks": {"steps": [{}]}}',
        *(
            json.dumps({"machine": {}, "versions": {}, "threads": 1, "benchmarks": {"steps": [entry]}})
            for entry in (
                {**TAKEN, "median": 0}, {**TAKEN, "median": float("nan")}, {**TAKEN, "values": []},
                {**GROWN, "exponent": float("inf")}, {**GROWN, "interval": [1]},
            )
        ),
        json.dumps({"machine": {}, "threads": 1, "benchmarks": {"steps": [TAKEN]}}),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_named(cli, tmp_path: Path, measured: dict[str, list[Any]], text: str | None) -> None:
    file = tmp_path / "found.json"
    if text is not None:
        file.write_text(text)
    answer = cli("bench", "--compare", file, "--any-machine")
    assert answer.code == 2 and str(file) in answer.err and not answer.out


@pytest.mark.parametrize("place", ["file/found.json", "folder"])
def test_nothing_is_measured_for_a_file_that_cannot_be_written(
    cli, tmp_path: Path, measured: dict[str, list[Any]], place: str
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    answer = cli("bench", "--out", tmp_path / place)
    assert answer.code == 2 and str(tmp_path / place.partition("/")[0]) in answer.err and not answer.out
    assert (tmp_path / "file").read_text() == "kept"


def test_growth_needs_a_place_for_its_plot(cli, tmp_path: Path) -> None:
    (tmp_path / "found.png").mkdir()
    answer = cli("bench", "growth", "--out", tmp_path / "found.json")
    assert answer.code == 2 and "found.png" in answer.err and not answer.out


def test_pairs_are_timed_in_turn_by_the_clock_that_is_given() -> None:
    calls: list[str] = []
    seconds = iter(range(100))

    def ours() -> None:
        calls.append("ours")
        next(seconds)  # so that ours takes two seconds, the other one

    found = paired("it", ours, lambda: calls.append("other"), 3.0, 4, lambda: float(next(seconds)))
    assert found.values == (2.0, 2.0, 2.0, 2.0) and found.milliseconds == 2000
    assert calls == ["ours", "other", "other", "ours"] * 2 + ["ours", "other"]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_growth_is_the_slope_of_a_log_log_plot(exponent: float) -> None:
    found = Growth.of("it, to runs", {size: [3 * size**exponent] for size in (2, 4, 16)}, 1.05)
    assert found.value == pytest.approx(exponent) and found.range == pytest.approx((exponent, exponent))
    assert found.as_json()["kept"] == (exponent < 1.05) and ("MISSED" in str(found)) == (exponent > 1.05)


def test_the_interval_of_an_exponent_is_that_of_a_line_with_scatter() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        taken = {size: size * np.exp(rng.normal(0, 0.1, 3)) for size in (1, 2, 4, 8)}
        low, high = Growth.of("it, to runs", taken).range
        covered += low <= 1 <= high
    assert 0.9 < covered / 300 < 0.99


def test_growths_and_amounts_are_written_drawn_and_put_beside_earlier_ones(
    cli, tmp_path: Path, measured: dict[str, list[Any]]
) -> None:
    measured["found"] = [
        Growth("a sum, to runs", (1, 8), ((1.0, 1.1), (8.0, 9.0)), 1.05),
        Amount("a peak", (2.0,), "GB"),
    ]
    assert cli("bench", "--out", tmp_path / "found.json").code == 0
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    growth, amount = json.loads((tmp_path / "found.json").read_text())["benchmarks"]["steps"]
    assert growth["sizes"] == [1, 8] and growth["seconds"] == [[1.0, 1.1], [8.0, 9.0]] and growth["kept"] is True
    assert growth["interval"][0] < growth["exponent"] < growth["interval"][1]
    assert amount == {"what": "a peak", "unit": "GB", "median": 2.0, "values": [2.0], "limit": None, "kept": None}
    measured["found"] = [
        Growth("a sum, to runs", (1, 8), ((1.0, 1.1), (64.0, 65.0)), 1.05),
        Amount("a peak", (1.0,), "GB"),
    ]
    _, growth, amount, kept = cli("bench", "--compare", tmp_path / "found.json").out.splitlines()
    assert growth.endswith(" then, +0.975") and "MISSED" in growth and kept == "0 of 1 limits kept"
    assert amount.endswith("a peak: 1 GB (once) | 2 GB then, -50.0 %")


def test_steps_are_compared_with_loops_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "WIDTH", 6)
    monkeypatch.setattr(steps, "MEMORY", 8)
    found = list(steps.measure(pairs=1, steps=3))
    assert len({each.what for each in found if isinstance(each, Ratio)}) == len(found) == 20
    assert sum(each.limit == 1.2 for each in found if isinstance(each, Ratio)) == 19


def test_the_time_of_an_epoch_is_that_of_all_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    for kind, name, seconds in ((Schedule, "before", 1.0), (DivergenceGuard, "after", 2.0)):
        callback = f"{name}_training_epoch"
        monkeypatch.setattr(kind, callback, lambda *_, s=seconds, **__: now.__setitem__(0, now[0] + s))
    store, experience = synthetic.samples(8, 2, 3)
    engine = synthetic.engine_of(torch.nn.Linear(3, 2), [], store, TrainingConfig(epochs=1, batch_size=4))
    watch = steps.watched(engine, lambda: now[0])
    engine.train(experience)
    assert watch.seconds == 3.0


def test_extraction_is_compared_with_plain_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "SIZES", (("resnet18", 32, 70),))
    ratio, in_onnxruntime, *told = extraction.measure(pairs=1)
    assert isinstance(ratio, Ratio) and ratio.limit and "of 70 images of 32 pixels by resnet18" in ratio.what
    assert isinstance(in_onnxruntime, Ratio) and "passes of resnet18 at 32 pixels in onnxruntime" in in_onnxruntime.what
    assert len(told) == 2
    for line in told:
        assert float(str(line).split("differ by ")[1].split()[0]) < 1e-4


def test_extraction_needs_no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "SIZES", (("timm:test_resnet", 32, 3),))
    monkeypatch.setattr(extraction, "has_packages", lambda: False)
    ratio, told = extraction.measure(pairs=1)
    assert isinstance(ratio, Ratio) and "images a second" in str(told)
