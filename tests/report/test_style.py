"""Plots as files, cropped as by the tight layout of a figure that Matplotlib saves; names moved apart."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import isotonic_regression

from lorisbench.report import style


def figure(legend: bool) -> style.Sheet:
    sheet = style.Sheet(figsize=(4, 2))
    panels = sheet.subplots(1, 2, sharey=True)
    for panel in panels:
        panel.plot([0, 1, 2], [1, 3, 2], label="a line")
        panel.set_xlabel("what is below, and too long for its panel")
    panels[0].set_ylabel("y")
    if legend:
        sheet.legend(*panels[0].get_legend_handles_labels(), title="by", loc="center left", bbox_to_anchor=(1, 0.5))
    return sheet


@pytest.mark.drawn
@pytest.mark.parametrize("legend", [False, True])
def test_a_saved_plot_is_cropped_to_what_is_drawn(tmp_path: Path, legend: bool) -> None:
    tight = io.BytesIO()
    with style.plain_style():
        figure(legend).savefig(
            tight, format="png", dpi=style.DPI, bbox_inches="tight", pad_inches=style.MARGIN
        )  # fmt: skip
        plot = style.save(style.Drawing(figure(legend), "plot", "", ""), tmp_path)
    ours, theirs = (np.asarray(Image.open(file)) for file in (tmp_path / "plot.png", tight))
    assert np.array_equal(ours, theirs) and plot.png == (tmp_path / "plot.png").read_bytes()
    points = (tmp_path / "plot.svg").read_text().split('width="')[1].partition("pt")[0]
    assert float(points) == pytest.approx(ours.shape[1] * 72 / style.DPI, abs=1)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_names_are_moved_apart_by_least_squares(wanted: list[float]) -> None:
    found = style.spread(wanted, 1.0, -1000, 1000)
    order = np.argsort(wanted, kind="stable")
    nearest = isotonic_regression(np.array(wanted)[order] - np.arange(len(wanted))).x + np.arange(len(wanted))
    assert found[order] == pytest.approx(nearest, abs=1e-9)
