"""Plots at the size at which they are printed, with nothing cut off; names moved apart."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from scipy.optimize import isotonic_regression

from lorisbench.report import style


@pytest.mark.parametrize("inches", [3.3, 7.0])
@pytest.mark.parametrize("square", [False, True])
def test_a_plot_is_as_wide_as_it_is_printed_and_nothing_is_cut_off(inches: float, square: bool) -> None:
    with style.plain_style():
        sheet = style.Sheet(figsize=(5, 4))
        panels = [style.axes_at(sheet, left, 1, 1.5, 1.5) for left in (0.5, 2.2)]
        for panel in panels:
            panel.plot([0, 1, 2], [1, 3, 2])
            panel.set_xlabel("what is below")
        panels[1].annotate("a name beside it", xy=(1.02, 0.5), xycoords="axes fraction", annotation_clip=False)
        style.fit(sheet, inches, square=square)
        drawn = sheet.get_tightbbox(FigureCanvasAgg(sheet).get_renderer())
        ratio = panels[0].get_window_extent().height / panels[0].get_window_extent().width
    assert sheet.get_size_inches()[0] == inches
    assert drawn.x0 == pytest.approx(style.MARGIN, abs=0.02) and drawn.x1 == pytest.approx(
        inches - style.MARGIN, abs=0.02
    )
    assert drawn.y0 == pytest.approx(style.MARGIN, abs=0.02)
    assert drawn.y1 == pytest.approx(sheet.get_size_inches()[1] - style.MARGIN, abs=0.02)
    assert (ratio == pytest.approx(1)) == square


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_names_are_moved_apart_by_least_squares(wanted: list[float]) -> None:
    found = style.spread(wanted, 1.0, -1000, 1000)
    order = np.argsort(wanted, kind="stable")
    nearest = isotonic_regression(np.array(wanted)[order] - np.arange(len(wanted))).x + np.arange(len(wanted))
    assert found[order] == pytest.approx(nearest, abs=1e-9)


def test_letters_that_the_font_lacks_are_drawn_in_another_if_one_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [(font.name, FT2Font(font.fname).get_charmap()) for font in fontManager.ttflist]
    dejavu = next(letters for name, letters in installed if name == style.FONT)
    other, letter = next(
        (name, chr(code))
        for name, letters in installed
        if not name.startswith("DejaVu")
        for code in letters
        if code > 255 and code not in dejavu
    )
    monkeypatch.setattr(style, "FONTS_FOR_OTHERS", ("no such font", other))
    with style.plain_style(), warnings.catch_warnings():
        assert style.fonts() == ["sans-serif", other]
        warnings.simplefilter("error")
        sheet = style.Sheet(figsize=(2, 1))
        sheet.text(0.5, 0.5, f"a {letter}")
        FigureCanvasAgg(sheet).draw()
