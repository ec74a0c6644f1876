"""How the plots look, at the size at which they are printed, and how they become files: the same bytes for the same
results."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from lorisbench.common.files import write_bytes, write_text
from lorisbench.report.texts import one_line

# Okabe & Ito's palette, distinguishable with any colour vision; in place of yellow, which is weak on white, Tol's wine.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p")
LINES = ("-", "--", "-.", ":")
GREY = "#5f6368"
FAINT = "#d9dce0"
REST = "#b4b9be"
"""What is drawn in grey so that the rest can be told apart."""
WIDE = 7.0
"""Inches, the text of a page of a two-column paper; a column has 3.3."""
SMALL, TEXT, TITLE = 7.0, 7.5, 8.0
"""Points, the sizes of all letters: no smaller ones are read in print."""
LINE = 8.8
"""Points between the middles of two lines of small letters."""
DPI, MARGIN = 200, 0.03  # of a PNG; inches around what is drawn
FILES = ("png", "svg", "pdf", "csv")

FONT = "DejaVu Sans"
"""Comes with Matplotlib: it has Latin, Greek, Cyrillic, Hebrew and Arabic letters."""
FONTS_FOR_OTHERS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP",
    "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAGothic",
    "Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Noto Sans Devanagari",
    "Noto Sans Thai", "Noto Sans", "Arial Unicode MS", "Unifont",
)  # fmt: skip
"""Those of them that are installed draw the letters that `FONT` lacks."""

SETTINGS: dict[str, Any] = {
    "font.sans-serif": [FONT],
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.labelpad": 3,
    "axes.titlesize": TITLE,
    "axes.titlepad": 4,
    "axes.edgecolor": "#3c4043",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": "#3c4043",
    "ytick.color": "#3c4043",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "grid.color": "#e4e6e9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    # Users name strategies: a dollar sign in a name does not mean mathematics.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lorisbench",
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
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
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with plain_style():
            self.savefig(buffer, format="png", dpi=150)
        return buffer.getvalue()


@dataclass(frozen=True)
class Drawing:
    """A drawn plot: `name` of its files, how to read it (`caption`), what it shows in words (`alternative`, which its
    SVG and PDF carry), and the numbers behind it (`data`)."""

    figure: Figure
    name: str
    caption: str
    alternative: str
    data: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Plot:
    """A written plot: `name` of its files (`FILES`), and how to read it."""

    name: str
    caption: str


@dataclass(frozen=True)
class Theme:
    """How wide plots are, which strategies are told apart (`chosen`, in the suite's order), and the look of each."""

    inches: float
    chosen: list[str]
    looks: dict[str, Look]

    @property
    def narrow(self) -> bool:
        return self.inches < 5


def theme(labels: Sequence[str], chosen: Sequence[str], inches: float = WIDE) -> Theme:
    """A look for each of the chosen strategies, and grey for the others."""
    grey = Look(REST, "o", "-")
    return Theme(inches, list(chosen), dict.fromkeys(labels, grey) | looks(chosen))


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each, by position. The cycles of 8 colours and 11 markers coincide again after 88."""
    return {
        label: Look(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], LINES[k // len(COLOURS) % len(LINES)])
        for k, label in enumerate(labels)
    }


@contextmanager
def plain_style() -> Iterator[None]:
    """Apply the settings above on top of matplotlib's defaults, whatever the user's own matplotlibrc says."""
    with mpl.rc_context(), warnings.catch_warnings():
        # Where no font has it, it is a box in the picture, and a letter in the SVG
        warnings.filterwarnings("ignore", "Glyph .* missing")
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS | {"font.family": fonts()})  # type: ignore[arg-type]
        yield


def fonts() -> list[str]:
    """The fonts in which a letter is looked for, one after the other: `FONT`, and what of the others is installed."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["sans-serif", *(name for name in FONTS_FOR_OTHERS if name in installed)]


def short(name: str, limit: int = 30) -> str:
    """A name shortened for a plot; a long one loses its middle, as variants differ at the end."""
    line = " ".join(one_line(name).split())
    if len(line) <= limit:
        return line
    tail = limit // 2 - 1
    return f"{line[: limit - tail - 1]}…{line[-tail:]}"


def save(drawing: Drawing, folder: Path) -> Plot:
    """Write NAME.png, NAME.svg (text as text), NAME.pdf and NAME.csv, without dates."""
    figure, told = drawing.figure, one_line(drawing.alternative)
    figure.set_dpi(DPI)
    png, svg, pdf = io.BytesIO(), io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Description": told, "Date": None, "Creator": None})
    FigureCanvasPdf(figure).print_pdf(
        pdf, metadata={"Subject": told, "CreationDate": None, "Creator": None, "Producer": None}
    )
    for kind, image in (("png", png), ("svg", svg), ("pdf", pdf)):
        write_bytes(folder / f"{drawing.name}.{kind}", image.getvalue())
    write_text(
        folder / f"{drawing.name}.csv", drawing.data.to_csv(index=False, lineterminator="\n", float_format="%.8g")
    )
    return Plot(drawing.name, drawing.caption)


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float, **others: Any) -> Axes:
    """Axes at a position given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up), **others)


def fit(figure: Figure, inches: float, square: bool = False, fill: bool = True) -> None:
    """Give the figure a width, and the height of what is drawn: axes become wider or narrower, and letters stay.

    square : the heights of axes change as their widths do. fill : a figure that needs less becomes as wide, too.
    """
    for _ in range(2):
        by = _stretch(figure, inches, square, fill)
        if abs(by - 1) < 0.04:  # wider axes may have other ticks
            break


def _stretch(figure: Figure, inches: float, square: bool, fill: bool) -> float:
    """As `fit`, by what is drawn now; returns by how much axes became wider."""
    across, up = figure.get_size_inches()
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # in inches
    places = {axes: axes.get_position(original=True).bounds for axes in figure.axes}
    start = min(left * across for left, *_ in places.values())
    end = max((left + width) * across for left, _, width, _ in places.values())
    low = min(bottom * up for _, bottom, _, _ in places.values())
    high = max((bottom + height) * up for _, bottom, _, height in places.values())
    before, after = start - drawn.x0 + MARGIN, drawn.x1 - end + MARGIN
    below, above = low - drawn.y0 + MARGIN, drawn.y1 - high + MARGIN
    if not fill:
        inches = min(inches, before + after + end - start)
    by = max(inches - before - after, 0.3) / (end - start)
    tall = (by if square else 1.0) * (high - low) + below + above
    for axes, (left, bottom, width, height) in places.items():
        rise = by if square else 1.0
        axes.set_position((
            (before + by * (left * across - start)) / inches, (below + rise * (bottom * up - low)) / tall,
            by * width * across / inches, rise * height * up / tall,
        ))  # fmt: skip
    figure.set_size_inches(inches, tall)
    return by


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
