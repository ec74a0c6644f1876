"""The notebooks of this repository, run from first cell to last: nothing fails, and what they are to show is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "results"
Shown = dict[str, list[Any]]


@pytest.fixture
def executed(tmp_path: Path) -> Callable[[str], Shown]:
    """`executed(name)` -> the outputs of each cell with code; nothing warns, and nothing is left beside it."""

    def run(name: str) -> Shown:
        notebook = nbformat.read(FOLDER / name, as_version=4)
        patience = {"timeout": 500, "iopub_timeout": 60}  # without the latter, a busy machine loses outputs
        NotebookClient(
            notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}, **patience
        ).execute()
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
        shown: Shown = {cell.source: cell.outputs for cell in cells}
        said = "".join(output.get("text", "") for outputs in shown.values() for output in outputs)
        assert "Warning" not in said
        assert [path.name for path in tmp_path.iterdir()] == [], "nothing is left beside the notebook"
        return shown

    return run


def with_data(outputs: list[Any], kind: str) -> str:
    """The last of a cell's outputs that has data of this kind, which is after its progress; empty if none has."""
    return next((output["data"][kind] for output in reversed(outputs) if kind in output.get("data", {})), "")


@pytest.mark.heavy
def test_the_tour_runs_and_shows_its_plots(executed: Callable[[str], Shown]) -> None:
    shown = executed("tour.ipynb")
    plotted = [code for code in shown if code.rstrip().split("\n")[-1].startswith(("results.plot(", "mine.plot("))]
    assert len(plotted) == 3
    for code in plotted:
        assert with_data(shown[code], "image/png"), code
    (comparison,) = (outputs for code, outputs in shown.items() if code.endswith("\nresults"))
    assert "<table" in with_data(comparison, "text/html")


@pytest.mark.heavy
def test_why_a_method_fails_is_shown_by_class_head_and_picture(executed: Callable[[str], Shown]) -> None:
    shown = executed("why.ipynb")
    told = {code: with_data(outputs, "text/html") for code, outputs in shown.items()}
    (levels,) = (table for code, table in told.items() if code.startswith("by_level"))
    assert "clutter" in levels and "naive" in levels
    (heads,) = (table for code, table in told.items() if '.groupby("head")' in code)
    assert "<th>8</th>" in heads, "the head of pixel 3, which is experience 8"
    (wrong,) = (table for code, table in told.items() if code.startswith("wrong = "))
    assert "test/pixel/segment" in wrong and "predicted_name" in wrong
    assert [code for code, outputs in shown.items() if with_data(outputs, "image/png")] == [
        code for code in shown if "results.pictures(" in code
    ]
