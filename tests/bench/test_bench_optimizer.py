"""`lorisbench bench optimizer` on tiny images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lorisbench.bench import optimizer


def test_the_state_is_kept_and_reset_here_and_in_a_plain_script(
    suite_file: Callable[..., Path], cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = str(suite_file(training={"epochs": 2, "batch_size": 4, "lr": 0.01}))
    measure = optimizer.measure
    monkeypatch.setattr(optimizer, "measure", lambda: measure(suite, seeds=[0]))
    answer = cli("bench", "optimizer")
    assert answer.code == 0, answer.err
    told = [line for line in answer.out.splitlines() if "state" in line]
    figures = [re.findall(r"(\w+) (\d+\.\d)", line) for line in told]
    assert [line.split(":")[1].strip() for line in told] == ["state kept", "state reset"]
    assert [name for name, _ in figures[0]] == ["script", "ReplayPlugin", "replay", "naive", "ewc", "lwf"]
    assert figures[0] != figures[1]
