"""`lorisbench bench report`: that its outputs are whole and its figures are what they say; at tiny sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lorisbench.bench import many_runs
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
    for name, value in {"EXPERIENCES": 3, "KINDS": {"ewc": "ewc_lambda"}}.items():
        monkeypatch.setattr(many_runs, name, value)
    monkeypatch.setattr(bench, "ORDERS", 2)
    monkeypatch.setattr(bench, "AIMED_AT", 20)
    monkeypatch.setattr(bench, "in_fresh_process", here)
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path))
    seconds, peak, parts, *orders = bench.measure(counts=(20,), rounds=1)
    assert sizes == [(20, 1, 20), (40, 2, 20)] and not outs[0].exists()
    assert seconds.what == "a report on 20 runs of 3 x 3, imports included" and seconds.limit == 5
    assert peak.what == "peak of a report on 20 runs of 3 x 3" and peak.limit == 1 and 0.1 < peak.value < 5
    assert parts.startswith("of which, in s: imports ")
    assert orders[0].what == "a report on 20 runs in 2 orders, imports included" and orders[0].limit is None
