"""`lorisbench compare`: conditions with units, corrected tests, machines, and the summary in Markdown."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import markdown_it
import numpy as np
import pandas as pd
import pytest
from answers import refused

from lorisbench.metrics.compare import TIMES, compare_outputs
from lorisbench.metrics.gates import Condition, conditions

Cli = Callable[..., Any]


def output(
    out: Path, accuracies: dict[str, Sequence[float]], cpu: str = "one", stream: str = "", **columns: float
) -> Path:
    """An output of strategies with an accuracy for each seed from 0."""
    rows = [
        {"run_id": f"{label}-{seed}", "benchmark": "made", "strategy": label, "seed": seed, "status": "done",
         "accuracy_last": value, **({"stream": stream, "order": 0} if stream else {}), **columns}
        for label, values in accuracies.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    out.mkdir()
    pd.DataFrame(rows).to_csv(out / "results.csv", index=False)
    if cpu:
        (out / "env.json").write_text(json.dumps({"machine": {"cpu": cpu, "cores": 2}}))
    return out


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("accuracy_last < -0.5pp", Condition("accuracy_last", "<", -0.5, "pp")),
        ("accuracy_last<-0.5 pp", Condition("accuracy_last", "<", -0.5, "pp")),
        ("latency_p50 > +10%", Condition("latency_p50_ms", ">", 10, "%")),
        ("latency_p50_ms >= 2.5ms", Condition("latency_p50_ms", ">=", 2.5, "ms")),
        ("state > 1 mb", Condition("state_mb", ">", 1, "MB")),
        ("train > 1e2s", Condition("train_seconds", ">", 100, "s")),
        ("forgetting_max > 0.01", Condition("forgetting_max", ">", 0.01)),
        ("throughput < -5 images/s", Condition("throughput", "<", -5, "images/s")),
    ],
)
def test_units_and_short_names(said: str, understood: Condition) -> None:
    assert conditions(said) == [understood]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("latency_p5 > 1", ["'latency_p5'", "did you mean 'latency_p"]),
        ("latency > 1", ["'latency'", "did you mean"]),
        ("accuracy_last < -1 ms", ["a fraction", "'ms'", "pp, %"]),
        ("state_mb > 1pp", ["in MB", "'pp'", "MB, %"]),
        ("latency_ratio > 1x", ["without a unit", "'x'"]),
        ("accuracy_last < -0.5 p p", ["METRIC < NUMBER"]),
    ],
)
def test_what_is_no_condition(said: str, words: list[str], cli: Cli, tmp_path: Path) -> None:
    refused(cli("compare", tmp_path, tmp_path, "--fail-on", said), "--fail-on", *words)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("accuracy_last < -1.9pp", 1),
        ("accuracy_last < -2.1pp", 0),
        ("accuracy_last < -0.019", 1),
        ("accuracy_last < -0.021", 0),
        ("accuracy_last < -3.9%", 1),
        ("accuracy_last < -4.1%", 0),
        ("latency_p50 > 9.9%", 1),
        ("latency_p50 > 10.1%", 0),
        ("latency_p50 > 4.9ms", 1),
        ("latency_p50 > 5.1ms", 0),
        ("state_mb > 1000%", 1),
        ("train_flops > 0.9 GFLOP", 1),
        ("train_flops > 1.1 GFLOP", 0),
        ("train_flops > 1.1", 1),
        ("heads > 0", 2),
    ],
)
def test_a_condition_is_on_the_mean_in_its_unit(said: str, code: int, cli: Cli, tmp_path: Path) -> None:
    a = output(tmp_path / "a", {"naive": [0.5, 0.5]}, latency_p50_ms=50, state_mb=0, train_flops=1e9)
    b = output(tmp_path / "b", {"naive": [0.47, 0.49]}, latency_p50_ms=55, state_mb=0.1, train_flops=2e9)
    answer = cli("compare", a, b, "--fail-on", said)
    assert answer.code == code, answer
    if code == 1:
        assert "naive: " in answer.err and "B - A = " in answer.err


def test_a_sentence_says_whether_the_seeds_tell_it_from_chance(cli: Cli, tmp_path: Path) -> None:
    few = [output(tmp_path / name, {"naive": values}) for name, values in (("a", [0.5] * 3), ("b", [0.4] * 3))]
    answer = cli("compare", *few, "--fail-on", "accuracy_last < -1pp")
    assert "-10.00 pp" in answer.err and "3 paired seeds cannot tell it from chance: 6 are needed" in answer.err
    many = [output(tmp_path / name, {"naive": values}) for name, values in (("c", [0.5] * 6), ("d", [0.4] * 6))]
    assert "beyond chance, p = 0.031 over 6" in cli("compare", *many, "--fail-on", "accuracy_last < -1pp").err
    up_and_down = output(tmp_path / "e", {"naive": [0.3, 0.6, 0.3, 0.6, 0.3, 0.6]})
    answer = cli("compare", many[0], up_and_down, "--fail-on", "accuracy_last < -1pp")
    assert answer.code == 1 and "not beyond chance" in answer.err


def test_p_is_corrected_for_the_number_of_strategies(tmp_path: Path) -> None:
    """Of three strategies with one difference in every seed, p of each is 2 / 2^6, times three by Holm's method."""
    labels = ("one", "two", "three")
    a = output(tmp_path / "a", {label: [0.5] * 6 for label in labels})
    b = output(tmp_path / "b", {label: [0.4] * 6 for label in labels}, latency_p50_ms=3)
    frame = compare_outputs(a, b)
    assert frame.p.tolist() == pytest.approx([3 * 2 / 64] * 3) and set(frame.metric) == {"accuracy_last"}
    assert compare_outputs(a, output(tmp_path / "c", {"one": [0.4] * 6})).p.tolist() == pytest.approx([2 / 64])


@pytest.mark.parametrize("cpu", ["another", ""])
def test_times_of_different_machines_are_not_compared(cpu: str, cli: Cli, tmp_path: Path) -> None:
    measured = dict.fromkeys(TIMES, 1.0)
    a = output(tmp_path / "a", {"naive": [0.5]}, state_mb=1, **measured)
    b = output(tmp_path / "b", {"naive": [0.5]}, cpu, state_mb=1, **measured)
    answer = cli("compare", a, b)
    told = "different machines (one, 2 cores and another, 2 cores)" if cpu else "does not say on which machine"
    assert answer.code == 0 and told in answer.err and "latency_p50_ms" in answer.err
    assert [line.split()[1] for line in answer.out.splitlines()[1:]] == ["accuracy_last", "state_mb"]
    for metric in TIMES:
        refused(cli("compare", a, b, "--fail-on", f"{metric} > 10%"), metric, told, "--any-machine")
    assert cli("compare", a, b, "--fail-on", "state_mb > 10%").code == 0
    anyhow = cli("compare", a, b, "--any-machine", "--fail-on", "latency_p50 > 10%")
    assert anyhow.code == 0 and set(TIMES) <= set(anyhow.out.split()) and not anyhow.err
    here = cli("compare", a, output(tmp_path / "c", {"naive": [0.5]}, **measured), "--fail-on", "latency_p50 > 10%")
    assert here.code == 0 and "latency_p50_ms" in here.out


def test_accuracies_are_read_beside_numbers_of_operations(cli: Cli, tmp_path: Path) -> None:
    a, b = (output(tmp_path / name, {"naive": [0.125]}, macs=125_362_688.0) for name in "ab")
    printed = cli("compare", a, b).out
    assert " 0.125 " in printed and " 125362688 " in printed and not re.search(r"\d[eE][-+]\d", printed), printed


def test_each_run_has_the_machine_of_its_own_env_json(cli: Cli, tmp_path: Path) -> None:
    a = output(tmp_path / "a", {"naive": [0.5, 0.5]}, train_seconds=1)
    b = output(tmp_path / "b", {"naive": [0.5, 0.5]}, train_seconds=1)
    assert cli("compare", a, b, "--fail-on", "train_seconds > 1s").code == 0
    (b / "runs" / "naive-1").mkdir(parents=True)
    (b / "runs" / "naive-1" / "env.json").write_text('{"machine": {"cpu": "another", "cores": 2}}')
    refused(cli("compare", a, b, "--fail-on", "train_seconds > 1s"), "different machines")


def test_validation_images_are_not_compared_with_test_images(cli: Cli, tmp_path: Path) -> None:
    a, b = (output(tmp_path / name, {"naive": [0.5]}) for name in "ab")
    (a / "suite.yaml").write_text("evaluation: {split: test}")
    assert cli("compare", a, b).code == 0, "of B it is not stored"
    (b / "suite.yaml").write_text("evaluation: {split: validation}")
    refused(cli("compare", a, b), "a was evaluated on the test split", "b on the validation split")


NAMES = ("a|b", "<script>alert(1)</script>", "x_y*z*", "50 % & more", "`code`", "\u05e9\u05dc\u05d5\u05dd")


def test_the_markdown_summary_is_a_table_that_shows_names_as_they_are(cli: Cli, tmp_path: Path) -> None:
    a = output(tmp_path / "a", {name: [0.5] * 6 for name in NAMES}, state_mb=2)
    b = output(tmp_path / "b", {name: [0.49] * 6 for name in NAMES}, state_mb=2)
    file = tmp_path / "new" / "summary.md"
    answer = cli("compare", a, b, "--fail-on", "accuracy_last < -0.5pp", "--markdown", file)
    text = file.read_text("utf-8")
    assert answer.code == 1 and "accuracy_last" in answer.out
    assert "**Failed** on `accuracy_last < -0.5pp`" in text and "<script>" not in text
    tables = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    cells = [tables[place + 1].content for place, token in enumerate(tables) if token.type == "td_open"]
    shown = [markdown_it.MarkdownIt("commonmark").renderInline(cell).strip("\u2068\u2069") for cell in cells]
    assert [name for name in NAMES if shown.count(escaped(name)) != 3] == [], "one row, and one for each of two metrics"
    assert shown.count("50.00 → 49.00 (−1.00 ± 0.00)") == len(NAMES)
    assert "<details>" in text and "&lt;" in text
    passed = cli("compare", a, b, "--fail-on", "accuracy_last < -2pp", "--markdown", "-")
    assert passed.code == 0 and "**Passed**" in passed.out and passed.out.startswith("### b (B) compared with a (A)")
    assert "nothing is judged" in cli("compare", a, b, "--markdown", "-").out


def escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def test_bold_is_what_is_beyond_chance(cli: Cli, tmp_path: Path) -> None:
    a, b = (output(tmp_path / name, {"naive": [value] * 6}) for name, value in (("a", 0.5), ("b", 0.625)))
    assert "**+12.50 ± 0.00**" in cli("compare", a, b, "--markdown", "-").out
    c, d = (output(tmp_path / name, {"naive": [value] * 5}) for name, value in (("c", 0.5), ("d", 0.625)))
    text = cli("compare", c, d, "--markdown", "-").out
    assert "(+12.50 ± 0.00)" in text and "which needs 6 seeds (it says nothing of other images)" in text


def test_a_long_summary_fits_into_a_comment(cli: Cli, tmp_path: Path) -> None:
    labels = {f"a-strategy-with-a-long-name-{number}": [0.5] for number in range(150)}
    measured = dict.fromkeys(TIMES, 1.0)
    a, b = (output(tmp_path / name, labels, state_mb=1, **measured) for name in "ab")
    text = cli("compare", a, b, "--markdown", "-").out
    assert len(text) < 65_536 and "too long for a comment" in text and "-149 |" in text


def test_a_summary_goes_where_it_can_be_written(cli: Cli, tmp_path: Path) -> None:
    a, b = (output(tmp_path / name, {"naive": [0.5]}) for name in "ab")
    refused(cli("compare", a, b, "--markdown", tmp_path), "--markdown", "folder")
    refused(cli("compare", a, b, "--markdown", tmp_path / "x.html"), "--markdown", ".md")


def spoilt(a: Path, b: Path, share: float) -> Path:
    """A copy of an output of which a share of the last answers is wrong."""
    shutil.copytree(a, b)
    for file in b.glob("runs/*/predictions.npz"):
        with np.load(file) as stored:
            arrays = dict(stored)
        wrong = np.random.default_rng(0).random(arrays["label"].shape) < share
        arrays["predicted"][-1] = np.where(wrong, (arrays["label"] + 1) % 3, arrays["predicted"][-1])
        np.savez(file, **arrays)
    return b


def test_with_few_seeds_the_test_images_tell(finished: Callable[..., Path], cli: Cli, tmp_path: Path) -> None:
    a = finished(tmp_path / "a")
    much, same = spoilt(a, tmp_path / "much", 0.5), spoilt(a, tmp_path / "same", 0)
    for out in (much, same):
        assert cli("report", out).code == 0
    answer = cli("compare", a, much, "--fail-on", "accuracy_last < -1pp", "--markdown", tmp_path / "s.md")
    assert answer.code == 1 and "p_images" in answer.out and "over 3 paired seeds and the test images" in answer.err
    assert "(beyond chance, p = " in answer.err
    assert "a bootstrap over seeds and test images" in (tmp_path / "s.md").read_text("utf-8")
    answer = cli("compare", a, same, "--fail-on", "accuracy_last <= 0")
    assert "not beyond chance, p = 1 over 3 paired seeds and the test images" in answer.err
    (same / "correct.npz").unlink(missing_ok=True)
    for file in same.glob("runs/*/predictions.npz"):
        with np.load(file) as stored:
            arrays = {name: values[..., 1:] for name, values in stored.items()}  # an image less
        np.savez(file, **arrays)
    assert "p_images" not in cli("compare", a, same).out
    for file in same.glob("runs/*/predictions.npz"):
        file.unlink()
    answer = cli("compare", a, same, "--fail-on", "accuracy_last <= 0")
    assert "p_images" not in answer.out and "3 paired seeds cannot tell it from chance" in answer.err
