"""The page of unusual outputs: hostile names, one of everything, a hundred, several streams and orders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import OVERFLOWING, draw_all, heads, needs_chromium, opened, rows, tick
from stored_output import Folder, accuracy_matrix

from lorisbench.report import write_report

pytestmark = [needs_chromium, pytest.mark.usefixtures("no_plots")]
HOSTILE = [
    "<script>alert(1)</script>",
    "a_b%&",
    "</script><img src=x onerror=alert(1)>",
    "اسم",
    "$x^2$",
    "nan",
    "x\u2028y",
    "[1] ~ \\par",
]


def test_names_are_text_wherever_they_stand(browser: Any, tmp_path: Path) -> None:
    made = Folder(tmp_path / "out", 2, description="<b>bold</b>", about=HOSTILE[0])
    for k, label in enumerate(HOSTILE):
        for seed in range(2):
            made.run(label, seed, np.full((2, 2), 0.4 + 0.01 * k + 0.001 * seed), reason="<img src=x>")
    out = made.write()
    experiences = pd.read_csv(out / "experiences.csv")
    experiences["name"] = ["<i>אחת</i>", "a & b_%"]
    experiences.to_csv(out / "experiences.csv", index=False)
    with opened(browser, write_report(out)) as page:
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        draw_all(page)
        shown = [row[0] for row in rows(page, "comparison")]
        assert shown == [label.replace("\u2028", "\u2028") for label in HOSTILE]
        assert heads(page, "experiences")[1:] == ["<i>אחת</i>", "a & b_%"]
        assert page.locator("main img, main b >> text=bold").count() == 0
        page.locator("#comparison tbody button").first.click()
        assert "--strategies '<script>alert(1)</script>'" in page.locator("dialog").inner_text()


def test_one_of_everything_and_what_is_unknown(browser: Any, tmp_path: Path) -> None:
    """One seed, one strategy, one experience; a matrix with holes; nothing finished; nothing but results."""
    single = Folder(tmp_path / "single", 1)
    single.run("naive", 0, np.array([[0.5]]))
    holes = Folder(tmp_path / "holes", 3)
    holes.run("naive", 0, np.array([[0.5, np.nan, 0.1], [np.nan] * 3, [0.4, 0.5, np.nan]]))
    unfinished = Folder(tmp_path / "unfinished", 2)
    unfinished.run("naive", 0, None, reason="gone")
    bare = Folder(tmp_path / "bare", 3)
    bare.run("naive", 0, np.full((3, 3), 0.4))
    bare.write()
    for name in ("suite.yaml", "data.json", "experiences.csv", "matrix.csv"):
        (bare.out / name).unlink()
    told = {single: "Curves need a finished run", holes: "not measured", unfinished: "No finished run", bare: "naive"}
    for made, text in told.items():
        page_file = write_report(made.out if made is bare else made.write())
        with opened(browser, page_file, 360) as page:
            draw_all(page)
            assert text in page.locator("main").inner_text() + page.content()
            assert page.evaluate(OVERFLOWING) == [0, []]
            assert rows(page, "runs")[0][0] == "naive"


def test_a_hundred_strategies_and_a_hundred_experiences(browser: Any, tmp_path: Path) -> None:
    wide = Folder(tmp_path / "wide", 2)
    for k in range(100):
        wide.run(f"a strategy with a rather long name, variant {k}", 0, np.full((2, 2), 0.3 + 0.005 * k))
    with opened(browser, write_report(wide.write()), 360) as page:
        draw_all(page)
        assert len(rows(page, "comparison")) == 50, "a page of them"
        page.locator("#comparison").get_by_role("button", name="Next").click()
        assert rows(page, "comparison")[-1][0].endswith("variant 99")
        assert page.evaluate(OVERFLOWING) == [0, []]
    long = Folder(tmp_path / "long", 100)
    long.run("naive", 0, accuracy_matrix(100, 0, 0.6, 0.3))
    with opened(browser, write_report(long.write()), 1280) as page:
        draw_all(page)
        assert page.locator("#matrices .matrix button").count() == 10_000
        assert page.evaluate(OVERFLOWING) == [0, []]


def test_too_many_matrices_are_there_as_means(browser: Any, reported: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from lorisbench.report import page_data

    monkeypatch.setattr(page_data, "MOST_CELLS", 5 * 36)
    out = Path(shutil.copytree(reported, tmp_path / "out"))
    with opened(browser, write_report(out)) as page:
        tick(page, "Seeds", "1")
        assert "as their means only" in page.locator("#matrices").inner_text()
        assert len(rows(page, "experiences")) == 4


def test_a_page_of_a_version_that_was_moved_keeps_working(browser: Any, reported: Path, tmp_path: Path) -> None:
    """The page alone is enough: it was mailed, say."""
    alone = shutil.copy(reported / "report" / "index.html", tmp_path)
    with opened(browser, Path(alone)) as page:
        draw_all(page)
        assert page.locator("#ranking svg").count() == 1


def test_several_streams_are_on_one_page(browser: Any, tmp_path: Path) -> None:
    made = Folder(tmp_path / "out", 2)
    for stream, best in (("one", "naive"), ("two & <2>", "joint")):
        for label in ("naive", "joint"):
            made.run(label, 0, np.full((2, 2), 0.9 if label == best else 0.5), stream=stream)
    made.suite["benchmarks"] = {"one": {"name": "openloris-sim"}, "two & <2>": {"name": "openloris-sim"}}
    del made.suite["benchmark"]
    out = made.write()
    for file in ("matrix.csv", "experiences.csv"):
        table = pd.read_csv(out / file)
        if file == "matrix.csv":
            table["stream"] = table["run_id"].map({row["run_id"]: row["stream"] for row in made.rows})
        else:
            table = pd.concat([table.assign(stream=name) for name in ("one", "two & <2>")])
        table.to_csv(out / file, index=False)
    file = write_report(out)
    with opened(browser, file) as page:
        draw_all(page)
        assert [row[:3] for row in rows(page, "ranks")] == [["naive", "1.50", "1"], ["joint", "1.50", "2"]]
        assert page.locator("h2.stream:visible").inner_text() == "one"
        assert page.locator("#ranking .chart").get_attribute("aria-label").startswith("Dot plot with intervals: naive")
        page.locator("#choices").get_by_label("Stream").select_option("two & <2>")
        draw_all(page)
        assert page.locator("h2.stream:visible").inner_text() == "two & <2>"
        assert page.locator("#ranking .chart").get_attribute("aria-label").startswith("Dot plot with intervals: joint")
        for link in page.locator("#files a:visible").evaluate_all("(links) => links.map((link) => link.href)"):
            assert Path(link.removeprefix("file://").replace("%20", " ")).is_file(), link
    with opened(browser, file, fragment="#stream=two+%26+%3C2%3E") as page:
        assert page.locator("h2.stream:visible").inner_text() == "two & <2>"


def test_orders_are_chosen(browser: Any, tmp_path: Path) -> None:
    made = Folder(tmp_path / "out", 3, orders=[0, 1])
    for seed in range(2):
        for order in range(2):
            made.run("naive", seed, np.full((3, 3), 0.5 + 0.2 * order), order=order)
    with opened(browser, write_report(made.write())) as page:
        draw_all(page)
        assert rows(page, "orders")[0][1] == "60.00" and "70.00 (order 1)" in rows(page, "orders")[0]
        tick(page, "Orders", "1")
        assert rows(page, "comparison")[0][2].startswith("50.00")
