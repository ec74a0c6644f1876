"""Tables that plugins keep are in the report by themselves, and plotted where a hint says how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored_output import Folder, data_of

from lorisbench.report import write_report
from lorisbench.runs.directory import RunDirectory

HINT = {"routing": {"x": "experience", "y": "accuracy", "by": "head"}}


def routing(seed: int, rows: int = 4, **more: Any) -> list[dict[str, Any]]:
    return [
        {"experience": k, "head": k % 2, "accuracy": 0.123456789 + 0.1 * seed + k / 10, **more} for k in range(rows)
    ]


class Plugin:
    """As a plugin is asked for its tables."""

    def __init__(self, tables: Any, hints: Any) -> None:
        self.tables, self.table_plots = tables, hints


def suite(tmp_path: Path, tables: Any, hints: Any = None, labels: tuple[str, ...] = ("router", "other")) -> Folder:
    """Two seeds of each label, with tables and hints as a run writes them; `tables` makes them from the seed."""
    folder = Folder(tmp_path / "out", experiences=2)
    for label in labels:
        for seed in (0, 1):
            run = folder.run(label, seed, np.full((2, 2), 0.5))
            RunDirectory(folder.out / "runs" / run).write_tables([Plugin(tables(seed), hints)])
    return folder


def page_of(folder: Folder, monkeypatch: pytest.MonkeyPatch, render_only: Any) -> str:
    render_only(monkeypatch, ("kept_routing",))
    return write_report(folder.write()).read_text()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, render_only: Any) -> Any:
    return lambda folder: page_of(folder, monkeypatch, render_only)


@pytest.mark.drawn
def test_a_table_is_shown_with_its_plot_for_all_strategies_and_seeds(tmp_path: Path, page: Any) -> None:
    folder = suite(tmp_path, lambda seed: {"routing": routing(seed)}, HINT)
    (shown,) = data_of(page(folder))["streams"][0]["kept"]
    assert len(shown["rows"]) == 2 * 2 * 4 and "0.12346" in shown["rows"][0]
    assert shown["hint"] == HINT["routing"]
    assert {(label, line) for label, line, *_ in shown["lines"]} == {(a, b) for a in ("router", "other") for b in "01"}
    assert len(shown["links"]) == 4
    for _, target in shown["links"]:
        assert (folder.out / "report" / target).is_file() and target.endswith("/routing.csv")
    whole = pd.read_csv(folder.out / "report/tables/kept_routing.csv")
    assert whole.run_id.nunique() == 4 and len(whole) == 16 and whole.accuracy[0] == 0.123456789
    svg = (folder.out / "report/plots/kept_routing.svg").read_text()
    for word in (">router<", ">other<", ">head<", ">accuracy<", ">experience<"):
        assert word in svg, word


def test_a_long_or_wide_table_shows_its_first_rows(tmp_path: Path, page: Any) -> None:
    wide = {f"column_{k}": k for k in range(40)}
    (shown,) = data_of(page(suite(tmp_path, lambda seed: {"routing": routing(seed, 500, **wide)})))["streams"][0][
        "kept"
    ]
    assert len(shown["rows"]) == 60 and len(shown["heads"]) == 18
    notes = [text for _, text in shown["notes"]]
    assert "The first 15 rows of each run; the file of each run has all of them." in notes
    assert "16 of 43 columns." in notes and "lines" not in shown


@pytest.mark.drawn
def test_names_of_a_table_are_text(tmp_path: Path, page: Any) -> None:
    hostile = "<script>alert(1)</script>"
    rows = [{"$x^2$": hostile, "_by|a": "_one", "y": k, "z" * 500: "w" * 5000} for k in range(2)]
    hints = {"routing": {"x": "$x^2$", "y": "y", "by": "_by|a"}}
    folder = suite(tmp_path, lambda seed: {"routing": rows}, hints, ("a/b & <i>",))
    text = page(folder)
    assert text.count("<script") == 3 and "w" * 100 not in text
    (shown,) = data_of(text)["streams"][0]["kept"]
    assert shown["rows"][0][2] == hostile
    assert r"\_by\|a" in (folder.out / "report/tables/kept_routing.md").read_text()
    assert "_one" in (folder.out / "report/plots/kept_routing.svg").read_text()


def test_hints_that_cannot_be_followed_are_named(tmp_path: Path, page: Any) -> None:
    wrong = {
        "a": ({"x": "experience", "y": "acuracy"}, "there is no column acuracy to plot"),
        "b": ({"x": "experience"}, "a plot needs y"),
        "c": ({"x": "experience", "y": "accuracy", "color": "head"}, "a plot has x, y, by, and no color"),
        "d": ({"x": "experience", "y": "word"}, "the column word holds no numbers"),
    }
    hints = {name: hint for name, (hint, _) in wrong.items()}
    text = page(suite(tmp_path, lambda seed: {name: routing(seed, word="a") for name in wrong}, hints, ("router",)))
    for name, (_, words) in wrong.items():
        assert f"Not plotted: {name}: {words}" in text, name
    assert [table["name"] for table in data_of(text)["streams"][0]["kept"]] == [f"kept_{name}" for name in wrong]


def test_damaged_tables_are_left_out_and_named(tmp_path: Path, page: Any) -> None:
    folder = suite(tmp_path, lambda seed: {"routing": routing(seed)}, HINT)
    damaged = [("routing.csv", "a,b\n1,2\n3,4,5\n"), ("routing.csv", ""), ("tables.json", "{"), ("tables.json", "[1]")]
    for row, (name, content) in zip(folder.rows, damaged, strict=True):
        folder.put(row["run_id"], name, content)
    text = page(folder)
    told = [note for table in data_of(text)["streams"][0]["kept"] for _, note in table["notes"]]
    for row, (name, _) in zip(folder.rows, damaged, strict=True):
        assert any(note.startswith(f"Left out: {row['run_id']}/{name}: ") for note in told), (row, name)
    assert str(tmp_path) not in text


def test_what_the_timeline_shows_is_not_shown_twice(tmp_path: Path, page: Any) -> None:
    decisions = [{"experience": 0, "verdict": "base", "head": 0}, {"experience": 1, "verdict": "expand", "head": 1}]
    (own,) = data_of(page(suite(tmp_path, lambda seed: {"decisions": decisions})))["streams"]
    assert not own["kept"] and len(own["heads"]["strategies"]) == 2
    other = suite(tmp_path / "other", lambda seed: {"decisions": [{"mine": 1}]})
    (own,) = data_of(page(other))["streams"]
    assert [table["name"] for table in own["kept"]] == ["kept_decisions"] and not own["heads"]


def test_a_damaged_table_of_the_timeline_is_named(tmp_path: Path, page: Any) -> None:
    decisions = [{"experience": 0, "verdict": "base", "head": 0}, {"experience": 1, "verdict": "expand", "head": 1}]
    folder = suite(tmp_path, lambda seed: {"decisions": decisions})
    overlong, broken, quoted = (row["run_id"] for row in folder.rows[:3])
    folder.put(overlong, "decisions.csv", "experience,verdict,head\n0,base,0\n1,expand,1,7\n")
    folder.put(broken, "decisions.csv", 'experience,verdict,head\n0,"base,0\n')
    folder.put(quoted, "decisions.csv", 'experience,verdict,head\n0,"base",0\n')
    text = page(folder)
    assert all(f"Left out: {run}/decisions.csv: not a table in CSV" in text for run in (overlong, broken))
    assert f"{quoted}/decisions.csv" not in text and not data_of(text)["streams"][0]["kept"]


def test_a_model_that_could_not_be_had_back_is_told(tmp_path: Path, page: Any) -> None:
    folder = Folder(tmp_path / "out", experiences=2)
    for seed in (0, 1):
        folder.run("router", seed, np.full((2, 2), 0.5), reason="its model cannot be restored: centres")
    assert "router (2 runs): its model cannot be restored: centres." in page(folder)


def test_hints_are_kept_beside_the_tables(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_tables([Plugin({"routing": routing(0)}, HINT), Plugin({}, "no hint"), Plugin({}, {"a": 1})])
    assert json.loads((tmp_path / "tables.json").read_text()) == HINT
