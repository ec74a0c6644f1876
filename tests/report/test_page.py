"""The report's page in a browser: what is chosen, sorted and pressed changes what is shown, and names stay text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import OVERFLOWING, WIDTHS, draw_all, heads, needs_chromium, opened, rows, tick
from stored_output import data_of

from lorisbench.metrics.intervals import mean_interval
from lorisbench.report.summary import number
from lorisbench.report.tabular import decimals_of

pytestmark = [needs_chromium, pytest.mark.usefixtures("no_plots")]
LABELS = ("dnn", "naive", "joint", "broken")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_all_is_accessible(browser: Any, reported: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, reported / "report" / "index.html", 360, scheme) as page:
        page.locator("#choose summary").click()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            draw_all(page)
            assert page.evaluate(OVERFLOWING) == [0, []], width
        found = Axe().run(page).response["violations"]
        assert not [(each["id"], [node["html"][:100] for node in each["nodes"]][:3]) for each in found]
        page.get_by_role("button", name="joint").first.click()
        found = Axe().run(page, context="dialog").response["violations"]
        assert not [(each["id"], [node["html"][:100] for node in each["nodes"]][:3]) for each in found]


def test_figures_of_chosen_seeds_are_those_of_python(page: Any, reported: Path) -> None:
    results = pd.read_csv(reported / "results.csv")

    def expected(column: str, seeds: list[int]) -> str:
        chosen = results[results["seed"].isin(seeds)].groupby("strategy")[column]
        found = {label: mean_interval(100 * values) for label, values in chosen}
        places, own = decimals_of(found.values(), 2), found["dnn"]
        return number(own.mean, places) + (f" ± {number(own.half_width, places)}" if len(seeds) > 1 else "")

    def shown(name: str) -> str:
        draw_all(page)
        row = next(row for row in rows(page, "comparison") if row[0] == "dnn")
        return re.sub(r"\s+", " ", row[heads(page, "comparison").index(name)].replace("\u202f", " "))

    assert shown("Last row") == expected("accuracy_last", [0, 1, 2])
    assert shown("Forgetting, points") == expected("forgetting_max", [0, 1, 2])
    tick(page, "Seeds", "1")
    assert shown("Last row") == expected("accuracy_last", [0, 2])
    tick(page, "Seeds", "0")
    assert shown("Last row") == expected("accuracy_last", [2])
    tick(page, "Seeds", "2")
    assert page.get_by_label("2", exact=True).is_checked(), "one seed is always chosen"


def test_what_is_bold_and_underlined_is_so_in_the_tables_of_files(page: Any, reported: Path) -> None:
    page.locator("#comparison .columns summary").click()
    page.locator("#comparison .columns").get_by_role("button", name="All").click()
    told = (reported / "report" / "tables" / "comparison.md").read_text().splitlines()
    for element, mark in (("b", "**"), ("u", "<u>")):
        shown = page.locator(f"#comparison tbody td {element}").all_inner_texts()
        found = [float(each) for line in told for each in re.findall(rf"{re.escape(mark)}([\d.]+)", line)]
        assert found and [float(text) for text in shown] == pytest.approx(found), element


def test_a_latency_has_the_interval_of_its_calls_as_in_the_files(page: Any, reported: Path) -> None:
    """Runs of one architecture share a measurement: an interval over seeds would be none."""
    table = pd.read_csv(reported / "report" / "tables" / "comparison.csv").set_index("strategy")
    draw_all(page)
    for name, column in (("Latency p50, ms", "latency_p50_ms"), ("Latency ratio", "latency_ratio")):
        place = heads(page, "comparison").index(name)
        shown = {row[0].rstrip("†"): row[place].replace("\u202f", " ").split("±") for row in rows(page, "comparison")}
        for label in ("dnn", "naive", "joint"):
            own = table.loc[label, [f"{column}_mean", f"{column}_ci95"]]
            assert [float(text) for text in shown[label]] == pytest.approx(own.tolist(), abs=0.05), (label, column)
    assert table.loc["dnn", "latency_p50_ms_ci95"] > 0.3
    assert "the load of the machine before it was measured was 0.50" in page.locator("#comparison").inner_text()
    place = heads(page, "comparison").index("Latency p50, ms")
    assert page.locator(f"#comparison tbody td:nth-child({place + 1}) b").count() == 0, "their intervals overlap"


def test_what_is_said_below_a_table_is_how_it_is_read(page: Any) -> None:
    draw_all(page)
    told = page.locator("#experiences .notes").inner_text()
    assert "Mean ± half-width" in told and "Keeps images of earlier experiences: joint 100" in told
    assert "joint†" in [row[0] for row in rows(page, "experiences")]


def test_an_accuracy_is_no_cost(page: Any) -> None:
    draw_all(page)
    offered = page.locator("#costs select option").all_inner_texts()
    assert "Training, s" in offered and not [text for text in offered if text.endswith(("%", "points"))]
    assert "Negative flips, %" in page.locator("#metric option").all_inner_texts()


def test_what_is_cut_off_is_shaded(page: Any) -> None:
    draw_all(page)
    style = page.locator("#comparison .scroll").evaluate("(box) => getComputedStyle(box).backgroundAttachment")
    assert style == "local, scroll"


def test_what_the_definitions_cite_is_among_the_sources(page: Any) -> None:
    told = page.locator("#definitions").inner_text()
    cited = set(re.findall(r"([A-Z][\w-]+(?: Lange)?)(?: & \w+| et al\.),? (?:20\d\d)", told.split("Sources")[0]))
    assert {"Caccia", "De Lange", "Lopez-Paz", "Yan"} <= cited
    listed = page.locator("#definitions li").all_inner_texts()
    assert not [name for name in cited if not any(text.startswith(name) for text in listed)]
    assert "Intransigence" in told


def test_matrix_and_experiences_agree_with_the_files(page: Any, reported: Path) -> None:
    cells, results = pd.read_csv(reported / "matrix.csv"), pd.read_csv(reported / "results.csv")
    own = cells[cells["run_id"].isin(results[results["strategy"] == "naive"]["run_id"])]
    last = own[(own["after_experience"] == 5) & (own["test_experience"] == 1)]["accuracy"]
    draw_all(page)
    row = next(row for row in rows(page, "experiences") if row[0] == "naive")
    table = pd.read_csv(reported / "report" / "tables" / "accuracy_last_per_experience.csv").set_index("strategy")
    assert table["illumination 2_mean"]["naive"] == pytest.approx(100 * last.mean())
    assert float(row[2].split()[0]) == pytest.approx(100 * last.mean(), abs=0.05)
    page.locator("#matrices .small", has_text="naive").click()
    told = page.locator("#matrices .matrix button").nth(5 * 6 + 1).get_attribute("aria-label")
    assert told == f"after occlusion 3, on illumination 2: {number(100 * last.mean(), 2)} %"


def test_all_follows_the_strategies_that_are_chosen(page: Any) -> None:
    draw_all(page)
    tick(page, "Strategies", "joint")
    draw_all(page)
    for section in ("comparison", "experiences", "runs"):
        labels = {row[0].rstrip("†") for row in rows(page, section)}
        assert "joint" not in labels and "naive" in labels, section
    assert "joint" not in page.locator("#ranking svg").text_content()
    assert "joint" not in page.locator("#curves svg").text_content()
    assert page.locator("#matrices .small").all_inner_texts() == ["dnn", "naive"]


def test_the_ranked_picture_follows_the_metric(page: Any) -> None:
    def told() -> str:
        return page.locator("#ranking .chart").get_attribute("aria-label")

    page.wait_for_selector("#ranking svg")
    assert re.findall(r"(dnn|naive|joint) [\d.]+", told()) == ["joint", "dnn", "naive"]
    page.locator("#metric").select_option("latency_p50_ms")
    draw_all(page)
    assert re.findall(r"(dnn|naive|joint) [\d.]+", told()) == ["dnn", "naive", "joint"], "lower is better"
    assert page.locator("#ranking h3").inner_text() == "Latency p50 (ms), lowest first"


def test_the_ranked_picture_shows_what_is_claimed_only_of_all_runs(page: Any, reported: Path) -> None:
    (stream,) = data_of((reported / "report" / "index.html").read_text())["streams"]
    draw_all(page)
    assert stream["standing"]["caveats"][0] in page.locator("#ranking").inner_text()
    tick(page, "Seeds", "1")
    told = page.locator("#ranking").inner_text()
    assert "nothing is corrected for the number of comparisons" in told and "Student-t" in told


def test_tables_are_sorted_by_click_and_by_keyboard_and_filtered(page: Any) -> None:
    draw_all(page)

    def labels() -> list[str]:
        return [row[0].rstrip("†") for row in rows(page, "comparison")]

    head = page.locator("#comparison thead button", has_text="Last row")
    assert labels() == list(LABELS)
    head.click()
    assert labels() == ["joint", "dnn", "naive", "broken"], "what has no value comes last"
    assert page.locator("#comparison th[aria-sort=descending]").inner_text().startswith("Last row")
    page.keyboard.press("Enter")
    assert labels() == ["naive", "dnn", "joint", "broken"]
    assert page.locator("#comparison th[aria-sort=ascending]").inner_text().startswith("Last row")
    page.keyboard.press("Enter")
    assert labels() == list(LABELS)
    page.get_by_label("Filter the rows of: Comparison of the strategies").fill("NAI")
    assert labels() == ["naive"]


def test_columns_are_chosen_and_the_first_stays(page: Any) -> None:
    draw_all(page)
    assert "Plasticity" not in heads(page, "comparison")
    page.locator("#comparison .columns summary").click()
    page.locator("#comparison .columns").get_by_label("Plasticity").click()
    assert "Plasticity" in heads(page, "comparison")
    page.set_viewport_size({"width": 360, "height": 800})
    first = page.locator("#comparison tbody th").first
    before = first.bounding_box()["x"]
    page.evaluate("document.querySelector('#comparison .scroll').scrollLeft = 200")
    assert first.bounding_box()["x"] == before


def test_a_cell_of_a_matrix_shows_its_history_also_by_keyboard(page: Any) -> None:
    draw_all(page)
    page.locator("#matrices .matrix button").first.click()
    assert page.locator("#matrices .history h3").inner_text() == "History: illumination 1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#matrices .history h3").inner_text() == "History: illumination 2"
    assert "dnn on illumination 2" in page.locator("#matrices .history .chart").get_attribute("aria-label")


def test_a_number_leads_to_its_runs(page: Any, reported: Path) -> None:
    draw_all(page)
    row = page.locator("#comparison tbody tr", has_text="naive")
    row.locator("button").nth(1).click()
    dialog = page.locator("dialog")
    assert dialog.locator("h2").inner_text() == "naive: Last row, %"
    results = pd.read_csv(reported / "results.csv")
    own = results[(results["strategy"] == "naive") & (results["seed"] == 1)].iloc[0]
    assert f"naive, seed 1: {number(100 * own['accuracy_last'], 2)} %" in dialog.inner_text()
    dialog.locator("details").nth(1).locator("summary").click()
    run = dialog.locator("details").nth(1)
    assert "lorisbench run suite.yaml --strategies naive --seeds 1 --out again" in run.inner_text()
    assert "strategy: naive" in run.inner_text() and "later" not in run.inner_text(), "empty settings are left out"
    log = run.get_by_role("link", name="log.txt").get_attribute("href")
    assert (reported / "report" / log).resolve() == reported / "runs" / own["run_id"] / "log.txt"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_failed_runs_come_first_with_their_reasons(page: Any) -> None:
    draw_all(page)
    found = rows(page, "runs")
    assert found[0][0] == "broken" and "failed" in found[0] and "out of memory & <patience>" in found[0]
    assert "1 run failed or diverged" in page.locator("#runs").inner_text()
