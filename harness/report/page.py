"""The report's page: one self-contained HTML file, with the tables and plots beside it."""

import base64
from dataclasses import dataclass
from pathlib import Path

from lorisbench.common.files import write_text
from lorisbench.common.targets import output_folder
from lorisbench.metrics.table import of_matrices
from lorisbench.report import facts, findings, frame, render, summary, tables
from lorisbench.report.frame import Stored
from lorisbench.report.style import Drawing, Plot


@dataclass(frozen=True)
class Plots:
    """The plots that were written, and a sentence for each that could not be drawn."""

    matrices: Plot | None
    single: list[Plot]
    others: list[Plot]
    timelines: list[Plot]
    omitted: list[str]


def write(out: Path) -> Path:
    """Write OUT/report and return its index.html. Raises InputError as `frame.read` does."""
    output_folder(out / "report", "report")
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
    """Write all plots there is data for, and remove those left by an earlier report that are no longer made."""
    # Matplotlib is slow to import, and of no use to callers that only want the tables.
    from lorisbench.report import drawings, style

    with style.plain_style():
        drawn = drawings.draw(stored, means)
        kept = {drawing.name: style.save(drawing, folder) for drawing in drawn.all()}
    for path in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        if path.stem not in kept and path.is_file():
            path.unlink()

    def written(of: list[Drawing]) -> list[Plot]:
        return [kept[drawing.name] for drawing in of]

    together = kept[drawn.matrices.name] if drawn.matrices and len(drawn.single) > 1 else None
    return Plots(together, written(drawn.single), written(drawn.others), written(drawn.timelines), drawn.omitted)


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
