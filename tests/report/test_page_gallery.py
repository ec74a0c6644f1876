"""What the page shows of networks with several heads, and of what strategies kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import draw_all, needs_chromium, opened, rows
from stored_output import Folder

from lorisbench.report import pictures as pictures_of
from lorisbench.report import write_report

pytestmark = [needs_chromium, pytest.mark.usefixtures("no_plots")]


def test_the_heads_of_a_network_have_a_gallery(page: Any) -> None:
    draw_all(page)
    told = page.locator("#heads").inner_text()
    assert "from 0" in told and "100" in told
    assert (
        "Timeline of dnn, seed 0: head 0 made for illumination 1, distilled on illumination 3"
        in page.locator("#heads").text_content()
    )
    framed = page.locator("#heads table").nth(1).locator("tbody tr").nth(1).locator("td:has(.trained)")
    assert framed.count() == 1, "head 1 was trained in one experience"
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


def test_mistakes_have_small_pictures_where_the_images_are(
    browser: Any, tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert "small picture" not in page.locator("#heads").inner_text()
    monkeypatch.setattr(pictures_of, "MOST", 6)
    with opened(browser, write_report(out)) as page:
        draw_all(page)
        assert page.locator("#heads .mistakes img").count() == 6
        assert re.search(r"Of the \d+ images on this page 6 have a small", page.locator("#heads").inner_text())
    (release_of := out / "suite.yaml").write_text(release_of.read_text().replace(str(release), str(tmp_path)))
    with opened(browser, write_report(out)) as page:
        draw_all(page)
        assert page.locator("#heads .mistakes li").count() == 12
        assert page.locator("#heads .mistakes img").count() == 0
