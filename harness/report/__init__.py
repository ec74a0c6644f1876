"""Reports made from a suite's stored files alone: nothing is trained, and nothing live is asked."""

from pathlib import Path


def write_report(out: Path) -> Path:
    """Write `OUT/report/` (index.html, tables, plots) from what OUT holds; returns the path of index.html.

    Raises `lorisbench.common.errors.InputError` where OUT holds no results or a file of it cannot be read.
    """
    # Pandas, matplotlib and jinja2 cost a second to import, and the command line imports this for its help.
    from lorisbench.report.page import write

    return write(Path(out))
