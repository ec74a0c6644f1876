"""The plot of growths: seconds against sizes on logarithmic axes, with the fitted lines."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from lorisbench.bench.measured import Growth
from lorisbench.common.files import write_bytes
from lorisbench.report.style import COLOURS, GREY, plain_style

ACROSS = 3


def draw(growths: Sequence[Growth], file: Path) -> None:
    """Write a PNG with a panel for each growth: all rounds, the fitted line, and dashed one as steep as the limit."""
    down = math.ceil(len(growths) / ACROSS)
    with plain_style():
        figure = Figure(figsize=(4.1 * ACROSS, 3.2 * down), layout="constrained")
        panels = figure.subplots(down, ACROSS, squeeze=False).flatten()
        for axes, growth in zip(panels, growths, strict=False):
            _panel(axes, growth)
        for axes in panels[len(growths) :]:
            axes.set_axis_off()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    write_bytes(file, buffer.getvalue())


def _panel(axes: Axes, growth: Growth) -> None:
    sizes = np.array(growth.sizes, float)
    every, seconds = np.repeat(sizes, [len(each) for each in growth.seconds]), np.concatenate(growth.seconds)
    axes.plot(every, seconds, ".", color=COLOURS[0], alpha=0.5)
    across, up = (np.exp(np.log(values).mean()) for values in (every, seconds))  # where the fitted line passes
    lines = {"-": (growth.value, COLOURS[0]), "--": (growth.limit, GREY)}
    for look, (exponent, colour) in lines.items():
        if exponent is not None:
            axes.plot(sizes, up * (sizes / across) ** exponent, look, color=colour, linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid()
    what, _, against = growth.what.rpartition(", to ")
    title = textwrap.fill(f"{what}: exponent {growth.value:.2f}", 42)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(against)
    axes.set_ylabel("seconds")
