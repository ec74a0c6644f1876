"""Plots of strategies against each other: curves, forgetting, latency."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.records import features_in
from lorisbench.report.frame import Matrix, Stored
from lorisbench.report.style import FAINT, GREY, Drawing, Look, Sheet, short, spread
from lorisbench.report.summary import Summary, number

LEADER: dict[str, Any] = {"arrowstyle": "-", "color": FAINT, "lw": 0.8, "shrinkA": 0, "shrinkB": 4}
CROWD = 8
"""With more strategies than this, a plot's intervals are unreadable; only the table then shows them."""


def seen_so_far(matrices: Matrix) -> Matrix:
    """Mean accuracy over the experiences j ≤ i after each i, in per cent: (runs, T, T) → (runs, T)."""
    return np.stack([matrices[:, i, : i + 1].mean(axis=1) for i in range(matrices.shape[1])], axis=1) * 100


def over_orders(stored: Stored) -> str:
    """What a caption says of several orders: experiences of other orders come at the same position."""
    return f" and {len(stored.orders)} orders, by the position in the order" if len(stored.orders) > 1 else ""


def curves(stored: Stored, style: dict[str, Look]) -> Drawing | None:
    """Accuracy over the experiences seen so far, after each one; None if there is no line to draw."""
    lines = {label: seen_so_far(stack) for label in stored.labels if len(stack := stored.stack(label))}
    lines = {label: line for label, line in lines.items() if np.isfinite(line).any()}
    # a line needs two points, and where only the last row was measured there is one
    if not any(np.isfinite(line).any(axis=0).sum() > 1 for line in lines.values()):
        return None
    steps = np.arange(len(stored.names))
    banded = len(lines) <= CROWD
    figure = Sheet(figsize=(max(6.0, 1.6 + 0.62 * len(steps)), max(4.2, 0.6 + 0.2 * len(lines))))
    axes = figure.add_axes((0.1, 0.1, 0.86, 0.86))
    ends, lowest, highest = {}, 100.0, 0.0
    for label, line in lines.items():
        look = style[label]
        intervals = [mean_interval(line[:, i]) for i in steps]
        means = np.array([interval.mean for interval in intervals])
        widths = np.nan_to_num([interval.half_width for interval in intervals])
        if banded and len(line) > 1:
            axes.fill_between(
                steps, means - widths, means + widths, color=look.colour, alpha=0.14, linewidth=0, zorder=1
            )
            lowest, highest = min(lowest, np.nanmin(means - widths)), max(highest, np.nanmax(means + widths))
        axes.plot(
            steps, means, color=look.colour, linestyle=look.line, marker=look.marker, markersize=5,
            markeredgecolor="white", markeredgewidth=0.6, linewidth=1.8, zorder=3,
        )  # fmt: skip
        lowest, highest = min(lowest, np.nanmin(means)), max(highest, np.nanmax(means))
        ends[label] = float(means[np.isfinite(means)][-1])
    margin = max(0.04 * (highest - lowest), 2.5 - (highest - lowest) / 4)
    axes.set_ylim(max(lowest - margin, -1), min(highest + margin, 101))
    axes.set_xlim(-0.25, len(steps) - 0.75)
    axes.set_xticks(*ticks(stored.names), rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlabel("after training on")
    axes.set_ylabel("accuracy on the experiences seen so far (%)")
    axes.grid(axis="y")
    _label_ends(axes, ends, style)
    band = "" if banded else f" With more than {CROWD} strategies the intervals are left to the tables."
    return Drawing(
        figure, "curves",
        "Mean accuracy over all experiences trained so far, after each one: a flat line forgets nothing. "
        f"Lines are means over seeds{over_orders(stored)}, bands 95 % Student-t intervals.{band}",
        "Line plot; at the end: " + "; ".join(f"{label} {number(end, 1)} %" for label, end in ends.items()),
    )  # fmt: skip


def _label_ends(axes: Axes, ends: dict[str, float], style: dict[str, Look]) -> None:
    """Name the lines to the right of the plot; the names do not overlap, and each is tied to its line's end."""
    last = axes.get_xlim()[1] - 0.25
    for (label, end), place in zip(ends.items(), _apart(axes, list(ends.values())), strict=True):
        axes.annotate(
            f"{short(label)}  {number(end, 1)}", xy=(last, end), xytext=(1.02, place),
            textcoords=axes.get_yaxis_transform(), va="center", ha="left", fontsize=9.5, annotation_clip=False,
            color=style[label].text, arrowprops=LEADER | {"color": style[label].colour, "relpos": (0, 0.5)},
        )  # fmt: skip


def _apart(axes: Axes, heights: list[float]) -> list[float]:
    """Heights (data units) moved apart so that a line of text fits at each."""
    low, high = axes.get_ylim()
    points = axes.get_window_extent().height / axes.get_figure(root=True).dpi * 72  # type: ignore[union-attr]
    return [float(height) for height in spread(heights, 12.5 / points * (high - low), low, high)]


def ticks(names: Sequence[str], limit: int = 26) -> tuple[list[int], list[str]]:
    """Tick positions and names, thinned out if there are more experiences than can be named."""
    positions = list(range(0, len(names), max(1, int(np.ceil(len(names) / limit)))))
    return positions, [short(names[position], 22) for position in positions]


def forgetting(stored: Stored, summary: Summary, style: dict[str, Look]) -> Drawing | None:
    """Bars of forgetting with intervals and a dot for each seed; None if it is undefined for all strategies."""
    shown = [label for label in stored.labels if np.isfinite(summary[label]["forgetting_max"].mean)]
    if not shown:
        return None
    figure = Sheet(figsize=(7.6, 1.0 + 0.42 * len(shown)))
    axes = figure.add_axes((0.12, 0.1, 0.78, 0.86))
    for place, label in enumerate(shown):
        look, interval = style[label], summary[label]["forgetting_max"]
        seeds = stored.per_seed(label, "forgetting_max") * 100
        axes.barh(place, interval.mean, height=0.62, color=look.colour, alpha=0.55, linewidth=0)
        if np.isfinite(interval.half_width):
            axes.errorbar(interval.mean, place, xerr=interval.half_width, color="#202124", capsize=3.5, linewidth=1.2)
        axes.scatter(
            seeds,
            np.full(len(seeds), place + 0.0),
            s=20,
            color="white",
            edgecolor="#202124",
            linewidth=0.9,
            zorder=4,
        )
        axes.annotate(
            number(interval.mean, 1), xy=(1.015, place), xycoords=("axes fraction", "data"), va="center",
            fontsize=9.5, annotation_clip=False,
        )  # fmt: skip
    axes.axvline(0, color="#3c4043", linewidth=1)
    axes.set_yticks(range(len(shown)), [short(label) for label in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("forgetting (percentage points; left is better)")
    axes.grid(axis="x")
    return Drawing(
        figure, "forgetting",
        "Forgetting: best earlier accuracy of an experience minus its last one, mean over experiences; "
        "shorter is better, left of zero means that experiences ended better than they ever were. Whiskers are 95 % "
        "intervals, white dots single seeds, figures at the right the means.",
        "Bars; "
        + "; ".join(f"{label} {number(summary[label]['forgetting_max'].mean, 1)} points" for label in shown),
    )  # fmt: skip


def latency(stored: Stored, summary: Summary, style: dict[str, Look]) -> Drawing | None:
    """Accuracy against the time of one prediction; None if no strategy has both."""
    keys = ("accuracy_last", "latency_p50_ms")
    shown = [label for label in stored.labels if all(np.isfinite(summary[label][key].mean) for key in keys)]
    if not shown:
        return None
    crowded = len(shown) > CROWD
    figure = Sheet(figsize=(8.2, max(4.8, 0.6 + 0.2 * len(shown))))
    axes = figure.add_axes((0.09, 0.11, 0.88, 0.85))
    points, bars = [], []
    for label in shown:
        look, time, accuracy = style[label], summary[label]["latency_p50_ms"], summary[label]["accuracy_last"]
        x, y = time.mean, accuracy.mean
        points.append((x, y))
        axes.plot(
            x, y, color=look.colour, marker=look.marker, markersize=8, markeredgecolor="white", zorder=4,
            linestyle="none",
        )  # fmt: skip
        if crowded:
            continue
        tail = mean_interval(stored.done(label)["latency_p95_ms"].to_numpy(dtype=float)).mean
        tail = max(float(np.nan_to_num(tail)), x)
        axes.plot([x, tail], [y, y], color=look.colour, linewidth=1, linestyle=":")
        axes.plot([tail], [y], marker="|", color=look.colour, markersize=8)
        across, up = np.nan_to_num([time.half_width, accuracy.half_width])
        axes.errorbar(x, y, xerr=across, yerr=up, color=look.colour, linewidth=1.3, zorder=3)
        bars += [((x - across, y), (max(tail, x + across), y)), ((x, y - up), (x, y + up))]
    times = np.array([x for x, _ in points])
    if times.min() > 0 and times.max() / times.min() > 20:
        axes.set_xscale("log")
    axes.margins(x=0.08, y=0.1)
    axes.set_ylim(max(axes.get_ylim()[0], -1), min(axes.get_ylim()[1], 101))
    bare = [np.median(found["bare_ms"]) for found in stored.latencies.values() if found.get("bare_ms")]
    if bare:
        middle = float(np.median(bare))
        axes.axvline(middle, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        low, high = axes.get_ylim()
        bars.append(((middle, low), (middle, high)))
        axes.annotate(
            "bare head" if features_in(stored.data) else "bare backbone", xy=(middle, 1.01),
            xycoords=("data", "axes fraction"), ha="center", fontsize=9, color=GREY, annotation_clip=False,
        )  # fmt: skip
    axes.set_xlabel("time of one prediction call, median (ms)")
    axes.set_ylabel("accuracy after the last experience (%)")
    axes.grid()
    if crowded:
        _key(axes, points, shown, style)
    else:
        _label_points(figure, axes, points, bars, shown, style)
    bars_told = (
        f"With more than {CROWD} strategies their intervals are left to the tables"
        if crowded
        else "Crosses are 95 % intervals over seeds; dotted whiskers end at the 95th percentile of calls"
    )
    return Drawing(
        figure, "latency",
        f"Accuracy against latency: up and left is better. {bars_told}{_calls(stored)}.",
        "Scatter plot; " + "; ".join(
            f"{label} {number(y, 1)} % at {number(x, 2)} ms"
            for label, (x, y) in zip(shown, points, strict=True)
        ),
    )  # fmt: skip


def _calls(stored: Stored) -> str:
    """How latency was measured, if that is stored."""
    for found in stored.latencies.values():
        known = {key: found[key] for key in ("calls", "batch", "threads") if key in found}
        if len(known) == 3:
            return f" ({known['calls']} calls of batch {known['batch']}, {known['threads']} thread(s))"
    return ""


def _key(axes: Axes, points: list[tuple[float, float]], names: Sequence[str], style: dict[str, Look]) -> None:
    """Markers and names to the right of the plot, each as close as possible to the height of its point."""
    for place, name in zip(_apart(axes, [y for _, y in points]), names, strict=True):
        axes.plot(
            1.03, place, marker=style[name].marker, color=style[name].colour, markersize=7, clip_on=False,
            markeredgecolor="white", transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        axes.annotate(
            short(name), xy=(1.05, place), xycoords=axes.get_yaxis_transform(), va="center", fontsize=9.5,
            color=style[name].text, annotation_clip=False,
        )  # fmt: skip


def _label_points(
    figure: Figure,
    axes: Axes,
    points: list[tuple[float, float]],
    bars: list[tuple[tuple[float, float], tuple[float, float]]],
    names: Sequence[str],
    style: dict[str, Look],
) -> None:
    """Name every point where there is no other name, point or bar, as near to it as there is room."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    scale = figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    pixels = axes.transData.transform(np.array(points))
    taken = [Bbox.from_bounds(x - 6 * scale, y - 6 * scale, 12 * scale, 12 * scale) for x, y in pixels]
    for bar in bars:
        (left, low), (right, high) = axes.transData.transform(np.array(bar))
        taken.append(Bbox.from_extents(left, low - scale, right + scale, high + scale))
    for point, pixel, name in zip(points, pixels, names, strict=True):
        text = axes.text(0, 0, short(name), fontsize=9.5)
        half = np.array(text.get_window_extent(renderer).size) / 2 + scale
        text.remove()
        spots: list[tuple[float, int, np.ndarray, Bbox]] = []
        for radius in (5, 14, 26, 40, 58, 80, 105):
            for angle in np.deg2rad([45, 135, 315, 225, 90, 270, 180, 0, 22, 158, 338, 202]):
                direction = np.array([np.cos(angle), np.sin(angle)])
                centre = pixel + direction * radius * scale + np.sign(np.round(direction, 3)) * half
                box = Bbox([centre - half, centre + half])
                outside = np.less(box.min, frame.min).any() or np.greater(box.max, frame.max).any()
                spots.append(
                    (float(radius) + 60 * box.count_overlaps(taken) + 200 * bool(outside), len(spots), centre, box)
                )
        cost, _, centre, box = min(spots, key=lambda spot: spot[:2])
        taken.append(box)
        # An offset in points from the data point holds at any resolution; one in pixels does not.
        axes.annotate(
            short(name), xy=point, xytext=tuple((centre - pixel) / scale), textcoords="offset points",
            fontsize=9.5, color=style[name].text, va="center", ha="center", zorder=5,
            arrowprops=LEADER if cost > 26 else None,
        )  # fmt: skip
