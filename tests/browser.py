"""The report's page in Debian's Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not there; .ci/browser installs it")
WIDTHS = (360, 768, 1280, 1920)
OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  const out = [...document.querySelectorAll("body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width && (box.right > width + 1 || box.left < -1) && !element.closest(".scroll, pre, .hidden, .skip");
  });
  return [document.documentElement.scrollWidth - width, out.map((element) => element.outerHTML.slice(0, 120))];
}"""

ROWS = """(id) => [...document.querySelector(`#${id} table`).tBodies[0].rows].map(
  (row) => [...row.cells].map((cell) => cell.innerText.trim()))"""
HEADS = """(id) => [...[...document.querySelector(`#${id} table`).tHead.rows].at(-1).cells].map(
  (cell) => cell.querySelector("bdi").textContent)"""
DRAWN = """() => [...document.querySelectorAll(".chart")].every(
  (box) => !box.offsetParent || box.querySelector("svg"))"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, width: int = 1280, scheme: str = "light", fragment: str = "") -> Iterator[Any]:
    """A page in the browser; at its end it must have said nothing to the console and asked for nothing elsewhere."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.goto(f"file://{file}{fragment}")
    yield page
    draw_all(page)
    page.close()
    assert not said, said


def draw_all(page: Any) -> None:
    """Draw the sections and charts that have not come into view yet, as for a print."""
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(DRAWN)


def rows(page: Any, section: str) -> list[list[str]]:
    """The texts of a table's body, row by row."""
    return page.evaluate(ROWS, section)


def heads(page: Any, section: str) -> list[str]:
    """The texts of a table's headings, without those of groups."""
    return page.evaluate(HEADS, section)


def tick(page: Any, kind: str, name: str) -> None:
    """Change what is ticked in a group of choices, and draw what follows it."""
    group = page.locator("fieldset", has=page.locator("legend", has_text=kind))
    group.get_by_label(name, exact=True).click()
    draw_all(page)
