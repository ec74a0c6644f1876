"""A gate or a check that tests nothing does not pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from answers import refused

from lorisbench.conformance import checks
from lorisbench.conformance.checks import Evidence
from lorisbench.conformance.observe import Observation
from lorisbench.conformance.toy import Toy
from lorisbench.reproduce.verification import Check, largest, smallest


def table(out: Path, **columns: list[Any]) -> Path:
    """An output of two finished strategies under one seed."""
    out.mkdir()
    rows = {"run_id": ["a", "b"], "benchmark": "made", "strategy": ["one", "two"], "seed": 0, "status": "done"}
    pd.DataFrame({**rows, "accuracy_last": [0.5, 0.6], **columns}).to_csv(out / "results.csv", index=False)
    (out / "env.json").write_text('{"machine": {"cpu": "one", "cores": 2}}')
    return out


@pytest.mark.parametrize(
    "expression", ["", " ", ",", "accuracy_last < 0,", " , accuracy_last < 0", "accuracy_last < 1e999"]
)
def test_an_expression_without_a_condition_is_refused(expression: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    a, b = table(tmp_path / "a"), table(tmp_path / "b")
    refused(cli("compare", a, b, "--fail-on", expression), "--fail-on")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([None, None], [None, None], ["latency_p50_ms has no value", "nothing to test"]),
        ([1.0, 1.0], [None, None], ["latency_p50_ms has no value in", "b"]),
        ([None, None], [1.0, 2.0], ["latency_p50_ms has no value in", "a"]),
        ([1.0, 1.0], [1.0, None], ["latency_p50_ms of two was measured in", "a only"]),
        ([1.0, None], [None, 1.0], ["in the same run of both"]),
        ([math.inf, math.inf], [1.0, 1.0], ["nothing to test"]),
    ],
)
def test_a_metric_that_was_not_measured_is_no_gate(
    before: list[Any], after: list[Any], words: list[str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    a, b = table(tmp_path / "a", latency_p50_ms=before), table(tmp_path / "b", latency_p50_ms=after)
    refused(cli("compare", a, b, "--fail-on", "latency_p50_ms > 100"), *words, after=True)
    assert cli("compare", a, b).code == 0
    assert cli("compare", a, b, "--fail-on", "accuracy_last < -0.1").code == 0


def test_what_has_no_value_in_either_output_is_said(cli: Callable[..., Any], tmp_path: Path) -> None:
    a, b = (table(tmp_path / name, latency_p50_ms=[1.0, None]) for name in "ab")
    answer = cli("compare", a, b, "--fail-on", "latency_p50_ms > 100")
    assert answer.code == 0 and "two has no latency_p50_ms in either output: not tested" in answer.err
    assert "same folder" in cli("compare", a, a, "--fail-on", "accuracy_last < 0").err


class Component:
    """What the checks ask of a strategy."""

    state_growth = "constant"

    def replay_limit(self) -> int | None:
        return None

    def remarks(self) -> list[str]:
        return []


@pytest.mark.parametrize("kind", ["failed", "refused", "diverged"])
def test_no_check_passes_where_no_run_got_through(kind: str) -> None:
    seen = [Observation(Toy({"strategy": "mine"}, mode), error="broken", kind=kind) for mode in checks.MODES]
    verdicts = checks.judge(Evidence({"strategy": "mine"}, Component(), seen))
    assert not [name for name, verdict in verdicts.items() if verdict.status == "pass"]
    failed = {name for name, verdict in verdicts.items() if verdict.status == "fail"}
    assert failed == {"losses" if kind == "diverged" else "batches"}


def test_checks_that_need_another_mode_are_not_applicable() -> None:
    """With the runs on features and images broken off, most checks have nothing to look at."""
    seen = [Observation(Toy({"strategy": "mine"}, mode), error="broken", kind="refused") for mode in checks.PLAIN]
    seen += [Observation(Toy({"strategy": "mine"}, "frozen"))]
    verdicts = checks.judge(Evidence({"strategy": "mine"}, Component(), seen))
    for name in ("acts", "repeats", "resumes", "arguments", "batches", "past data", "frozen"):
        assert verdicts[name].status == "not applicable", name


def test_a_control_that_is_no_number_is_none() -> None:
    assert Check("", "", 0.0, 1.0).passed, "a check that has no control"
    assert not Check("", "", 0.0, 1.0, math.nan).passed
    assert math.isnan(largest([])) and math.isnan(largest([1.0, math.nan])) and math.isnan(smallest([math.inf]))
    assert largest([1.0, 2.0]) == 2.0 and smallest([1.0, 2.0]) == 1.0
