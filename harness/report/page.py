"""The report's page: one self-contained HTML file, with the tables and plots beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorisbench.common.files import write_text
from lorisbench.common.targets import output_folder
from lorisbench.metrics.records import features_in
from lorisbench.metrics.run_data import Metric
from lorisbench.metrics.table import of_matrices
from lorisbench.report import facts, findings, frame, kept, overview, render, summary, tables
from lorisbench.report.frame import Stored
from lorisbench.report.kept import Kept
from lorisbench.report.own_metrics import own_metrics

if TYPE_CHECKING:
    from lorisbench.report.drawn import Plots
    from lorisbench.report.style import Plot


def write(
    out: Path, metrics: Mapping[str, Metric] | None = None, inches: float = 0.0, plots: Sequence[str] = ()
) -> Path:
    """Write OUT/report and return its index.html; `metrics`, `inches`, `plots`: see `write_report`.

    Raises InputError as `frame.read` does, and for the name of a plot that there is not.

    Several streams have a report each, below OUT/report/streams, to which the page leads.
    """
    report = out / "report"
    output_folder(report, "report")
    names = frame.streams(out)
    if len(names) < 2:
        return _write(frame.read(out), report, metrics, inches, plots)
    stored = {name: frame.read(out, name) for name in names}
    for name, folder in overview.folders(stored).items():
        _write(stored[name], report / folder, metrics, inches, plots)
    together = {name: (each, summary.summarise(each)) for name, each in stored.items()}
    ranking = overview.ranks(together)
    render.write_tables([ranking], report / "tables")
    _keep_only({"ranks"}, report / "tables", "md", "tex", "csv")
    picture = _draw_ranks(together, report / "plots", inches)
    page = report / "index.html"
    write_text(page, overview.html(out, together, ranking, picture, _embed))
    return page


def _write(
    stored: Stored, report: Path, metrics: Mapping[str, Metric] | None, inches: float, wanted: Sequence[str]
) -> Path:
    """Write the report on one stream into a folder and return its index.html."""
    means = summary.summarise(stored)
    built, kept_tables = tables.build(stored, means), kept.read(stored)
    if metrics:
        built.append(own_metrics(stored, means, metrics))
    of_strategies = kept.tables(stored, kept_tables)
    render.write_tables([*built, *of_strategies], report / "tables")
    _keep_only({table.name for table in (*built, *of_strategies)}, report / "tables", "md", "tex", "csv")
    plots = draw(stored, means, report / "plots", kept_tables, inches, wanted)
    page = report / "index.html"
    write_text(page, html(stored, means, built, plots, kept_tables, of_strategies))
    return page


def _draw_ranks(streams: dict[str, tuple[Stored, summary.Summary]], folder: Path, inches: float) -> Plot | None:
    """Draw the critical-difference diagram of several streams, if there are strategies to be ranked."""
    from lorisbench.report import ranking_plot, style

    tested = overview.ranked(streams)
    picture = None
    if tested is not None:
        with style.plain_style():
            picture = style.save(ranking_plot.critical_difference(*tested, inches or style.WIDE), folder)
    _keep_only({picture.name} if picture else set(), folder, "png", "svg", "pdf", "csv")
    return picture


def _keep_only(names: set[str], folder: Path, *endings: str) -> None:
    """Remove files of an earlier report, of these kinds, that are no longer made."""
    for path in [path for ending in endings for path in folder.glob(f"*.{ending}")]:
        if path.stem not in names and path.is_file():
            path.unlink()


def draw(
    stored: Stored, means: summary.Summary, folder: Path, kept_tables: list[Kept], inches: float = 0.0,
    wanted: Sequence[str] = (),
) -> Plots:  # fmt: skip
    """Write the plots that are wanted and there is data for; remove those of an earlier report."""
    # Matplotlib is slow to import, and of no use to callers that only want the tables.
    from lorisbench.report import drawings, drawn

    plots = drawn.write(drawings.plans(stored, means, kept_tables, inches), folder, wanted)
    written = [
        *plots.single,
        *plots.others,
        *plots.timelines,
        *plots.kept,
        *([plots.matrices] if plots.matrices else []),
    ]
    _keep_only({plot.name for plot in written}, folder, "png", "svg", "pdf", "csv")
    return plots


def html(
    stored: Stored, means: summary.Summary, built: list[tables.Table], plots: Plots,
    kept_tables: list[Kept], of_strategies: list[tables.Table],
) -> str:  # fmt: skip
    """The page's text. Every name is escaped by the template engine; nothing is loaded from elsewhere."""
    failed = stored.runs["status"].isin(["failed", "diverged"])
    up = "../../" if stored.stream else ""
    shown = {each.file: each for each in kept_tables}
    return render.template("page.html").render(
        title=": ".join(filter(None, (str(stored.suite.get("name") or stored.out.resolve().name), stored.stream))),
        stream=stored.stream,
        up=up,
        description=str(stored.suite.get("description") or ""),
        synthetic=facts.is_synthetic(stored),
        data_name=str(stored.data.get("name") or "unnamed"),
        validation=facts.split(stored) == "validation",
        features=features_in(stored.data),
        per_task=facts.per_task(stored),
        headlines=findings.headlines(stored, means),
        facts=facts.collect(stored),
        settings_stored=bool(stored.suite),
        warnings=stored.warnings,
        tables={table.name: table for table in built},
        groups=render.groups,
        plots=plots,
        kept=[(table, kept.links(shown[table.name], up)) for table in of_strategies],
        kept_omitted=kept.left_out(kept_tables),
        kept_plots={plot.name: plot for plot in plots.kept},
        failures=int(failed.sum()),
        columns=summary.COLUMNS,
        others=[each for each in of_matrices() if each.in_results and not each.in_tables],
        embed=_embed,
    )


def _embed(plot: Plot) -> str:
    return "data:image/png;base64," + base64.b64encode(plot.png).decode("ascii")
