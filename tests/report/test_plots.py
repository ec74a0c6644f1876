"""Plots at the size at which they are printed: letters that can be read, nothing cut off, numbers beside them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from stored_output import Folder, accuracy_matrix

from lorisbench.common.errors import InputError
from lorisbench.report import chosen, drawings, drawn, frame, pareto, style, summary, write_report
from lorisbench.report.drawings import Plan, Plans
from lorisbench.report.stored import Stored

HOSTILE = [
    "<script>alert(1)</script>",
    "a_b%&#$",
    "$x^2$",
    "שלום עולם",
    "مرحبا",
    "a name that is longer than any plot has",
]


def plans_of(stored: Stored, inches: float = 0.0) -> Plans:
    return drawings.plans(stored, summary.summarise(stored), inches=inches)


def answered(folder: Folder, run: str, classes: int, seed: int, scores: bool = True) -> None:
    """Answers of a run to 20 images an experience, two thirds of them right, as sure as they are often right."""
    rng = np.random.default_rng(seed)
    size = 20 * folder.size
    label = rng.integers(classes, size=size)
    predicted = np.where(rng.random(size) < 2 / 3, label, (label + 1) % classes)
    sure = np.full((size, classes), 1 / (3 * (classes - 1)))
    sure[np.arange(size), predicted] = 2 / 3
    arrays = {
        "predicted": np.tile(predicted, (folder.size, 1)).astype(np.int32), "label": label.astype(np.int32),
        "experience": np.repeat(np.arange(folder.size), 20).astype(np.int32),
    }  # fmt: skip
    if scores:
        arrays["scores"] = np.tile(sure, (folder.size, 1, 1)).astype(np.float16)
    np.savez(folder.out / "runs" / run / "predictions.npz", **arrays)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Three strategies on twelve experiences, with answers, scores, and decisions about heads."""
    folder = Folder(tmp_path_factory.mktemp("few") / "out", experiences=12, about=["dnn"])
    for seed in range(2):
        for k, label in enumerate(("dnn", "naive", "keeps-images")):
            matrix = accuracy_matrix(12, 10 * k + seed, 0.7 - 0.1 * k, 0.1 * k)
            run = folder.run(label, seed, matrix, latency_ratio=1.1 - 0.04 * k, state_mb=4.0**k)
            answered(folder, run, 10, seed)
            if label == "dnn":
                rows = [
                    {"experience": 0, "verdict": "base", "head": 0, "gap_0": "", "gap_1": "", "known": 0, "samples": 9}
                ]
                rows += [
                    {"experience": e, "verdict": "expand" if e == 3 else "distill", "head": int(e >= 3), "gap_0": 0.71,
                     "gap_1": 0.83 if e > 3 else "", "known": 5, "samples": 9} for e in range(1, 12)
                ]  # fmt: skip
                folder.decide(run, rows)
    return frame.read(folder.write())


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """26 strategies with names of all kinds in three orders of four experiences, some cells NaN, one without a run."""
    folder = Folder(tmp_path_factory.mktemp("many") / "out", experiences=4)
    for k, label in enumerate([*HOSTILE, *(f"method-{k}" for k in range(19))]):
        for order in range(3):
            matrix = accuracy_matrix(4, 10 * k + order, 0.2 + 0.02 * k, 0.2)
            if label == "method-3":
                matrix[-1, 2] = np.nan
            folder.run(label, 0, matrix, order=order, latency_ratio=1 + 0.01 * k, state_mb=1.5**k)
    folder.run("gone", 0, None, reason="out of memory", order=0)
    return frame.read(folder.write())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Two strategies that cost almost the same, on three experiences; one with two heads."""
    folder = Folder(tmp_path_factory.mktemp("small") / "out", experiences=3)
    for k, label in enumerate(("dnn", "other")):
        run = folder.run(label, 0, accuracy_matrix(3, k, 0.6, 0.1), state_mb=3.6555 + 0.01 * k)
        if not k:
            rows = [{"experience": 0, "verdict": "base", "head": 0, "gap_0": "", "known": 0, "samples": 9}]
            rows += [{"experience": e, "verdict": "expand", "head": e, "gap_0": 0.3, "samples": 9} for e in (1, 2)]
            folder.decide(run, rows)
            shares = [(2, test, head, 0.25) for test in range(3) for head in range(-1, 3)]
            names = ["after_experience", "test_experience", "head", "share"]
            folder.put(run, "answers.csv", pd.DataFrame(shares, columns=names).to_csv(index=False))
    return frame.read(folder.write())


def texts(drawing: style.Drawing) -> Iterator[tuple[Text, Bbox]]:
    """What is written on a plot, and where, in pixels."""
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    drawing.figure.draw(renderer)
    unseen = set()  # ticks beyond the limits of an axis have texts, too
    for axis in (axis for axes in drawing.figure.axes for axis in (axes.xaxis, axes.yaxis)):
        shown = {id(tick) for tick in axis._update_ticks()}
        for tick in (*axis.majorTicks, *axis.minorTicks):
            unseen |= {id(text) for text in (tick.label1, tick.label2) if id(tick) not in shown}
    for text in drawing.figure.findobj(Text):
        box = Text.get_window_extent(text, renderer)  # without the line that leads from an annotation
        if text.get_visible() and text.get_text().strip() and box.width > 0 and id(text) not in unseen:
            yield text, box


@pytest.mark.parametrize("inches", [3.3, 7.0])
@pytest.mark.parametrize("which", ["few", "many", "small"])
def test_letters_have_seven_points_and_overlap_nothing(
    request: pytest.FixtureRequest, which: str, inches: float
) -> None:
    planned = plans_of(request.getfixturevalue(which), inches)
    names = set()
    with style.plain_style():
        for plan in planned.wanted():
            drawing = plan.draw()
            if drawing is None:
                continue
            names.add(plan.name)
            width, height = drawing.figure.get_size_inches()
            assert width <= inches + 1e-6 and height < 9.6, (plan.name, width, height)
            found = list(texts(drawing))
            assert min(text.get_fontsize() for text, _ in found) >= 7, plan.name
            high, wide = drawing.figure.bbox.height, drawing.figure.bbox.width
            for text, box in found:
                cut = min(box.x0, box.y0, wide - box.x1, high - box.y1)
                assert cut > -2, (plan.name, text.get_text(), cut)
            edges = np.array([[box.x0 + 1.5, box.y0 + 1.5, box.x1 - 1.5, box.y1 - 1.5] for _, box in found])
            over = np.minimum(edges[:, None, 2:], edges[None, :, 2:]) - np.maximum(
                edges[:, None, :2], edges[None, :, :2]
            )
            pairs = [(a, b) for a, b in np.argwhere((over > 0).all(axis=2)) if a < b]
            assert not pairs, (plan.name, [(found[a][0].get_text(), found[b][0].get_text()) for a, b in pairs[:5]])
    wanted = {"ranking", "improvement", "curves", "pareto", "ranks", "forgetting", "factors", "matrices"}
    wanted |= {
        "few": {"confusion", "calibration", "matrix_dnn", "timeline_dnn"}, "many": {"orders"}, "small": {"timeline_dnn"}
    }[which]  # fmt: skip
    assert wanted <= names


@pytest.mark.drawn("curves", "matrices")
@pytest.mark.parametrize("inches", [3.3, 7.0])
def test_files_are_as_wide_as_they_are_printed(few: Stored, tmp_path: Path, inches: float) -> None:
    drawn.write(plans_of(few, inches), tmp_path, ["curves", "matrices"])
    for name in ("curves", "matrices"):
        svg = (tmp_path / f"{name}.svg").read_text("utf-8")
        points = re.search(r'width="([\d.]+)pt"', svg)
        assert points and float(points[1]) == pytest.approx(inches * 72, abs=0.01)
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: [^;\"]*?([\d.]+)px", svg)]
        assert sizes and min(sizes) >= 7 and "scale(" not in svg.replace("scale(1)", "").replace("scale(1 -1)", "")
        pdf = (tmp_path / f"{name}.pdf").read_bytes()
        assert b"/Type3" not in pdf and b"/FontFile2" in pdf and b"/CreationDate" not in pdf
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)
        assert box and float(box[1]) == pytest.approx(inches * 72, abs=0.01)
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) == (3 * 12 if name == "curves" else 3 * 144)


@pytest.mark.drawn("curves")
def test_bytes_are_the_same_each_time(few: Stored, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        drawn.write(plans_of(few), tmp_path / folder, ["curves"])
    for kind in style.FILES:
        one, other = ((tmp_path / folder / f"curves.{kind}").read_bytes() for folder in ("a", "b"))
        assert one == other, kind


def test_numbers_beside_a_plot_are_those_of_its_lines(few: Stored) -> None:
    with style.plain_style():
        made = {plan.name: plan.draw() for plan in plans_of(few).wanted(["curves", "factors", "orders", "confusion"])}
    curves = made["curves"]
    assert curves is not None and made["orders"] is None, "there is one order"
    for label in few.labels:
        own = curves.data[curves.data["strategy"] == label]
        stack = few.stack(label)
        assert own["mean"].iloc[5] == pytest.approx(100 * stack[:, 5, :6].mean())
        assert any(np.allclose(line.get_ydata(), own["mean"]) for line in curves.figure.axes[0].lines)
    factors = made["factors"]
    assert factors is not None
    row = factors.data[(factors.data["strategy"] == "dnn") & (factors.data["factor"] == "pixel")]
    assert row["mean"].tolist() == pytest.approx((100 * few.stack("dnn")[:, -1, 6:9].mean(axis=0)).tolist())
    confusion = made["confusion"]
    assert confusion is not None and set(confusion.data["strategy"]) == {"dnn", "naive"}
    assert confusion.data.groupby("strategy")["images"].sum().tolist() == [2 * 12 * 20] * 2


def test_a_model_as_sure_as_it_is_right_is_calibrated(few: Stored) -> None:
    with style.plain_style():
        made = plans_of(few).wanted(["calibration"])[0].draw()
    assert made is not None
    for _, own in made.data.groupby("strategy"):
        assert own["images"].sum() == 480 and own["confidence"].tolist() == pytest.approx([200 / 3], abs=0.05)
        assert own["accuracy"].iloc[0] == pytest.approx(200 / 3, abs=6)


def test_at_most_eight_strategies_are_told_apart_among_them_the_subject_the_best_and_the_worst(many: Stored) -> None:
    means = summary.summarise(many)
    found = chosen.chosen(many, means)
    known = {k: v["accuracy_last"].mean for k, v in means.items() if np.isfinite(v["accuracy_last"].mean)}
    assert len(found) == 8 and {max(known, key=known.__getitem__), min(known, key=known.__getitem__)} <= set(found)
    many.suite["about"] = ["method-7"]
    try:
        assert "method-7" in chosen.chosen(many, means)
    finally:
        del many.suite["about"]
    with style.plain_style():
        curves = plans_of(many).wanted(["curves"])[0].draw()
    assert curves is not None and "In grey, without names, the 17 other strategies" in curves.caption
    colours = [line.get_color() for line in curves.figure.axes[0].lines]
    assert colours.count(style.REST) == 17 and len(set(colours)) == 9


def test_colours_can_be_told_apart_with_any_colour_vision() -> None:
    """Distances in CIE Lab as eyes without red or green cones see the palette (Machado et al. 2009, severity 1)."""
    blind = {
        "none": np.eye(3),
        "protan": np.array([
            [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
        ]),
        "deutan": np.array([
            [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
        ]),
    }  # fmt: skip
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    white = to_xyz @ np.ones(3)
    rgb = np.array([to_rgb(colour) for colour in style.COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for name, matrix in blind.items():
        xyz = np.clip(linear @ matrix.T, 0, 1) @ to_xyz.T / white
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.column_stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])])
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(len(lab))
        assert apart.min() > 15, (name, np.unravel_index(apart.argmin(), apart.shape), apart.min())
    assert len(set(style.MARKERS[:8])) == 8, "and each has a marker of its own"


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 4)))
def test_the_front_is_what_no_row_beats(costs: np.ndarray) -> None:
    found = pareto.front(costs)
    for row, own in enumerate(costs):
        beaten = any((other <= own).all() and (other < own).any() for other in costs)
        assert found[row] == (not beaten)


def test_unknown_plots_are_input_errors_and_wanted_ones_are_the_only_ones(few: Stored, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no plot 'curvs'; did you mean 'curves'"):
        write_report(few.out, plots=["curvs"])
    drawn.write(plans_of(few), tmp_path, ["forgetting"])
    assert {path.stem for path in tmp_path.iterdir()} == {"forgetting"}


def test_matrices_of_single_strategies_are_drawn_when_they_are_asked_for(many: Stored) -> None:
    planned = plans_of(many)
    assert not any(plan.name.startswith("matrix_") for plan in planned.wanted())
    assert any("`lorisbench report OUT --plots all`" in sentence for sentence in planned.omitted)
    assert sum(plan.name.startswith("matrix_") for plan in planned.wanted(["all"])) == 25
    assert [plan.name for plan in planned.wanted(["matrix_method-4"])] == ["matrix_method-4"]


@pytest.mark.parametrize("damage", ["not a file of arrays", "other shapes", "a huge class"])
def test_damaged_answers_are_passed_over(tmp_path: Path, damage: str) -> None:
    folder = Folder(tmp_path / "out", experiences=2)
    for k, label in enumerate(("whole", "damaged")):
        run = folder.run(label, 0, np.full((2, 2), 0.5 + 0.1 * k))
        answered(folder, run, 4, k)
    file = folder.out / "runs" / run / "predictions.npz"
    if damage == "not a file of arrays":
        file.write_bytes(b"PK\x03\x04")
    else:
        shape = (2, 40) if damage == "a huge class" else (2, 3)
        buffer = io.BytesIO()
        np.savez(buffer, predicted=np.full(shape, 2**31 - 1), label=np.zeros(40, int), scores=np.zeros((1, 2, 3)))
        file.write_bytes(buffer.getvalue())
    with style.plain_style():
        made = {
            plan.name: plan.draw() for plan in plans_of(frame.read(folder.write())).wanted(["confusion", "calibration"])
        }
    for drawing in made.values():
        assert drawing is not None and set(drawing.data["strategy"]) == {"whole"}


def test_processes_draw_what_this_one_would(few: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a plot that a fork draws are there; one that a fork is killed in is drawn here."""
    import os

    planned = [Plan(f"p{k}", lambda: None) for k in range(3)]
    with drawn._forked(planned, tmp_path) as there:
        assert there() == {"p0": None, "p1": None, "p2": None}
    here = os.getpid()

    def killed() -> None:
        if os.getpid() != here:
            os._exit(9)

    monkeypatch.setattr(drawn, "_may_fork", lambda: True)
    monkeypatch.setattr(drawn, "FEW", 0)
    whole = plans_of(few)
    broken = Plans([Plan("p", killed, "nothing"), *whole.wanted(["ranks", "forgetting"])])
    plots = drawn.write(broken, tmp_path)
    assert [plot.name for plot in plots.written] == ["ranks", "forgetting"] and plots.omitted == ["nothing"]
    assert (tmp_path / "ranks.png").is_file() and (tmp_path / "forgetting.csv").is_file()
