"""Plots of strategies against each other: curves, and rows of intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lorisbench.metrics.intervals import Interval, mean_interval
from lorisbench.report.chosen import told
from lorisbench.report.stored import Matrix, Numbers, Stored
from lorisbench.report.style import (
    FAINT,
    GREY,
    LINE,
    REST,
    SMALL,
    Drawing,
    Sheet,
    Theme,
    axes_at,
    fit,
    short,
    spread,
)
from lorisbench.report.summary import Summary, number

LEADER: dict[str, Any] = {"arrowstyle": "-", "color": FAINT, "lw": 0.6, "shrinkA": 0, "shrinkB": 3}
ROWS = 60
"""A page has no room for more rows."""
LETTER = 4.35
"""Points, about the width of a small letter."""


def seen_so_far(matrices: Matrix) -> Matrix:
    """Mean accuracy over the experiences j ≤ i after each i, in per cent: (runs, T, T) → (runs, T)."""
    return np.stack([matrices[:, i, : i + 1].mean(axis=1) for i in range(matrices.shape[1])], axis=1) * 100


def over_orders(stored: Stored) -> str:
    """What a caption says of several orders: experiences of other orders come at the same position."""
    return f" and {len(stored.orders)} orders, by the position in the order" if len(stored.orders) > 1 else ""


def intervals_of(values: Matrix) -> tuple[Numbers, Numbers, Numbers]:
    """Mean, half-width (NaN without one) and number of values of each column, as `mean_interval` has them."""
    found = [mean_interval(column) for column in values.T]
    return (
        np.array([each.mean for each in found]),
        np.array([each.half_width for each in found]),
        np.array([each.n for each in found]),
    )


def curves(stored: Stored, theme: Theme) -> Drawing | None:
    """Accuracy over the experiences seen so far, after each one; None if there is no line to draw."""
    lines = {label: seen_so_far(stack) for label in stored.labels if len(stack := stored.stack(label))}
    lines = {label: line for label, line in lines.items() if np.isfinite(line).any()}
    # a line needs two points, and where only the last row was measured there is one
    if not any(np.isfinite(line).any(axis=0).sum() > 1 for line in lines.values()):
        return None
    steps = np.arange(len(stored.names))
    named = [label for label in theme.chosen if label in lines]
    figure = Sheet(figsize=(theme.inches, 4.5))
    beside = (max((len(short(label, 18)) for label in named), default=0) + 6) * LETTER / 72 + 0.2
    height = max(2.0 if theme.narrow else 2.9, (len(named) + 1) * LINE / 72)
    axes = axes_at(figure, 0.4, 1.0, theme.inches - 0.4 - beside, height)
    found = {label: intervals_of(line) for label, line in lines.items()}
    lowest, highest = 100.0, 0.0
    for label, (means, widths, _) in found.items():
        look = theme.looks[label]
        edges = np.nan_to_num(widths) if label in named else np.zeros(len(steps))
        if label in named and np.isfinite(widths).any():
            axes.fill_between(
                steps, means - edges, means + edges, color=look.colour, alpha=0.13, linewidth=0, zorder=2
            )  # fmt: skip
        lowest, highest = min(lowest, np.nanmin(means - edges)), max(highest, np.nanmax(means + edges))
        if label in named:
            axes.plot(
                steps, means, color=look.colour, linestyle=look.line, marker=look.marker, markeredgecolor="white",
                markeredgewidth=0.4, zorder=4,
            )  # fmt: skip
        else:
            axes.plot(steps, means, color=REST, linewidth=0.7, zorder=1)
    margin = max(0.04 * (highest - lowest), 2.5 - (highest - lowest) / 4)
    axes.set_ylim(max(lowest - margin, -1), min(highest + margin, 101))
    axes.set_xlim(-0.25, len(steps) - 0.75)
    name_x(axes, stored.names, theme.inches - 0.4 - beside)
    axes.set_xlabel("after training on")
    axes.set_ylabel("accuracy, experiences so far (%)" if theme.narrow else "accuracy on the experiences so far (%)")
    axes.grid(axis="y")
    ends = {label: float(found[label][0][np.isfinite(found[label][0])][-1]) for label in lines}
    _label_ends(axes, {label: ends[label] for label in named}, theme)
    fit(figure, theme.inches)
    return Drawing(
        figure, "curves",
        "Mean accuracy over all experiences trained so far, after each one: a flat line forgets nothing. "
        f"Lines are means over seeds{over_orders(stored)}, bands 95 % Student-t intervals."
        + told(theme.chosen, list(lines)),
        "Line plot; at the end: " + "; ".join(f"{label} {number(end, 1)} %" for label, end in ends.items()),
        pd.concat([
            pd.DataFrame({
                "strategy": label, "after_experience": steps, "name": stored.names, "mean": means, "ci95": widths,
                "n": counts,
            })
            for label, (means, widths, counts) in found.items()
        ]),
    )  # fmt: skip


def _label_ends(axes: Axes, ends: dict[str, float], theme: Theme) -> None:
    """Name the lines to the right of the plot; the names do not overlap, and each is tied to its line's end."""
    last = axes.get_xlim()[1] - 0.25
    for (label, end), place in zip(ends.items(), apart(axes, list(ends.values())), strict=True):
        axes.annotate(
            f"{short(label, 18)}  {number(end, 1)}", xy=(last, end), xytext=(1.03, place),
            textcoords=axes.get_yaxis_transform(), va="center", ha="left", fontsize=SMALL, annotation_clip=False,
            color=theme.looks[label].text, arrowprops=LEADER | {"color": theme.looks[label].colour, "relpos": (0, 0.5)},
        )  # fmt: skip


def apart(axes: Axes, heights: list[float]) -> list[float]:
    """Heights (data units) moved apart so that a line of text fits at each."""
    low, high = axes.get_ylim()
    points = axes.get_window_extent().height / axes.get_figure(root=True).dpi * 72  # type: ignore[union-attr]
    return [float(height) for height in spread(heights, LINE / points * (high - low), low, high)]


def ticks(names: Sequence[str], limit: int = 26, letters: int = 18) -> tuple[list[int], list[str]]:
    """Tick positions and names, thinned out if there are more experiences than can be named."""
    positions = list(range(0, len(names), max(1, int(np.ceil(len(names) / max(limit, 1))))))
    return positions, [short(names[position], letters) for position in positions]


def name_x(axes: Axes, names: Sequence[str], inches: float, letters: int = 18) -> None:
    """Name what lies along an axis so wide: across if there is room, else upright, and only some if there is none."""
    at, shown = ticks(names, int(inches * 72 / (LINE + 1)), letters)
    room = inches * 72 / max(len(names), 1) * (at[1] - at[0] if len(at) > 1 else 1)
    if max((len(name) for name in shown), default=0) * LETTER < room - 3:
        axes.set_xticks(at, shown)
    else:
        axes.set_xticks(at, shown, rotation=90, ha="center", va="top")


def legend_columns(names: Sequence[str], theme: Theme) -> int:
    """How many of these names fit beside each other into a legend as wide as the plot."""
    longest = max((len(short(name, 18)) for name in names), default=1)
    return max(1, int(theme.inches * 72 / ((longest + 6) * LETTER)))


@dataclass(frozen=True)
class Row:
    """A row of a plot: an interval (NaN half-width: none), single values as dots, and what is written at the end."""

    label: str
    interval: Interval
    dots: Sequence[float] = ()
    reach: tuple[float, float] | None = None


def rows_plot(rows: Sequence[Row], theme: Theme, about: str, decimals: int = 1, line: float | None = None) -> Sheet:
    """A row for each strategy, the first at the top: mean, interval or reach, single values, the mean in figures.

    line : where an upright line parts better from worse.
    """
    shown = rows[:ROWS]
    figure = Sheet(figsize=(theme.inches, 12))
    before = max(len(short(row.label, 24)) for row in shown) * LETTER / 72 + 0.1
    axes = axes_at(figure, before, 0.6, theme.inches - before - 0.45, len(shown) * 0.152 + 0.06)
    for place, row in enumerate(shown):
        look, mean = theme.looks[row.label], row.interval.mean
        named = row.label in theme.chosen
        if row.reach is not None:
            axes.plot(row.reach, [place, place], color=look.colour, linewidth=1.0, zorder=2)
        elif np.isfinite(row.interval.half_width):
            axes.plot(
                [row.interval.low, row.interval.high], [place, place], color=look.colour, linewidth=1.4, zorder=2,
            )  # fmt: skip
        axes.plot(
            list(row.dots), [place] * len(row.dots), linestyle="none", marker="o", markersize=2.4,
            markerfacecolor="white", markeredgecolor="#3c4043", markeredgewidth=0.5, zorder=3,
        )  # fmt: skip
        axes.plot(mean, place, marker=look.marker if named else "o", color=look.colour, markersize=4.2, zorder=4)
        axes.annotate(
            number(mean, decimals), xy=(1.015, place), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL,
            annotation_clip=False,
        )  # fmt: skip
    if line is not None:
        axes.axvline(line, color=GREY, linewidth=0.7, zorder=1)
    axes.set_yticks(range(len(shown)), [short(row.label, 24) for row in shown])
    for tick, row in zip(axes.get_yticklabels(), shown, strict=True):
        tick.set_color(theme.looks[row.label].text if row.label in theme.chosen else GREY)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(about)
    axes.grid(axis="x")
    axes.margins(x=0.04)
    fit(figure, theme.inches)
    return figure


def left_out(count: int) -> str:
    """What a caption says of rows that a page has no room for."""
    return f" The first {ROWS} of {count}; the CSV file has all." if count > ROWS else ""


def rows_data(rows: Sequence[Row]) -> pd.DataFrame:
    """The numbers behind `rows_plot`: a line for each strategy, single values as value_0, value_1, …"""
    return pd.DataFrame([
        {"strategy": row.label, "mean": row.interval.mean, "ci95": row.interval.half_width, "n": row.interval.n}
        | {f"value_{k}": value for k, value in enumerate(row.dots)}
        for row in rows
    ])  # fmt: skip


def forgetting(stored: Stored, summary: Summary, theme: Theme) -> Drawing | None:
    """Forgetting with its intervals and a dot for each seed, least first; None if it is undefined for all."""
    shown = [label for label in stored.labels if np.isfinite(summary[label]["forgetting_max"].mean)]
    if not shown:
        return None
    rows = [
        Row(label, summary[label]["forgetting_max"], tuple(stored.per_seed(label, "forgetting_max") * 100))
        for label in sorted(shown, key=lambda label: summary[label]["forgetting_max"].mean)
    ]
    return Drawing(
        rows_plot(rows, theme, "forgetting (percentage points; left is better)", line=0), "forgetting",
        "Forgetting: best earlier accuracy of an experience minus its last one, mean over experiences; "
        "left is better, and left of zero experiences ended better than they ever were. Lines are 95 % intervals over "
        f"seeds, white dots single seeds, figures at the right the means.{left_out(len(rows))}",
        "Rows; " + "; ".join(f"{row.label} {number(row.interval.mean, 1)} points" for row in rows),
        rows_data(rows),
    )  # fmt: skip
