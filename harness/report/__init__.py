"""Reports made from a suite's stored files alone: nothing is trained, and nothing that is running is consulted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorisbench.metrics.run_data import RunData


def write_report(
    out: Path, metrics: Mapping[str, Callable[[RunData], float]] | None = None, inches: float = 0.0,
    plots: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write `OUT/report/` (index.html, tables, plots) from the contents of OUT; returns the path of index.html.

    Parameters
    ----------
    metrics : functions of one's own by name, see `lorisbench.metrics.run_data`.
    inches : the width at which the plots are to be printed, of a paper's column or page; 0: 7 inches.
    plots : names of the plots that are drawn; all of them if none is given, except matrices of single strategies
        where these are many ("all": these, too).

    Raises `lorisbench.common.errors.InputError` if OUT holds no results, one of its files cannot be read, a metric
    fails, or a plot has no such name.
    """
    # Pandas, matplotlib and jinja2 take a second to import, and the command line imports this module for its help.
    from lorisbench.report.page import write

    return write(Path(out), metrics or {}, inches, plots)
