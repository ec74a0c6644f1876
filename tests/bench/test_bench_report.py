"""`lorisbench bench report`: that its outputs are whole and its figures are what they say; at tiny sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorisbench.bench import report as bench


@pytest.mark.heavy
def test_many_runs_are_reported_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outs: list[Path] = []

    def here(out: Path) -> dict[str, float]:  # in this process: another one imports torch for seconds
        outs.append(out)
        bench.measure_reporting(str(out))
        table = pd.read_csv(out / "results.csv")
        assert (table.status == "done").all() and table.run_id.is_unique and (out / "report" / "index.html").is_file()
        assert table.accuracy_last.nunique() > 1, "runs answer alike"
        cells = pd.read_csv(out / "matrix.csv")
        assert len(cells) == 3 * 3 * len(table)
        sizes.append((len(table), table.order.nunique(), table.strategy.nunique()))
        return dict(json.loads(capsys.readouterr().out))

    sizes: list[tuple[int, int, int]] = []
    for name, value in {"EXPERIENCES": 3, "KINDS": {"ewc": "ewc_lambda"}, "STRATEGIES": 2, "ORDERS": 2}.items():
        monkeypatch.setattr(bench, name, value)
    monkeypatch.setattr(bench, "in_fresh_process", here)
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path))
    few, orders = bench.measure(counts=(4,), rounds=1)
    assert sizes == [(4, 1, 2), (4, 2, 2)] and not outs[0].exists()
    assert re.match(r"4 runs of 3 x 3: \d+\.\d s of CPU for a report \(imports \d.*status \d.*\), peak \d+ MB$", few)
    assert orders.startswith("4 runs in 2 orders: ")


def test_growth_is_the_slope_of_a_log_log_plot() -> None:
    counts = np.array([250.0, 1000.0, 4000.0])
    assert bench.slope(counts, 3 * counts) == pytest.approx(1)
    assert bench.slope(counts, 2 * counts**1.5) == pytest.approx(1.5)
