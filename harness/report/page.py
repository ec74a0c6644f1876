"""The report's page: one self-contained HTML file, with the tables and plots beside it."""

import base64
from dataclasses import dataclass
from pathlib import Path

from lorisbench.common.files import write_text
from lorisbench.metrics.table import of_matrices
from lorisbench.report import facts, findings, frame, render, summary, tables
from lorisbench.report.frame import Stored
from lorisbench.report.style import Plot


@dataclass(frozen=True)
class Plots:
    """The plots that could be drawn, and a sentence for each that could not."""

    matrices: Plot | None
    single: list[Plot]
    others: list[Plot]
    timelines: list[Plot]
    omitted: list[str]


def write(out: Path) -> Path:
    """Write OUT/report and return its index.html. Raises InputError as `frame.read` does."""
    stored = frame.read(out)
    means = summary.summarise(stored)
    built = tables.build(stored, means)
    report = out / "report"
    render.write_tables(built, report / "tables")
    plots = draw(stored, means, report / "plots")
    page = report / "index.html"
    write_text(page, html(stored, means, built, plots))
    return page


def draw(stored: Stored, means: summary.Summary, folder: Path) -> Plots:
    """Write all plots there is data for, and remove those of an earlier report that are no longer made."""
    # Matplotlib is slow to import, and of no use to who only wants the tables.
    from lorisbench.report import heatmaps, plots, style, timeline

    with style.plain_style():
        looks = style.looks(stored.labels)
        single, together = heatmaps.matrices(stored, folder)
        wanted = {
            "Curves need a finished run with a matrix of two experiences; they are left out.": plots.curves(
                stored, looks, folder
            ),
            "Forgetting is undefined for every strategy, so its plot is left out.": plots.forgetting(
                stored, means, looks, folder
            ),
            "No finished run has a latency, so that plot is left out.": plots.latency(stored, means, looks, folder),
        }
        timelines = timeline.draw(stored, folder)
    others = [plot for plot in wanted.values() if plot is not None]
    omitted = [sentence for sentence, plot in wanted.items() if plot is None]
    kept = {plot.name for plot in (*single, *others, *timelines, *filter(None, [together]))}
    for path in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        if path.stem not in kept:
            path.unlink()
    return Plots(together if len(single) > 1 else None, single, others, timelines, omitted)


def html(stored: Stored, means: summary.Summary, built: list[tables.Table], plots: Plots) -> str:
    """The page's text. Every name is escaped by the template engine; nothing is loaded from elsewhere."""
    failed = stored.runs["status"].isin(["failed", "diverged"])
    return render.template("page.html").render(
        title=str(stored.suite.get("name") or stored.out.resolve().name),
        description=str(stored.suite.get("description") or ""),
        synthetic=facts.is_synthetic(stored),
        data_name=str(stored.data.get("name") or "unnamed"),
        validation=facts.split(stored) == "validation",
        per_task=facts.per_task(stored),
        headlines=findings.headlines(stored, means),
        duels=findings.duels(stored, means),
        facts=facts.collect(stored),
        settings_stored=bool(stored.suite),
        warnings=stored.warnings,
        tables={table.name: table for table in built},
        groups=render.groups,
        plots=plots,
        failures=int(failed.sum()),
        columns=summary.COLUMNS,
        others=[each for each in of_matrices() if each.in_results and not each.in_tables],
        embed=_embed,
    )


def _embed(plot: Plot) -> str:
    return "data:image/png;base64," + base64.b64encode(plot.png).decode("ascii")
