"""Accuracy matrices as coloured cells."""

import re
from collections.abc import Iterable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from lorisbench.report.frame import Matrix, Stored
from lorisbench.report.plots import over_orders, ticks
from lorisbench.report.style import GREY, Drawing, Sheet, short

ANNOTATED = 20
"""Up to this many experiences, cells carry figures; beyond that, they would be too small to read."""
PANELS_ANNOTATED = 9
HOW_TO_READ = (
    "Row: after training on that experience; column: tested on it. Left of the white step are experiences "
    "seen so far, right of it future ones"
)


def file_names(labels: Iterable[str]) -> dict[str, str]:
    """A safe file name (without extension) for each label, distinct even where case does not count."""
    names: dict[str, str] = {}
    used: set[str] = set()
    for label in labels:
        base = re.sub(r"[^A-Za-z0-9.+-]+", "_", label).strip("._")[:80] or "strategy"
        name, count = base, 1
        while name.lower() in used:
            count += 1
            name = f"{base}-{count}"
        used.add(name.lower())
        names[label] = name
    return names


def matrices(stored: Stored) -> tuple[list[Drawing], Drawing | None]:
    """A heat map for each strategy (mean over seeds), and one of all side by side, on one colour scale.

    A strategy without a finished run has none; the second is None if no strategy has one.
    """
    means = {label: stack.mean(axis=0) * 100 for label in stored.labels if len(stack := stored.stack(label))}
    means = {label: matrix for label, matrix in means.items() if np.isfinite(matrix).any()}
    if not means:
        return [], None
    lowest = min(float(np.nanmin(matrix)) for matrix in means.values())
    norm = Normalize(min(10 * np.floor(lowest / 10), 50), 100)
    single = [
        _single(stored, label, matrix, norm, f"matrix_{name}")
        for (label, matrix), name in zip(means.items(), file_names(means).values(), strict=True)
    ]
    return single, _all(stored, means, norm)


def _single(stored: Stored, label: str, matrix: Matrix, norm: Normalize, name: str) -> Drawing:
    size = len(matrix)
    side = float(np.clip(0.44 * size, 1.6, 9))
    figure = Sheet(figsize=(side + 2.4, side + 1.6))
    axes = axes_at(figure, 1.2, 1.2, side, side)
    _cells(axes, matrix, norm, font=9 if size <= 14 else 7)
    _name_axes(axes, stored.names, 9)
    axes.set_title(short(label, 60), fontsize=11, loc="left")
    bar(figure, norm, axes_at(figure, 1.2 + side + 0.15, 1.2, 0.14, side))
    seeds = len(stored.stack(label))
    return Drawing(
        figure,
        name,
        f"{label}: accuracy (%), mean over {seeds} seed{'s' * (seeds != 1)}{over_orders(stored)}. {HOW_TO_READ}.",
        f"Accuracy matrix of {label}; its last row in per cent: " + _listed(matrix[-1]),
    )


def _all(stored: Stored, means: dict[str, Matrix], norm: Normalize) -> Drawing:
    """Small multiples; if there are many, only the single plots show figures in the cells."""
    annotated = len(means) <= PANELS_ANNOTATED and len(stored.names) <= 12
    across = min(len(means), 3 if annotated else 5)
    down = -(-len(means) // across)
    side, gap, top = (3.9, 0.3, 0.4) if annotated else (2.2, 0.25, 0.35)
    if len(stored.names) <= 4:
        side = min(side, 2.2)
    width, height = across * (side + gap), down * (side + top)
    figure = Sheet(figsize=(width + 2, height + 1.5))
    for position, (label, matrix) in enumerate(means.items()):
        row, column = divmod(position, across)
        axes = axes_at(figure, 1.2 + column * (side + gap), 1.2 + (down - 1 - row) * (side + top), side, side)
        _cells(axes, matrix, norm, font=8 if annotated else 0)
        axes.set_title(short(label, 40 if annotated else 24), fontsize=10.5, loc="left", pad=4)
        lowest = position + across >= len(means)
        _name_axes(axes, stored.names, 8.5, left=column == 0, bottom=lowest, limit=26 if annotated else 13, turn=90)
    bar_height = min(height - top, 4.0)
    bar(
        figure,
        norm,
        axes_at(figure, 1.2 + width - gap + 0.2, 1.2 + height - top - bar_height, 0.15, bar_height),
    )
    return Drawing(
        figure,
        "matrices",
        f"Accuracy matrices, means over seeds{over_orders(stored)}, on one colour scale. {HOW_TO_READ}. "
        "Dark columns far below the step are forgotten experiences.",
        "Accuracy matrices of " + ", ".join(means),
    )


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a position given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _cells(axes: Axes, matrix: Matrix, norm: Normalize, font: float) -> None:
    """Coloured cells, figures in a readable colour (`font` 0: none), and the step that marks off the future."""
    size = len(matrix)
    colours = colour_map()
    axes.pcolormesh(np.arange(size + 1) - 0.5, np.arange(size + 1) - 0.5, matrix, cmap=colours, norm=norm)
    axes.set_facecolor("#d0d3d6")
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, pad=4)
    # From the top: down each diagonal cell's right edge, then right along the next one's top edge.
    corners = np.arange(size) + 0.5
    x, y = np.repeat(corners, 2)[:-1], np.concatenate([[-0.5], np.repeat(corners[:-1], 2)])
    axes.plot(x, y, color="black", linewidth=3, solid_joinstyle="miter", zorder=3)
    axes.plot(x, y, color="white", linewidth=1.6, solid_joinstyle="miter", zorder=4)
    if font and size <= ANNOTATED:
        for (row, column), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                colour = ink(colours(norm(value)))
                cell = axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=font, color=colour)
                cell.set_in_layout(False)  # it lies inside the axes: measuring it costs time and changes nothing


def colour_map() -> Colormap:
    """Cividis: even in lightness, and nearly the same to readers with and without colour blindness."""
    return mpl.colormaps["cividis"]


def ink(colour: Sequence[float]) -> str:
    """Black or white, whichever contrasts more with a colour (relative luminance of WCAG 2)."""
    channels = np.asarray(colour[:3], dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.179 else "white"


def _name_axes(
    axes: Axes, names: Sequence[str], size: float, left: bool = True, bottom: bool = True, limit: int = 26,
    turn: int = 45,
) -> None:  # fmt: skip
    """Name the experiences; `turn`: degrees, 90 where a panel has no room to its left."""
    positions, shown = ticks(names, limit)
    # Where there are no names, there are no ticks: they have no length
    axes.set_xticks(
        positions if bottom else [], shown if bottom else [], fontsize=size, rotation=turn, ha="right",
        rotation_mode="anchor", va="center" if turn == 90 else "baseline",
    )  # fmt: skip
    axes.set_yticks(positions if left else [], shown if left else [], fontsize=size)
    if bottom:
        axes.set_xlabel("tested on", color=GREY)
    if left:
        axes.set_ylabel("after training on", color=GREY)


def bar(figure: Figure, norm: Normalize, axes: Axes) -> None:
    bar = figure.colorbar(ScalarMappable(norm, colour_map()), cax=axes)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label("accuracy (%)")
    bar.ax.tick_params(length=2, labelsize=9)


def _listed(values: Matrix) -> str:
    return ", ".join("unknown" if np.isnan(value) else f"{value:.0f}" for value in values)
