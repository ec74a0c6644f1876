"""The report's page: one self-contained HTML file on all streams, with the tables and plots of each beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from lorisbench.common.files import write_text
from lorisbench.common.targets import output_folder
from lorisbench.metrics.records import features_in
from lorisbench.metrics.run_data import Metric
from lorisbench.metrics.table import METRICS, SOURCES
from lorisbench.report import (
    bundle,
    facts,
    findings,
    frame,
    gallery,
    kept,
    overview,
    page_data,
    render,
    summary,
    tables,
)
from lorisbench.report.own_metrics import own_metrics
from lorisbench.report.page_data import Part, Together
from lorisbench.report.standing import standing
from lorisbench.report.stored import Stored

if TYPE_CHECKING:
    from lorisbench.report.style import Plot

ENDINGS = ("png", "svg", "pdf", "csv")  # of a plot


def write(
    out: Path, metrics: Mapping[str, Metric] | None = None, inches: float = 0.0, plots: Sequence[str] = ()
) -> Path:
    """Write OUT/report and return its index.html; `metrics`, `inches`, `plots`: see `write_report`.

    Raises InputError as `frame.read` does, and for the name of a plot that there is not.

    The one page is on all streams. The tables and plots of several are in a folder for each, below OUT/report/streams.
    """
    report = out / "report"
    output_folder(report, "report")
    stored_of = frame.read_each(out)
    if len(stored_of) < 2:
        together, parts = None, [_part(stored, report, "", metrics, inches, plots) for stored in stored_of.values()]
    else:
        folders = overview.folders(list(stored_of))
        parts = [
            _part(stored_of[name], report / folder, folder, metrics, inches, plots) for name, folder in folders.items()
        ]
        together = _together(parts, report, inches)
    page = report / "index.html"
    write_text(page, html(out, parts, together))
    return page


def _together(parts: Sequence[Part], report: Path, inches: float) -> Together:
    """Write the table and the plot on several streams together."""
    from lorisbench.report import ranking_plot, style

    streams = {part.stored.stream: (part.stored, part.summary) for part in parts}
    ranking, tested = overview.ranks(streams), overview.ranked(streams)
    render.write_tables([ranking], report / "tables")
    _keep_only({"ranks"}, report / "tables", "md", "tex", "csv")
    saved = []
    if tested is not None:
        with style.plain_style():
            saved.append(style.save(ranking_plot.critical_difference(*tested, inches or style.WIDE), report / "plots"))
    _keep_only({plot.name for plot in saved}, report / "plots", *ENDINGS)
    return Together(ranking, [_told(plot, report / "plots") for plot in saved])


def _part(
    stored: Stored, report: Path, folder: str, metrics: Mapping[str, Metric] | None, inches: float,
    wanted: Sequence[str],
) -> Part:  # fmt: skip
    """Write the tables and plots on one stream into a folder; what the page shows of it."""
    # Matplotlib is slow to import, and of no use to callers that only want the tables.
    from lorisbench.report import drawings, drawn

    means, kept_tables = summary.summarise(stored), kept.read(stored)
    standing(stored)  # before processes begin to draw, each of which would work it out
    planned = drawings.plans(stored, means, kept_tables, inches)
    with drawn.begun(planned, report / "plots", wanted) as finish_plots:
        built = tables.build(stored, means)
        if metrics:
            built.append(own_metrics(stored, means, metrics))
        of_strategies = kept.tables(stored, kept_tables)
        render.write_tables([*built, *of_strategies], report / "tables")
        _keep_only({table.name for table in (*built, *of_strategies)}, report / "tables", "md", "tex", "csv")
        told, heads = findings.headlines(stored, means), gallery.of(stored)
        plots = finish_plots()
    _keep_only({plot.name for plot in plots.written}, report / "plots", *ENDINGS)
    listed = [_told(plot, report / "plots") for plot in plots.written]
    omitted = [*plots.omitted, *kept.left_out(kept_tables)]
    about = facts.collect(stored)
    return Part(stored, means, built, kept_tables, of_strategies, about, told, heads, listed, omitted, folder)


def _told(plot: Plot, folder: Path) -> dict[str, Any]:
    """A plot as the page lists it."""
    return {"name": plot.name, "caption": plot.caption, "endings": _written(folder, plot.name)}


def _written(folder: Path, name: str) -> list[str]:
    """The endings of a plot's files."""
    return [ending for ending in ENDINGS if (folder / f"{name}.{ending}").is_file()]


def _keep_only(names: set[str], folder: Path, *endings: str) -> None:
    """Remove files of an earlier report, of these kinds, that are no longer made."""
    for path in [path for ending in endings for path in folder.glob(f"*.{ending}")]:
        if path.stem not in names and path.is_file():
            path.unlink()


def html(out: Path, parts: Sequence[Part], together: Together | None) -> str:
    """The page's text. Names reach it escaped, or as data that its script inserts as text; nothing is loaded from
    elsewhere, which its own policy forbids."""
    first = parts[0].stored
    scripts = [Markup(bundle.charts()), Markup(bundle.own_script())]
    shown = [_shown(part) for part in parts]
    return render.template("page.html").render(
        title=str(first.suite.get("name") or out.resolve().name),
        description=str(first.suite.get("description") or ""),
        warnings=list(dict.fromkeys(line for part in parts for line in part.stored.warnings)),
        parts=shown,
        # What holds of all streams is said once, above
        common=[text for text in shown[0]["banners"] if all(text in each["banners"] for each in shown)],
        suite=bool(first.suite),
        failures=sum(int(part.stored.runs["status"].isin(["failed", "diverged"]).sum()) for part in parts),
        metrics=[metric for metric in METRICS if metric.in_results or metric.beside_joint],
        sources=SOURCES,
        ranking=together is not None,
        css=Markup(bundle.css()),
        data=Markup(page_data.dumps(page_data.of_parts(parts, together))),
        scripts=scripts,
        hashes=" ".join(f"'sha256-{_digest(text)}'" for text in scripts),
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _shown(part: Part) -> dict[str, Any]:
    """What the page says of a stream in words."""
    stored = part.stored
    banners = []
    if facts.is_synthetic(stored):
        name = str(stored.data.get("name") or "unnamed")
        banners.append((
            f"Synthetic data ({name}), not OpenLORIS",
            "The images were rendered. The figures compare strategies with each other here and say nothing of accuracy "
            "on OpenLORIS-Object.",
        ))  # fmt: skip
    if width := features_in(stored.data):
        banners.append((
            "Features only: no image was seen",
            f"What a backbone elsewhere made of the images was given, {width} numbers for each. Latency is that of the "
            "heads alone, beside one linear head; what a backbone would add is not known.",
        ))  # fmt: skip
    if facts.per_task(stored):
        banners.append((
            "Task-incremental: every image is tested with its task label",
            "Each task has an output layer of its own, and the label chooses it. The figures are not comparable with "
            "those of models that are not told the task.",
        ))  # fmt: skip
    if facts.split(stored) == "validation":
        banners.append((
            "Validation split",
            "The accuracies come from the images that settings are chosen on, not from the test images.",
        ))  # fmt: skip
    return {
        "name": stored.stream,
        "banners": banners,
        "findings": part.findings,
        "facts": part.facts,
        "omitted": part.omitted,
    }
