"""Plots of the tables that strategies kept, as their hints ask: lines over x, a panel for each strategy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lorisbench.report import kept as of_tables
from lorisbench.report.kept import Kept
from lorisbench.report.plots import LETTER, legend_columns, name_x
from lorisbench.report.style import Drawing, Look, Sheet, Theme, axes_at, fit, looks, short

PANELS, LINES = 6, 12  # panels of a figure, lines of a panel


def plotted(tables: list[Kept]) -> tuple[list[Kept], list[str]]:
    """The tables that have a plot, and a sentence for each hint that cannot be followed."""
    found, omitted = [], []
    for kept in tables[: of_tables.MOST]:
        if faults := list(of_tables.plotted(kept)):
            omitted += [f"Not plotted: {fault}." for fault in faults]
        elif kept.hint and kept.runs and of_tables.values(kept):
            found.append(kept)
    return found, omitted


def draw(kept: Kept, theme: Theme) -> Drawing:
    """The plot of one of the tables that have one."""
    values = of_tables.values(kept)
    labels = list(values)[:PANELS]
    lines = list(dict.fromkeys(name for label in labels for name in values[label]))[:LINES]
    style = looks(lines)
    points = list(dict.fromkeys(x for of in values.values() for runs in of.values() for run in runs for x in run))
    numeric = all(map(_is_number, points))
    points.sort(key=float) if numeric else None
    places = {x: float(x) if numeric else place for place, x in enumerate(points)}
    across = min(2 if theme.narrow else 3, len(labels))
    down = -(-len(labels) // across)
    gap, high = 0.15, 1.5
    width = (theme.inches - 0.5 - gap * (across - 1)) / across
    upright = 0.0 if numeric else 0.8
    figure = Sheet(figsize=(theme.inches, 1.5 + down * (high + 0.5 + upright)))
    panels: list[Axes] = []
    for place, label in enumerate(labels):
        row, column = divmod(place, across)
        low = 0.5 + upright + (down - 1 - row) * (high + 0.5 + upright)
        beside = {"sharey": panels[0]} if panels else {}
        panel = axes_at(figure, 0.5 + column * (width + gap), low, width, high, **beside)
        panels.append(panel)
        _panel(panel, {name: values[label][name] for name in lines if name in values[label]}, places, style)
        panel.set_title(short(label, int(width * 72 / LETTER / 1.1)), loc="left")
        panel.set_xlabel(short(kept.hint["x"]))
        if numeric and all(at == int(at) for at in places.values()):
            panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        if not numeric:
            name_x(panel, points, width)
        if column:
            panel.tick_params(labelleft=False)
        else:
            panel.set_ylabel(short(kept.hint["y"]))
    by = kept.hint.get("by")
    if by and lines != [""]:
        handles = [Line2D([], [], **_looking(style[name])) for name in lines]
        panels[0].legend(
            handles, [short(name, 18) for name in lines], title=short(by), loc="lower left", bbox_to_anchor=(0, 1.14),
            ncols=legend_columns(lines, theme), frameon=False, borderaxespad=0, columnspacing=1, alignment="left",
        )  # fmt: skip
    fit(figure, theme.inches)
    several = any(len(runs) > 1 for of in values.values() for runs in of.values())
    cut = [f"the first {LINES} values of {by}"] if any(len(of) > LINES for of in values.values()) else []
    cut += [f"the first {PANELS} strategies"] if len(values) > PANELS else []
    caption = (
        f"{kept.name}, as the strategy kept it: {kept.hint['y']} over {kept.hint['x']}"
        + (f", a line for each {by}" if by else "")
        + (". Lines are means over runs, bands reach from the lowest run to the highest" if several else "")
        + (f"; {' and '.join(cut)} only" if cut else "")
        + "."
    )
    told = f"Line plot of {kept.hint['y']} over {kept.hint['x']} for {', '.join(labels)}"
    data = [
        {kept.hint["x"]: x, kept.hint["y"]: y, "strategy": label, "run": number} | ({by: name} if by else {})
        for label, of in values.items() for name, runs in of.items() for number, run in enumerate(runs)
        for x, y in run.items()
    ]  # fmt: skip
    return Drawing(figure, kept.file, caption, told, pd.DataFrame(data))


def _panel(panel: Axes, lines: dict[str, Any], places: dict[str, float], style: dict[str, Look]) -> None:
    for name, runs in lines.items():
        at = [x for x in places if any(x in run for run in runs)]
        found = [np.array([run[x] for run in runs if x in run]) for x in at]
        where, look = [places[x] for x in at], style[name]
        if len(runs) > 1:
            low, high = ([fold(each) for each in found] for fold in (np.min, np.max))
            panel.fill_between(where, low, high, color=look.colour, alpha=0.14, linewidth=0)
        panel.plot(where, [each.mean() for each in found], **_looking(look))
    panel.grid(axis="y")


def _looking(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.line, "marker": look.marker}


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
