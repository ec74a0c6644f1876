"""Reports made from a suite's stored files alone: nothing is trained, and nothing that is running is consulted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorisbench.metrics.run_data import RunData


def write_report(out: Path, metrics: Mapping[str, Callable[[RunData], float]] | None = None) -> Path:
    """Write `OUT/report/` (index.html, tables, plots) from the contents of OUT; returns the path of index.html.

    metrics : functions of one's own by name, see `lorisbench.metrics.run_data`.

    Raises `lorisbench.common.errors.InputError` if OUT holds no results, one of its files cannot be read, or a metric
    fails.
    """
    # Pandas, matplotlib and jinja2 take a second to import, and the command line imports this module for its help.
    from lorisbench.report.page import write

    return write(Path(out), metrics or {})
