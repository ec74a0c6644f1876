"""Relative paths of a suite: beside its file first, then in the current folder, from wherever they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from answers import refused

from lorisbench.api.running import run
from lorisbench.suite.resolve import load_suite

PLUGIN = """
from pathlib import Path
from lorisbench import Benchmark

class Far(Benchmark, name="{name}"):
    \"""Mine.\"""
    root: str | None = None
    weights: Path = Path("none")
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The suite's folder and the current one."""
    beside, here = tmp_path / "suites", tmp_path / "here"
    beside.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    return beside, here


def write(folder: Path, **benchmark: Any) -> str:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "benchmark": benchmark, "strategies": ["naive"]}))
    return str(file)


@pytest.mark.parametrize(("key", "settings"), [("root", {"name": "folder"}), ("file", {"name": "manifest"})])
def test_a_path_is_looked_for_beside_the_suite_and_then_here(
    places: tuple[Path, Path], key: str, settings: dict[str, str]
) -> None:
    beside, here = places
    suite = write(beside, **settings, **{key: "data"})
    make = Path.mkdir if key == "root" else Path.touch

    def found() -> str:
        return getattr(load_suite(suite).config.benchmark, key)

    refused(found, f"benchmark.{key}", "data", str(beside), str(here))
    make(here / "data")
    assert found() == str(here / "data")
    ids = [spec.run_id for spec in load_suite(suite).runs]
    make(beside / "data")
    assert found() == str(beside / "data")
    assert [spec.run_id for spec in load_suite(suite).runs] == ids, "where the images are is no part of a run's id"
    by_set = load_suite(write(beside, **settings, **{key: "gone"}), assignments=[f"benchmark.{key}=data"])
    assert getattr(by_set.config.benchmark, key) == str(beside / "data")


def test_the_short_form_of_a_manifest_and_a_home_folder_are_paths_too(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = places
    (here / "list.csv").touch()
    suite = write(beside, manifest="list.csv")
    assert load_suite(suite).config.benchmark.file == str(here / "list.csv")
    monkeypatch.setenv("HOME", str(here))
    assert load_suite(write(beside, manifest="~/list.csv")).config.benchmark.file == str(here / "list.csv")


def test_plugins_are_found_in_the_same_order_and_those_of_the_command_line_here(places: tuple[Path, Path]) -> None:
    beside, here = places
    for folder, name in ((beside, "far-beside"), (here, "far-here")):
        (folder / "far.py").write_text(PLUGIN.format(name=name))
    suite = Path(write(beside, name="far-beside", weights="w.pt"))
    suite.write_text(suite.read_text() + "plugins: [far.py]\n")
    assert load_suite(str(suite)).config.plugins == [str(beside / "far.py")]
    plugins = load_suite(str(suite), plugins=["far.py"]).config.plugins
    assert plugins == [str(beside / "far.py"), str(here / "far.py")]
    suite.write_text(suite.read_text().replace("[far.py]", "[nowhere.py]"))
    refused(lambda: load_suite(str(suite)), "nowhere.py", str(beside), str(here))


def test_an_outside_path_stays_as_it_is_written_unless_it_is_beside_the_suite_only(places: tuple[Path, Path]) -> None:
    beside, here = places
    (beside / "near.py").write_text(PLUGIN.format(name="near"))
    suite = Path(write(beside, name="near", weights="w.pt"))
    suite.write_text(suite.read_text() + "plugins: [near.py]\n")

    def weights() -> str:
        return str(load_suite(str(suite)).config.benchmark.weights)

    assert weights() == "w.pt", "it may be a file that is still to be written"
    (here / "w.pt").touch()
    assert weights() == "w.pt", "part of the run's id"
    (beside / "w.pt").touch()
    assert weights() == str(beside / "w.pt")


def test_python_looks_in_the_same_places(places: tuple[Path, Path]) -> None:
    beside, here = places
    suite = write(beside, name="folder", root="data")
    refused(lambda: run(suite), "benchmark.root", str(beside), str(here))
    refused(lambda: run({"name": "folder", "root": "data"}, ["naive"]), "benchmark.root", str(here))
    (beside / "data").mkdir()
    refused(lambda: run(suite), "no images in", str(beside / "data"))
