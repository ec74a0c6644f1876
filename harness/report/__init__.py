"""Reports made from a suite's stored files alone: nothing is trained, and nothing that is running is consulted."""

from pathlib import Path


def write_report(out: Path) -> Path:
    """Write `OUT/report/` (index.html, tables, plots) from the contents of OUT; returns the path of index.html.

    Raises `lorisbench.common.errors.InputError` if OUT holds no results or one of its files cannot be read.
    """
    # Pandas, matplotlib and jinja2 take a second to import, and the command line imports this module for its help.
    from lorisbench.report.page import write

    return write(Path(out))
