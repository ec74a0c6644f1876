"""The report's page in a browser: what is chosen, sorted and pressed changes what is shown, and names stay text."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import OVERFLOWING, WIDTHS, chromium, draw_all, heads, needs_chromium, opened, rows, tick
from stored_output import Folder, accuracy_matrix, data_of
from without_plots import without_plots

from lorisbench.metrics.intervals import mean_interval
from lorisbench.report import write_report
from lorisbench.report.summary import number
from lorisbench.report.tabular import decimals_of

pytestmark = needs_chromium
LABELS = ("dnn", "naive", "joint", "broken")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, render_only: Callable[..., None]) -> Path:
    """An output of four strategies, of which one failed; one keeps tables of its heads, another one that is plotted."""
    made = Folder(tmp_path_factory.mktemp("page") / "out", 6, about="dnn")
    for seed in range(3):
        for k, (label, final, forgets) in enumerate([("dnn", 0.64, 0.08), ("naive", 0.45, 0.45), ("joint", 0.7, 0.0)]):
            extra = {"replay_samples": 100} if label == "joint" else {"latency_ratio": 1 + k + 0.01 * seed}
            matrix = np.round(120 * accuracy_matrix(6, 10 * seed + k, final, forgets)) / 120
            run = made.run(label, seed, matrix, strategy=label, latency_p50_ms=5 + k + 0.1 * seed, **extra)
            made.put(run, "status.json", '{"status": "done"}')
            made.put(run, "log.txt", "")
            if label == "dnn":
                _heads(made, run)
            if label == "naive":
                made.put(run, "losses.csv", "step,loss\n0,2.5\n1,1.5\n")
                made.put(run, "tables.json", json.dumps({"losses": {"x": "step", "y": "loss"}}))
    made.run("broken", 0, None, reason="out of memory & <patience>")
    out = made.write()
    with pytest.MonkeyPatch.context() as patch:
        render_only(patch, ())
        write_report(out)
    return out


def _heads(made: Folder, run: str) -> None:
    made.decide(run, [
        {"experience": 0, "verdict": "base", "head": 0, "teacher": "", "gap_0": "", "known": 0, "samples": 9},
        {"experience": 1, "verdict": "expand", "head": 1, "teacher": 0, "gap_0": 0.2, "known": 3, "samples": 9},
        {"experience": 2, "verdict": "distill", "head": 0, "teacher": 0, "gap_0": 0.9, "gap_1": 0.4, "known": 8,
         "samples": 9},
    ])  # fmt: skip
    answers = [{"after_experience": 5, "test_experience": j, "head": j % 2, "share": 1.0} for j in range(6)]
    made.put(run, "answers.csv", pd.DataFrame(answers).to_csv(index=False))
    experience = np.repeat(np.arange(6), 4)
    label = np.tile(np.arange(4), 6)
    predicted = np.tile(label, (6, 1))
    predicted[:, 7] = 0  # image 107 is always taken for another
    file = made.out / "runs" / run / "predictions.npz"
    arrays = {"predicted": predicted, "label": label, "experience": experience, "image": 100 + np.arange(24)}
    whole = {name: array.astype(np.int32) for name, array in arrays.items()}
    np.savez(file, **whole, head=np.zeros((6, 24), np.int16))


@pytest.fixture(autouse=True)
def no_plots() -> Iterator[None]:
    """The page has links to plots as files, and no more of them."""
    with without_plots():
        yield


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    with opened(browser, folder / "report" / "index.html") as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_all_is_accessible(browser: Any, folder: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, folder / "report" / "index.html", 360, scheme) as page:
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


def test_figures_of_chosen_seeds_are_those_of_python(page: Any, folder: Path) -> None:
    results = pd.read_csv(folder / "results.csv")

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
    assert shown("Forgetting") == expected("forgetting_max", [0, 1, 2])
    tick(page, "Seeds", "1")
    assert shown("Last row") == expected("accuracy_last", [0, 2])
    tick(page, "Seeds", "0")
    assert shown("Last row") == expected("accuracy_last", [2])
    tick(page, "Seeds", "2")
    assert page.get_by_label("2", exact=True).is_checked(), "one seed is always chosen"


def test_what_is_bold_and_underlined_is_so_in_the_tables_of_files(page: Any, folder: Path) -> None:
    page.locator("#comparison .columns summary").click()
    page.locator("#comparison .columns").get_by_role("button", name="All").click()
    told = (folder / "report" / "tables" / "comparison.md").read_text().splitlines()
    for element, mark in (("b", "**"), ("u", "<u>")):
        shown = page.locator(f"#comparison tbody td {element}").all_inner_texts()
        found = [float(each) for line in told for each in re.findall(rf"{re.escape(mark)}([\d.]+)", line)]
        assert found and [float(text) for text in shown] == pytest.approx(found), element


def test_matrix_and_experiences_agree_with_the_files(page: Any, folder: Path) -> None:
    cells, results = pd.read_csv(folder / "matrix.csv"), pd.read_csv(folder / "results.csv")
    own = cells[cells["run_id"].isin(results[results["strategy"] == "naive"]["run_id"])]
    last = own[(own["after_experience"] == 5) & (own["test_experience"] == 1)]["accuracy"]
    draw_all(page)
    row = next(row for row in rows(page, "experiences") if row[0] == "naive")
    table = pd.read_csv(folder / "report" / "tables" / "accuracy_last_per_experience.csv").set_index("strategy")
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


def test_the_ranked_picture_shows_what_is_claimed_only_of_all_runs(page: Any, folder: Path) -> None:
    (stream,) = data_of((folder / "report" / "index.html").read_text())["streams"]
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


def test_a_number_leads_to_its_runs(page: Any, folder: Path) -> None:
    draw_all(page)
    row = page.locator("#comparison tbody tr", has_text="naive")
    row.locator("button").nth(1).click()
    dialog = page.locator("dialog")
    assert dialog.locator("h2").inner_text() == "naive: Last row, %"
    results = pd.read_csv(folder / "results.csv")
    own = results[(results["strategy"] == "naive") & (results["seed"] == 1)].iloc[0]
    assert f"naive, seed 1: {number(100 * own['accuracy_last'], 2)} %" in dialog.inner_text()
    dialog.locator("details").nth(1).locator("summary").click()
    run = dialog.locator("details").nth(1)
    assert "lorisbench run suite.yaml --strategies naive --seeds 1 --out again" in run.inner_text()
    assert "strategy: naive" in run.inner_text()
    log = run.get_by_role("link", name="log.txt").get_attribute("href")
    assert (folder / "report" / log).resolve() == folder / "runs" / own["run_id"] / "log.txt"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_failed_runs_come_first_with_their_reasons(page: Any) -> None:
    draw_all(page)
    found = rows(page, "runs")
    assert found[0][0] == "broken" and "failed" in found[0] and "out of memory & <patience>" in found[0]
    assert "1 run failed or diverged" in page.locator("#runs").inner_text()


def test_the_heads_of_a_network_have_a_gallery(page: Any) -> None:
    draw_all(page)
    told = page.locator("#heads").inner_text()
    assert "from 0" in told and "100" in told
    assert (
        "Timeline of dnn, seed 0: head 0 made for illumination 1, distilled on illumination 3"
        in page.locator("#heads").text_content()
    )
    mistake = page.locator("#heads .mistakes li")
    assert mistake.count() == 1 and "object 3 taken for object 0" in mistake.inner_text()
    assert "3 of 3 runs; answered by head 0" in mistake.inner_text() and "image 107" in mistake.inner_text()
    page.locator("#heads summary", has_text="most and least known").click()
    assert "0 % object" not in page.locator("#heads table.known tbody tr").first.inner_text()
    assert "image 107" in page.locator("#heads table.known tbody tr").nth(1).inner_text()


def test_what_strategies_kept_is_shown_and_plotted(page: Any) -> None:
    draw_all(page)
    assert page.locator("#kept .chart").get_attribute("aria-label") == "Line plot of loss over step for naive"
    page.locator("#kept summary", has_text="losses").click()
    assert ["naive", "0", "0", "2.5"] in rows(page, "kept")


def test_mistakes_have_small_pictures_where_the_images_are(browser: Any, tmp_path: Path, release: Path) -> None:
    """Only where the very images are at hand: with other ones there are names alone."""
    from lorisbench.data.image_table import IMAGES, add_images
    from lorisbench.suite.here import manifest_here

    benchmark = {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)}
    manifest = manifest_here(benchmark, "test")
    stored = Folder(tmp_path / "out", manifest.experiences, benchmark=benchmark)
    rows_of = [manifest.rows("test", k) for k in range(manifest.experiences)]
    image = np.concatenate(rows_of)
    label = manifest.table["label"].to_numpy()[image]
    run = stored.run("many", 0, np.full((stored.size, stored.size), 0.5))
    stored.decide(run, [{"experience": 0, "verdict": "base", "head": 0}])
    experience = np.repeat(np.arange(len(rows_of)), [len(own) for own in rows_of])
    predicted = np.tile((label + 1) % 3, (stored.size, 1))
    file = stored.out / "runs" / run / "predictions.npz"
    np.savez(file, predicted=predicted, label=label, experience=experience, image=image)
    out = stored.write()
    assert stored.data is not None
    (out / "data.json").write_text(json.dumps(stored.data | {"classes": ["box", "cup", "mug"]}))
    add_images(out / IMAGES, {str(stored.rows[0].get("stream", "openloris-sim")): manifest})
    with opened(browser, write_report(out)) as page:
        draw_all(page)
        pictures = page.locator("#heads .mistakes img")
        assert pictures.count() == 12
        assert pictures.first.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 72
        assert "box taken for cup" in page.locator("#heads .mistakes").inner_text()
    (release_of := out / "suite.yaml").write_text(release_of.read_text().replace(str(release), str(tmp_path)))
    with opened(browser, write_report(out)) as page:
        draw_all(page)
        assert page.locator("#heads .mistakes li").count() == 12
        assert page.locator("#heads .mistakes img").count() == 0


def test_too_many_matrices_are_there_as_means(browser: Any, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from lorisbench.report import page_data

    monkeypatch.setattr(page_data, "MOST_CELLS", 5 * 36)
    out = Path(shutil.copytree(folder, tmp_path / "out"))
    with opened(browser, write_report(out)) as page:
        tick(page, "Seeds", "1")
        assert "as their means only" in page.locator("#matrices").inner_text()
        assert len(rows(page, "experiences")) == 4


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


def test_a_page_of_a_version_that_was_moved_keeps_working(browser: Any, folder: Path, tmp_path: Path) -> None:
    """The page alone is enough: it was mailed, say."""
    alone = shutil.copy(folder / "report" / "index.html", tmp_path)
    with opened(browser, Path(alone)) as page:
        draw_all(page)
        assert page.locator("#ranking svg").count() == 1
