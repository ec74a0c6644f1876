"""Accuracy matrices as coloured cells."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from lorisbench.report.plots import LETTER, name_x, over_orders, ticks
from lorisbench.report.stored import Matrix, Stored
from lorisbench.report.style import GREY, LINE, SMALL, Drawing, Sheet, Theme, axes_at, fit, short

CELL = 0.2
"""Inches of a cell where there is room."""
DIGITS = {2: 10.0, 3: 14.4}
"""Points of the smallest cell that so many digits fit into."""
PANELS = 24
"""A page has no room for more matrices."""
HOW_TO_READ = (
    "Row: after training on that experience; column: tested on it. Left of the white step are experiences "
    "seen so far, right of it future ones"
)


def means_of(stored: Stored) -> dict[str, Matrix]:
    """The mean accuracy matrix over seeds (and orders) of each strategy that has one, in per cent."""
    means = {label: stack.mean(axis=0) * 100 for label in stored.labels if len(stack := stored.stack(label))}
    return {label: matrix for label, matrix in means.items() if np.isfinite(matrix).any()}


def scale_of(means: dict[str, Matrix]) -> Normalize:
    """One colour scale for all matrices."""
    lowest = min(float(np.nanmin(matrix)) for matrix in means.values())
    return Normalize(min(10 * np.floor(lowest / 10), 50), 100)


def matrix(stored: Stored, means: dict[str, Matrix], label: str, name: str, theme: Theme) -> Drawing:
    """The heat map of one strategy, of those in `means`."""
    norm, values = scale_of(means), means[label]
    size = len(values)
    room = theme.inches - beside(stored.names) - 0.65
    side = float(np.clip(CELL * size, 1.4, min(room, 5.0)))
    figure = Sheet(figsize=(theme.inches, side + 1.6))
    before = beside(stored.names)
    axes = axes_at(figure, before, 1.2, side, side)
    _cells(axes, values, norm, annotated=side * 72 / size >= room_for(values))
    _name_axes(axes, stored.names, side)
    axes.set_title(short(label, int(side * 72 / (LETTER * 1.15))), loc="left")
    bar(figure, norm, axes_at(figure, before + side + 0.08, 1.2, 0.09, side))
    fit(figure, theme.inches, square=True, fill=False)
    seeds = len(stored.stack(label))
    return Drawing(
        figure,
        name,
        f"{label}: accuracy (%), mean over {seeds} seed{'s' * (seeds != 1)}{over_orders(stored)}. {HOW_TO_READ}.",
        f"Accuracy matrix of {label}; its last row in per cent: " + _listed(values[-1]),
        _data({label: values}, stored.names),
    )


def matrices(stored: Stored, means: dict[str, Matrix], theme: Theme) -> Drawing | None:
    """The heat maps of all strategies side by side, on one colour scale; None if there are fewer than two.

    If there are more than a page has room for, those of the chosen strategies and the first of the others.
    """
    if len(means) < 2:
        return None
    norm = scale_of(means)
    first = [*(label for label in theme.chosen if label in means), *means]
    kept = set(list(dict.fromkeys(first))[:PANELS])
    shown = {label: values for label, values in means.items() if label in kept}
    size = len(stored.names)
    most = 3 if theme.narrow else 6 if len(shown) > 15 else 5 if len(shown) > 9 else 3 if size > 8 else 4
    across = min(len(shown), most)
    down = -(-len(shown) // across)
    gap, top = 0.1, 0.19
    before = beside(stored.names)
    room = (theme.inches - before - 0.65 - gap * (across - 1)) / across
    side = min(room, max(CELL * size, 1.0), 2.4)
    width, height = across * (side + gap), down * (side + top)
    figure = Sheet(figsize=(theme.inches, height + 1.5))
    for position, (label, values) in enumerate(shown.items()):
        row, column = divmod(position, across)
        axes = axes_at(figure, before + column * (side + gap), 1.2 + (down - 1 - row) * (side + top), side, side)
        _cells(axes, values, norm, annotated=side * 72 / size >= room_for(values))
        axes.set_title(short(label, max(int(side * 72 / LETTER), 6)), loc="left", pad=2, fontsize=SMALL)
        lowest = position + across >= len(shown)
        _name_axes(axes, stored.names, side, left=column == 0, bottom=lowest)
        if row != (down - 1) // 2 or column:  # once is enough, and a label is longer than a small panel
            axes.set_ylabel("")
        if column != min(across, len(shown) - row * across) // 2:
            axes.set_xlabel("")
    tall = min(height - top, 2.5)
    bar(figure, norm, axes_at(figure, before + width - gap + 0.08, 1.2 + height - top - tall, 0.09, tall))
    fit(figure, theme.inches, square=True, fill=side == room)
    others = f" {len(shown)} of {len(means)} strategies; the CSV file has all." if len(shown) < len(means) else ""
    return Drawing(
        figure,
        "matrices",
        f"Accuracy matrices, means over seeds{over_orders(stored)}, on one colour scale. {HOW_TO_READ}. "
        f"Dark columns far below the step are forgotten experiences.{others}",
        "Accuracy matrices of " + ", ".join(shown),
        _data(means, stored.names),
    )


def _data(means: dict[str, Matrix], names: Sequence[str]) -> pd.DataFrame:
    """A line for each cell."""
    size = len(names)
    after, test = np.indices((size, size))
    whole = pd.DataFrame({"after_experience": after.ravel(), "test_experience": test.ravel()})
    whole["after"], whole["tested_on"] = (np.array(names, dtype=object)[each.ravel()] for each in (after, test))
    return pd.concat([
        whole.assign(strategy=label, accuracy=values.ravel())[["strategy", *whole.columns, "accuracy"]]
        for label, values in means.items()
    ])  # fmt: skip


def _cells(axes: Axes, matrix: Matrix, norm: Normalize, annotated: bool) -> None:
    """Coloured cells, figures in a readable colour if `annotated`, and the step that marks off the future."""
    size = len(matrix)
    colours = colour_map()
    axes.imshow(matrix, cmap=colours, norm=norm, aspect="auto", interpolation="nearest", resample=False)
    axes.set_facecolor("#d0d3d6")
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, pad=2)
    # From the top: down each diagonal cell's right edge, then right along the next one's top edge.
    corners = np.arange(size) + 0.5
    x, y = np.repeat(corners, 2)[:-1], np.concatenate([[-0.5], np.repeat(corners[:-1], 2)])
    axes.plot(x, y, color="black", linewidth=1.6, solid_joinstyle="miter", zorder=3)
    axes.plot(x, y, color="white", linewidth=0.9, solid_joinstyle="miter", zorder=4)
    if annotated:
        for (row, column), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                figure_in(axes, column, row, f"{value:.0f}", ink(colours(norm(value))))


def room_for(values: Matrix) -> float:
    """Points of the smallest cell that these figures, in per cent without decimals, fit into."""
    return DIGITS[3 if np.nanmax(values, initial=0) >= 99.5 else 2]


def figure_in(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """A figure in the middle of a cell."""
    cell = axes.text(x, y, text, ha="center", va="center_baseline", fontsize=SMALL, color=colour)
    cell.set_in_layout(False)  # it lies inside the axes: measuring it costs time and changes nothing


def colour_map() -> Colormap:
    """Cividis: even in lightness, and nearly the same to readers with and without colour blindness."""
    return mpl.colormaps["cividis"]


def ink(colour: Sequence[float]) -> str:
    """Black or white, whichever contrasts more with a colour (relative luminance of WCAG 2)."""
    channels = np.asarray(colour[:3], dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.179 else "white"


def _name_axes(axes: Axes, names: Sequence[str], side: float, left: bool = True, bottom: bool = True) -> None:
    """Name the experiences along a matrix so wide and high, in inches."""
    # Where there are no names, there are no ticks: they have no length
    axes.set_xticks([])
    axes.set_yticks([])
    if bottom:
        name_x(axes, names, side)
        axes.set_xlabel("tested on", color=GREY)
    if left:
        axes.set_yticks(*ticks(names, int(side * 72 / LINE)))
        axes.set_ylabel("after training on", color=GREY)


def beside(names: Sequence[str]) -> float:
    """About how many inches the names along a vertical axis take, with the axis's label."""
    return max((len(short(name, 18)) for name in names), default=0) * LETTER / 72 + 0.2


def bar(figure: Figure, norm: Normalize, axes: Axes, about: str = "accuracy (%)") -> None:
    """The scale of colours, in axes of its own."""
    bar = figure.colorbar(ScalarMappable(norm, colour_map()), cax=axes)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label(about)
    bar.ax.tick_params(length=1.5)


def _listed(values: Matrix) -> str:
    return ", ".join("unknown" if np.isnan(value) else f"{value:.0f}" for value in values)
