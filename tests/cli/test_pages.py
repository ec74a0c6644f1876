"""What the READMEs say is so: links lead somewhere, tables are complete, figures are those of the reference results."""

import configparser
import importlib.util
import json
import re
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import yaml
from pages import PAGES, ROOT, blocks, code_spans, prose, rows
from small_models import small_backbone

from lorisbench.model import backbones
from lorisbench.strategies.dnn.network import Answer
from lorisbench.suite.shipped import shipped

README = ROOT / "README.md"
HARNESS, RESULTS, STRATEGIES, BENCHMARKS = (
    ROOT / room / "README.md" for room in ("harness", "results", "strategies", "benchmarks")
)
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_first_page_is_read_in_five_minutes() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_links_pictures_and_named_files_exist(page: Path) -> None:
    text = prose(page)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link
    for name in code_spans(text):
        if re.fullmatch(r"(\w+/)+[\w-]+\.(py|md|cfg)", name):
            assert (page.parent / name).is_file() or (ROOT / name).is_file(), name


def entries(kind: str, cli) -> dict[str, dict[str, Any]]:
    """What `lorisbench ls KIND --json` lists, by name, without plugins of other tests."""
    listed = json.loads(cli("ls", kind, "--json").out)
    return {entry["name"]: entry for entry in listed if entry["origin"] == "built-in"}


def test_the_table_of_strategies_is_complete_and_its_defaults_are_those_of_the_code(cli) -> None:
    table = {row[0].strip("`"): row for row in rows(STRATEGIES, "The strategies") if row[0].startswith("`")}
    known = entries("strategies", cli)
    assert set(table) == set(known)
    for name, entry in known.items():
        said = {}
        for span in code_spans(table[name][2]):
            key, colon, value = span.partition(":")
            said[key] = yaml.safe_load(value) if colon else "(required)"
        assert said == {key: setting["default"] for key, setting in entry["settings"].items()}, name
        assert table[name][1], name


def test_the_table_of_answers_is_complete() -> None:
    assert sorted(row[0].strip("`") for row in rows(STRATEGIES, "DNN: which head answers")) == sorted(get_args(Answer))


def test_the_table_of_readers_is_complete(cli) -> None:
    assert {row[0].strip("`") for row in rows(BENCHMARKS, "Benchmarks")} == set(entries("benchmarks", cli))


def test_every_shipped_suite_is_named() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES if page.name == "README.md")
    assert [name for name in shipped() if not re.search(rf"\b{name}\b", text)] == []


def test_an_output_has_the_files_and_columns_that_are_described(suite_file, cli, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(backbones, "_make", small_backbone)
    out = tmp_path / "out"
    suite = suite_file(strategies=["dnn"], latency={"calls": 1, "warmup": 0}, training={"epochs": 1, "batch_size": 32})
    assert cli("run", suite, "--out", out).code == 0
    described = prose(HARNESS)
    for file in (path for path in out.rglob("*") if path.is_file() and path.name != ".lock"):
        inside = file.relative_to(next((out / "runs").iterdir())) if "runs" in file.parts else file.relative_to(out)
        assert f"`{inside.as_posix()}`" in described, inside
    columns = [block.text.split() for block in blocks("") if block.page == HARNESS and block.text.startswith("run_id ")]
    assert columns == [list(pd.read_csv(out / name).columns) for name in ("results.csv", "matrix.csv")]
    explained = {name for row in rows(RESULTS, "Reading a report") for name in code_spans(row[0])}
    told_elsewhere = {"run_id", "benchmark", "strategy", "seed", "status", "reason", "experiences", "undefined"}
    assert explained == set(columns[0]) - told_elsewhere


def test_figures_are_those_of_the_reference_results() -> None:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "results" / "make_reference.py")
    assert spec is not None and spec.loader is not None
    make_reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_reference)
    shown = []
    for page in make_reference.PAGES:
        text = page.read_text("utf-8")
        for name in re.findall(r"^<!-- reference (.+) -->$", text, re.MULTILINE):
            assert make_reference.written(text, ROOT / "results" / "reference" / name, page) == text, name
            shown.append(name)
    assert sorted(shown) == [
        "all-strategies", "bench", "bench-gpu", "dnn-answers", "dnn-answers-streams", "dnn-orders", "quickstart",
        "quickstart-disjoint", "reproduce-baselines", "reproduce-der2020", "reproduce-plugins",
    ]  # fmt: skip


def test_the_citation_has_the_version_and_every_paper_with_a_number() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert citation["cff-version"] == "1.2.0" and str(citation["version"]) == setup["metadata"]["version"]
    cited = {reference.get("url", "").rpartition("/")[2] for reference in citation["references"]}
    named = set()
    for source in (ROOT / "strategies").rglob("*.py"):
        named |= set(re.findall(r"arXiv (\d{4}\.\d{5})", source.read_text("utf-8")))
    assert len(named) > 5 and named <= cited, named - cited
    assert all(reference["authors"] and reference["title"] for reference in citation["references"])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_is_one(form: Path) -> None:
    """What GitHub asks of a form: a name, a description, fields of known types with different ids."""
    content = yaml.safe_load(form.read_text("utf-8"))
    assert content["name"] and content["description"]
    assert {field["type"] for field in content["body"]} <= {"textarea", "input", "dropdown"}
    ids = [field["id"] for field in content["body"]]
    assert len(set(ids)) == len(ids) and all(field["attributes"]["label"] for field in content["body"])
