"""The notebook of this repository, run from its first cell to its last: nothing fails, and the plots are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "results" / "tour.ipynb"


@pytest.mark.heavy
def test_the_notebook_runs_and_shows_its_plots(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown: dict[str, list[Any]] = {
        cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.source
    }
    plotted = [code for code in shown if code.rstrip().split("\n")[-1].startswith(("results.plot(", "mine.plot("))]
    assert len(plotted) == 3
    for code in plotted:
        assert any("image/png" in output.get("data", {}) for output in shown[code]), code
    (comparison,) = (outputs for code, outputs in shown.items() if code.endswith("\nresults"))
    assert any("<table" in output.get("data", {}).get("text/html", "") for output in comparison)
    said = "".join(output.get("text", "") for outputs in shown.values() for output in outputs)
    assert "Warning" not in said
    assert [path.name for path in tmp_path.iterdir()] == [], "nothing is left beside the notebook"
