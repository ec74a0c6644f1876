"""`--add`, and `--strategies` with names that a suite lacks: strategies join a suite with their defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from answers import refused

import lorisbench
from lorisbench.suite.resolve import Suite, load_suite

PLUGIN = '''
from lorisbench import Strategy


class Mine(Strategy, name="choice-l2"):
    """L2."""

    lam: float = 1.0

    def plugins(self, context):
        return []
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all tests, as a name may stand for one strategy in a process."""
    file = tmp_path_factory.mktemp("plugin") / "choice_l2.py"
    file.write_text(PLUGIN)
    return file


def labels(suite: Suite) -> list[str]:
    return list(dict.fromkeys(spec.label for spec in suite.runs))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"strategies": ["naive", "choice-l2"]}, ["naive", "choice-l2"]),
        ({"strategies": ["choice-l2", "tuned"]}, ["choice-l2", "tuned"]),
        ({"add": ["slda", "choice-l2", "slda"]}, ["naive", "tuned", "slda", "choice-l2"]),
        ({"strategies": ["naive"], "add": ["choice-l2"]}, ["naive", "choice-l2"]),
        ({"strategies": ["slda"], "add": ["slda"]}, ["slda"]),
        ({"add": ["ewc"]}, ["naive", "tuned", "ewc"]),  # beside `tuned`, an ewc of other settings
        ({"strategies": ["own"], "assignments": ["strategies.own.strategy=lwf"]}, ["own"]),
        ({"strategies": ["slda"], "assignments": ["strategies=[naive]"]}, ["slda"]),
    ],
)
def test_what_is_named_is_run(given: Any, wanted: list[str], plugin: Path, suite_file: Callable[..., Path]) -> None:
    suite = suite_file(strategies={"naive": None, "tuned": {"strategy": "ewc", "ewc_lambda": 3}})
    found = load_suite(str(suite), plugins=[str(plugin)], **given)
    assert labels(found) == wanted and list(found.resolved["strategies"]) == wanted


def test_what_is_added_has_its_defaults_and_can_be_set(plugin: Path, suite_file: Callable[..., Path]) -> None:
    suite = str(suite_file(plugins=[str(plugin)], tuning="By hand."))
    entries = load_suite(suite, add=["choice-l2", "slda"], assignments=["choice-l2.lam=3"]).resolved["strategies"]
    assert (
        entries["choice-l2"]["lam"] == 3
        and entries["slda"] == load_suite(str(suite_file(strategies=["slda"]))).resolved["strategies"]["slda"]
    )
    suite = str(suite_file(plugins=[str(plugin)], tuning="By hand."))
    assert load_suite(suite, add=["slda"]).resolved["tuning"] == "By hand. Added with defaults: slda."
    about = load_suite(suite, strategies=["choice-l2"], assignments=["about=choice-l2"])
    assert about.resolved["about"] == ["choice-l2"] and about.resolved["strategies"]["choice-l2"]["lam"] == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategies": ["naive", "choice-l3"]}, ["'choice-l3'", "'choice-l2'"]),
        ({"add": ["choice-l3"]}, ["'choice-l3'", "'choice-l2'"]),
        ({"strategies": ["naiv"]}, ["'naiv'", "'naive'"]),
        ({"add": ["sldda"]}, ["'sldda'", "'slda'"]),
        ({"strategies": ["q"]}, ["'q'", "the suite has naive", "lorisbench ls strategies"]),
        ({"add": ["naive"]}, ["--add naive", "has this strategy already"]),
        ({"strategies": ["naive"], "assignments": ["choice-l2.lam=3"]}, ["choice-l2"]),
    ],
)
def test_what_neither_suite_nor_plugin_knows_is_refused(
    given: Any, words: list[str], plugin: Path, suite_file: Callable[..., Path]
) -> None:
    suite = str(suite_file())
    refused(lambda: load_suite(suite, plugins=[str(plugin)], **given), *words)


def test_added_strategies_join_a_folder_and_stay(
    plugin: Path, suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    short = ["--set", "training.epochs=1", "--out", out]
    assert cli("run", suite_file(), *short).code == 0
    answer = cli("run", suite_file(), *short, "--plugin", plugin, "--add", "choice-l2", "--set", "choice-l2.lam=3")
    assert answer.code == 0 and "1 already finished" in answer.err
    assert cli("run", suite_file(), *short).code == 0, "the suite alone goes on as before"
    written = yaml.safe_load((out / "suite.yaml").read_text())
    assert written["strategies"]["choice-l2"]["lam"] == 3 and written["plugins"] == [str(plugin)]
    refused(cli("run", suite_file(), *short, "--plugin", plugin, "--add", "choice-l2"), "different settings")


def test_python_takes_the_same_names(plugin: Path, suite_file: Callable[..., Path]) -> None:
    suite = suite_file(plugins=[str(plugin)], training={"epochs": 1}, about="naive")
    results = lorisbench.run(suite, ["choice-l2"], workers=0)
    assert set(results.table.strategy) == {"choice-l2"}
    refused(lambda: lorisbench.run(suite, ["choice-l3"]), "'choice-l2'")
    refused(lambda: lorisbench.run(suite, add=["naive"]), "add=naive", "already")
    assert set(lorisbench.run(suite, add=["slda"], workers=0).table.strategy) == {"naive", "slda"}
