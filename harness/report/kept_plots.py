"""Plots of the tables that strategies kept, as their hints ask: lines over x, a panel for each strategy."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lorisbench.report import kept as of_tables
from lorisbench.report.kept import Kept
from lorisbench.report.plots import ticks
from lorisbench.report.style import Drawing, Look, Sheet, looks, short

PANELS, LINES, NAMED = 6, 12, 26  # panels of a figure, lines of a panel, and values of x that are named


def draw(tables: list[Kept]) -> tuple[list[Drawing], list[str]]:
    """A plot for each table with a hint, and a sentence for each hint that cannot be followed."""
    drawn, omitted = [], []
    for kept in tables[: of_tables.MOST]:
        if faults := list(of_tables.plotted(kept)):
            omitted += [f"Not plotted: {fault}." for fault in faults]
        elif kept.hint and kept.runs and (values := of_tables.values(kept)):
            drawn.append(_figure(kept, values))
    return drawn, omitted


def _figure(kept: Kept, values: dict[str, Any]) -> Drawing:
    labels = list(values)[:PANELS]
    lines = list(dict.fromkeys(name for label in labels for name in values[label]))[:LINES]
    style = looks(lines)
    points = list(dict.fromkeys(x for of in values.values() for runs in of.values() for run in runs for x in run))
    numeric = all(map(_is_number, points))
    points.sort(key=float) if numeric else None
    places = {x: float(x) if numeric else place for place, x in enumerate(points)}
    across = min(3, len(labels))
    down = -(-len(labels) // across)
    figure = Sheet(figsize=(1.0 + 3.4 * across, 0.8 + 2.7 * down))
    panels = np.atleast_1d(figure.subplots(down, across, sharey=True, squeeze=False)).flatten()
    for panel, label in zip(panels, labels, strict=False):
        _panel(panel, {name: values[label][name] for name in lines if name in values[label]}, places, style)
        panel.set_title(short(label), fontsize=10, loc="left")
        panel.set_xlabel(short(kept.hint["x"]))
        if numeric and all(place == int(place) for place in places.values()):
            panel.xaxis.get_major_locator().set_params(integer=True)
        if not numeric:
            at, named = ticks(points, NAMED)
            panel.set_xticks(at, named, rotation=40, ha="right", rotation_mode="anchor")
    for panel in panels[len(labels) :]:
        panel.set_visible(False)
    for panel in panels[::across]:
        panel.set_ylabel(short(kept.hint["y"]))
    by = kept.hint.get("by")
    figure.tight_layout()
    if by and lines != [""]:
        handles = [Line2D([], [], markersize=4, linewidth=1.5, **_looking(style[name])) for name in lines]
        named = [short(name) for name in lines]
        figure.legend(handles, named, title=short(by), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
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
    return Drawing(figure, kept.file, caption, told)


def _panel(panel: Axes, lines: dict[str, Any], places: dict[str, float], style: dict[str, Look]) -> None:
    for name, runs in lines.items():
        at = [x for x in places if any(x in run for run in runs)]
        found = [np.array([run[x] for run in runs if x in run]) for x in at]
        where, look = [places[x] for x in at], style[name]
        if len(runs) > 1:
            low, high = ([fold(each) for each in found] for fold in (np.min, np.max))
            panel.fill_between(where, low, high, color=look.colour, alpha=0.14, linewidth=0)
        panel.plot(where, [each.mean() for each in found], markersize=4, linewidth=1.5, **_looking(look))
    panel.grid(axis="y")


def _looking(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.line, "marker": look.marker}


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
