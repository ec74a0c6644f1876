"""`lorisbench bench growth`: that each part works at tiny sizes, and that its sizes span enough; nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorisbench.bench import growth


def test_each_growth_is_measured_at_its_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for what, of_size, sizes in growth.FEATURES:
        assert len(sizes) >= 4 and max(sizes) >= 8 * min(sizes), what
        of_size(2)()
    assert min(max(sizes) / min(sizes) for sizes in (growth.STRATEGIES, growth.RUNS)) >= 8


@pytest.mark.heavy
def test_growth_of_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FEATURES": (), "STRATEGIES": (1, 2), "RUNS": (2, 4), "OF_RUNS": 1, "SEEDS": 1}.items():
        monkeypatch.setattr(growth, name, value)
    found = list(growth.measure(rounds=1))
    assert [each.sizes for each in found] == 3 * [(1, 2)] + 3 * [(2, 4)]
