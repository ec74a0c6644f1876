"""`lorisbench bench slda` at a tiny size; nothing is timed."""

from __future__ import annotations

import re

import pytest
import torch

from lorisbench.bench import slda as bench_slda


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench_slda, "WIDTH", 6)
    monkeypatch.setattr(bench_slda, "CLASSES", 3)
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


def test_both_ways_are_told(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = bench_slda.measure
    monkeypatch.setattr(bench_slda, "measure", lambda: measure(samples=40, subset=20, rounds=2))
    answer = cli("bench", "slda")
    assert answer.code == 0, answer.err
    _, whole, updates = answer.out.splitlines()
    assert re.search(r"slda: .* 20 of them in one minibatch, .* \(40 features of 6, 3 classes\): .* in 2 pairs", whole)
    assert "updates alone" in updates


def test_other_statistics_than_avalanches_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench_slda.StreamingLDA
    monkeypatch.setattr(bench_slda, "StreamingLDA", lambda classes, shrinkage, _: real(classes, shrinkage, "lda"))
    with pytest.raises(RuntimeError, match="the statistics differ from Avalanche's"):
        list(bench_slda.measure(samples=40, subset=20, rounds=1))
