"""How the plots look, and how they become files: the same bytes for the same results."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from lorisbench.common.files import write_bytes

# Okabe & Ito's palette, distinguishable with any colour vision; yellow comes last, as it is weak on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#B8A800")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p")
LINES = ("-", "--", "-.", ":")
GREY = "#5f6368"
FAINT = "#d9dce0"
DPI, MARGIN = 160, 0.12  # of a PNG; inches around what is drawn

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.labelsize": 10.5,
    "axes.edgecolor": "#3c4043",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": "#3c4043",
    "ytick.color": "#3c4043",
    "grid.color": "#e4e6e9",
    "grid.linewidth": 0.8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    # Users name strategies: a dollar sign in a name does not mean mathematics.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lorisbench",
}


@dataclass(frozen=True)
class Look:
    """One strategy's colour, marker and line, the same in every plot."""

    colour: str
    marker: str
    line: str

    @property
    def text(self) -> str:
        """The colour for text, darker because thin strokes need more contrast than areas."""
        return to_hex(0.72 * np.array(to_rgb(self.colour)))  # type: ignore[arg-type]


class Sheet(Figure):
    """A figure that a notebook shows without pyplot, cropped to what is drawn."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with plain_style():
            self.savefig(buffer, format="png", dpi=100, bbox_inches="tight", pad_inches=0.12)
        return buffer.getvalue()


@dataclass(frozen=True)
class Drawing:
    """A drawn plot: `name` of its files, how to read it (`caption`), what it shows in words (`alternative`)."""

    figure: Figure
    name: str
    caption: str
    alternative: str


@dataclass(frozen=True)
class Plot:
    """A written plot: `name` of its two files, how to read it, what it shows in words, its PNG bytes."""

    name: str
    caption: str
    alternative: str
    png: bytes
    width: int
    """Width in CSS pixels at which its text has the intended size (96 pixels per inch)."""


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each strategy, by position. The cycles of 8 colours and 11 markers coincide again after 88."""
    return {
        label: Look(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], LINES[k // len(COLOURS) % len(LINES)])
        for k, label in enumerate(labels)
    }


@contextmanager
def plain_style() -> Iterator[None]:
    """Apply the settings above on top of matplotlib's defaults, whatever the user's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        yield


def short(name: str, limit: int = 30) -> str:
    """A name shortened for a plot; a long one loses its middle, as variants differ at the end."""
    line = " ".join(name.split())
    if len(line) <= limit:
        return line
    tail = limit // 2 - 1
    return f"{line[: limit - tail - 1]}…{line[-tail:]}"


def save(drawing: Drawing, folder: Path) -> Plot:
    """Write NAME.png and NAME.svg (text as text), cropped to what is drawn and without dates; crops the figure, too."""
    figure = drawing.figure
    figure.set_dpi(DPI)
    crop(figure)
    png, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    for kind, image in (("png", png), ("svg", svg)):
        write_bytes(folder / f"{drawing.name}.{kind}", image.getvalue())
    width = int.from_bytes(png.getvalue()[16:20], "big")
    return Plot(drawing.name, drawing.caption, drawing.alternative, png.getvalue(), round(width * 96 / DPI))


def crop(figure: Figure) -> None:
    """Give the figure the size of what is drawn, and a margin.

    `savefig(bbox_inches="tight")` works out the same and lays everything out twice more for each file that it writes.
    """
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(MARGIN)  # in inches
    across, up = figure.get_size_inches()
    for axes in figure.axes:
        left, bottom, width, height = axes.get_position(original=True).bounds
        axes.set_position((
            (left * across - drawn.x0) / drawn.width, (bottom * up - drawn.y0) / drawn.height,
            width * across / drawn.width, height * up / drawn.height,
        ))  # fmt: skip
    for legend in figure.legends:
        anchor = legend.get_bbox_to_anchor().frozen().transformed(figure.dpi_scale_trans.inverted())
        legend.set_bbox_to_anchor(anchor.translated(-drawn.x0, -drawn.y0), figure.dpi_scale_trans)
    figure.set_size_inches(drawn.width, drawn.height)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Positions moved as little as possible (least squares) so that neighbours are `gap` apart in low … high.

    If they do not fit, the gap shrinks until they do. Keeps the order of `positions`; shape as given.
    """
    wanted = np.asarray(positions, dtype=float)
    if len(wanted) == 0:
        return wanted
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    moved = _ascending(wanted[order] - steps)
    result = np.empty(len(wanted))
    result[order] = np.clip(moved, low, high - steps[-1]) + steps
    return result


def _ascending(values: np.ndarray) -> np.ndarray:
    """The ascending numbers nearest to these (least squares): neighbours that descend are replaced by their mean."""
    means: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        means.append(value)
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mean, count = means.pop(), counts.pop()
            together = counts[-1] + count
            means[-1] = (means[-1] * counts[-1] + mean * count) / together
            counts[-1] = together
    return np.repeat(means, counts)
