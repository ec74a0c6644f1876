"""Accuracy against what a prediction costs, in time and in memory: which strategies no other one beats in all three."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from lorisbench.report.chosen import told
from lorisbench.report.latency import shared_interval
from lorisbench.report.plots import LEADER
from lorisbench.report.stored import Stored
from lorisbench.report.style import GREY, REST, SMALL, Drawing, Sheet, Theme, axes_at, fit, short
from lorisbench.report.summary import Summary, number


@dataclass(frozen=True)
class Point:
    """A strategy: accuracy (%), latency (ratio to the bare backbone), memory (MB), and half-widths of the first two."""

    label: str
    accuracy: float
    latency: float
    memory: float
    accuracy_half: float
    latency_half: float


def points(stored: Stored, summary: Summary) -> list[Point]:
    """The strategies that have accuracy and both costs; if none has both, those with one of them, the other NaN."""
    found = []
    for label in stored.labels:
        accuracy, ratio = summary[label]["accuracy_last"], shared_interval(stored, summary, label, "latency_ratio")
        memory = summary[label]["model_mb"].mean + summary[label]["state_mb"].mean
        if np.isfinite(accuracy.mean):
            found.append(Point(label, accuracy.mean, ratio.mean, memory, accuracy.half_width, ratio.half_width))
    whole = [each for each in found if np.isfinite([each.latency, each.memory]).all()]
    timed = [each for each in found if np.isfinite(each.latency)]
    return whole or timed or [each for each in found if np.isfinite(each.memory)]


def front(costs: np.ndarray) -> np.ndarray:
    """Which rows no other row beats: bool (n,), from costs (n, k), lower is better in each column.

    A row is beaten by one that is nowhere worse and somewhere better; equal rows do not beat each other.
    """
    no_worse = (costs[:, None, :] <= costs[None, :, :]).all(axis=2)
    better = (costs[:, None, :] < costs[None, :, :]).any(axis=2)
    beaten = (no_worse & better).any(axis=0)
    return np.logical_not(np.asarray(beaten))


def pareto(stored: Stored, summary: Summary, theme: Theme) -> Drawing | None:
    """Accuracy against latency, and against memory; None if no strategy has all three."""
    found = points(stored, summary)
    if not found:
        return None
    every = {
        "latency (median call / bare backbone's)": [_spot(each, each.latency, each.latency_half) for each in found],
        "memory (model and state, MB)": [_spot(each, each.memory, 0.0) for each in found],
    }
    shown = {title: spots for title, spots in every.items() if np.isfinite([spot.x for spot in spots]).all()}
    costs = [[spot.x for spot in spots] for spots in shown.values()]
    unbeaten = front(np.column_stack([[-each.accuracy for each in found], *costs]))
    best = [each.label for each, is_best in zip(found, unbeaten, strict=True) if is_best]
    figure = Sheet(figsize=(theme.inches, 8))
    panels: list[Axes] = []
    width = theme.inches - 0.45 if theme.narrow else min((theme.inches - 0.65) / len(shown), 4.5)
    for place, (title, spots) in enumerate(shown.items()):
        at = (
            (0.4, 0.6 + 2.4 * (len(shown) - 1 - place), 1.75)
            if theme.narrow
            else (0.4 + place * (width + 0.15), 0.6, 2.7)
        )
        left, low, high = at
        panel = axes_at(figure, left, low, width, high, **({"sharey": panels[0]} if panels else {}))
        panels.append(panel)
        _panel(panel, spots, best, theme)
        panel.set_xlabel(title)
        if theme.narrow or not place:
            panel.set_ylabel("accuracy after the last (%)")
        else:
            panel.tick_params(labelleft=False)
        if title.startswith("latency"):
            panel.axvline(1, color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
    fit(figure, theme.inches, fill=len(shown) > 1 or theme.narrow)
    for panel, spots in zip(panels, shown.values(), strict=True):
        _name(figure, panel, [spot for spot in spots if spot.label in theme.chosen], spots, theme)
    timed = any(title.startswith("latency") for title in shown)
    about = "Latency is the ratio to the bare backbone (dashed). " if timed else "No latency was measured. "
    return Drawing(
        figure, "pareto",
        "Accuracy against what a prediction costs: up and left is better. Filled: no other strategy is at least as "
        "good in accuracy and in each of these costs, and better in one. The stepped line joins the best at each cost "
        f"of one panel; lines are 95 % intervals. {about}".rstrip()
        + told(theme.chosen, [each.label for each in found]),
        "Scatter plots; " + "; ".join(
            f"{each.label} {number(each.accuracy, 1)} %"
            + (f", {number(each.latency, 2)} times the backbone's latency" if np.isfinite(each.latency) else "")
            + (f", {number(each.memory, 1)} MB" if np.isfinite(each.memory) else "")
            for each in found
        ),
        pd.DataFrame([
            {
                "strategy": each.label, "accuracy_last": each.accuracy, "accuracy_last_ci95": each.accuracy_half,
                "latency_ratio": each.latency, "latency_ratio_ci95": each.latency_half, "memory_mb": each.memory,
                "unbeaten": each.label in best,
            }
            for each in found
        ]),
    )  # fmt: skip


@dataclass(frozen=True)
class _Spot:
    """A strategy in a panel: its cost and accuracy, and what their intervals reach to either side."""

    label: str
    x: float
    y: float
    across: float
    up: float


def _spot(point: Point, cost: float, half: float) -> _Spot:
    across, up = np.nan_to_num([half, point.accuracy_half]).tolist()
    return _Spot(point.label, cost, point.accuracy, across, up)


def _panel(axes: Axes, spots: Sequence[_Spot], best: Sequence[str], theme: Theme) -> None:
    costs = [spot.x for spot in spots]
    wide = min(costs) > 0 and max(costs) / min(costs) > 8
    if wide:
        axes.set_xscale("log")
    for spot in spots:
        look, named = theme.looks[spot.label], spot.label in theme.chosen
        if named:
            line: dict[str, Any] = {"color": look.colour, "linewidth": 0.8, "zorder": 3}
            axes.plot([spot.x, spot.x], [spot.y - spot.up, spot.y + spot.up], **line)
            axes.plot([spot.x - spot.across, spot.x + spot.across], [spot.y, spot.y], **line)
        axes.plot(
            spot.x, spot.y, marker=look.marker, markersize=5.5 if named else 3.5, linestyle="none",
            zorder=5 if named else 2, markeredgecolor=look.colour, markeredgewidth=0.9,
            markerfacecolor=look.colour if spot.label in best else "white",
        )  # fmt: skip
    axes.margins(x=0.1, y=0.1)
    if not wide:  # what hardly differs looks as if it hardly did
        low, high = min(spot.x - spot.across for spot in spots), max(spot.x + spot.across for spot in spots)
        reach = 0.6 * (max(high - low, 0.1 * abs(high)) or 1.0)
        axes.set_xlim((low + high) / 2 - reach, (low + high) / 2 + reach)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    flat = front(np.array([(-spot.y, spot.x) for spot in spots]))
    steps = sorted((spot.x, spot.y) for spot, is_best in zip(spots, flat, strict=True) if is_best)
    right = axes.get_xlim()[1]
    x, y = [cost for cost, _ in steps], [accuracy for _, accuracy in steps]
    axes.step([*x, right], [*y, y[-1]], where="post", color=REST, linewidth=1.0, zorder=1)
    axes.set_xlim(right=right)
    axes.set_ylim(max(axes.get_ylim()[0], -1), min(axes.get_ylim()[1], 101))
    axes.grid()
    if wide:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) / min(costs) < 100 else (1,)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())


def _name(figure: Sheet, axes: Axes, named: Sequence[_Spot], spots: Sequence[_Spot], theme: Theme) -> None:
    """Name some of the points where there is no other name, point or line, as near as there is room."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    scale = figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    at = axes.transData.transform(np.array([(spot.x, spot.y) for spot in spots]))
    taken = [Bbox.from_bounds(x - 4 * scale, y - 4 * scale, 8 * scale, 8 * scale) for x, y in at]
    for spot in named:
        corners = [(spot.x - spot.across, spot.y - spot.up), (spot.x + spot.across, spot.y + spot.up)]
        (left, low), (right, high) = axes.transData.transform(corners)
        middle, level = axes.transData.transform((spot.x, spot.y))
        taken += [
            Bbox.from_extents(middle - scale, low, middle + scale, high),
            Bbox.from_extents(left, level - scale, right, level + scale),
        ]
    names: list[Bbox] = []
    for spot in named:
        pixel = axes.transData.transform((spot.x, spot.y))
        text = axes.text(0, 0, short(spot.label, 18), fontsize=SMALL)
        half = np.array(text.get_window_extent(renderer).size) / 2 + 0.5 * scale
        text.remove()
        places: list[tuple[float, int, np.ndarray, Bbox]] = []
        for radius in (4, 10, 18, 28, 40, 55, 75, 100, 130):
            for angle in np.deg2rad([45, 135, 315, 225, 90, 270, 180, 0, 22, 158, 338, 202]):
                direction = np.array([np.cos(angle), np.sin(angle)])
                centre = pixel + direction * radius * scale + np.sign(np.round(direction, 3)) * half
                box = Bbox([centre - half, centre + half])
                outside = np.less(box.min, frame.min).any() or np.greater(box.max, frame.max).any()
                crossed = 60 * box.count_overlaps(taken) + 2000 * box.count_overlaps(names)
                places.append((float(radius) + crossed + 2000 * bool(outside), len(places), centre, box))
        spent, _, centre, box = min(places, key=lambda place: place[:2])
        names.append(box)
        # An offset in points from the data point holds at any resolution; one in pixels does not.
        axes.annotate(
            short(spot.label, 18), xy=(spot.x, spot.y), xytext=tuple((centre - pixel) / scale),
            textcoords="offset points", fontsize=SMALL, color=theme.looks[spot.label].text, va="center", ha="center",
            zorder=6, arrowprops=LEADER if spent > 17 else None,
        )  # fmt: skip
