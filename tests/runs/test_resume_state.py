"""What a plugin may keep: data of every kind goes into a checkpoint; what is no data is named, and harms no run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from small_runs import bench, interrupted, run, written

from lorisbench.common.registry import load_plugin
from lorisbench.engine.capture import Capture, Uncapturable
from lorisbench.engine.names import Names
from lorisbench.runs import resume

pytestmark = pytest.mark.usefixtures("one_thread")
OWN = Path(__file__).with_name("own_state.py")


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    load_plugin(OWN)
    monkeypatch.setattr(resume, "_said", set())


def load_class(name: str) -> Any:
    return vars(sys.modules["lorisbench_plugin_own_state"])[name]


@pytest.mark.parametrize("name", ["own-keeps-all", "own-says-itself"])
def test_a_plugin_goes_on_with_all_that_it_kept(name: str, tmp_path: Path) -> None:
    made = bench(name)
    run(made, tmp_path / "whole")
    interrupted(made, tmp_path / "parts")
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_what_is_no_data_is_named_once_and_the_run_starts_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bench({"strategy": "own-holds", "what": "generator"})
    status = interrupted(made, tmp_path, [1]).status()
    assert status["status"] == "done" and "resumed" not in status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "Holder.held[0]['it'] is a generator" in line]
    assert "starts again from its beginning" in line and line.startswith("method seed 0: ")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("count", "['it'] is a count"),
        ("lambda", "['it'] is a function that was not there at the start"),
        ("objects", "['it'] is an array of objects"),
        ("sparse", "['it'] is a sparse"),
        ("file", "['it'] is a TextIOWrapper"),
        ("local", "['it'] is a Local"),
    ],
)
def test_other_things_that_are_no_data(what: str, words: str) -> None:
    plugin = load_class("Holder")(what)
    plugin.held.append({"it": plugin.make()})
    with pytest.raises(Uncapturable, match=re.escape(f"Holder.held[0]{words}")):
        Capture(Names(), {id(plugin): 0}).at("Holder", plugin)


def test_an_error_in_a_plugins_own_state_dict_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(bench("own-breaks"), tmp_path)
    assert (
        "Breaking cannot be written down as data (RuntimeError: no state today (own_state.py, line "
        in capsys.readouterr().err
    )
