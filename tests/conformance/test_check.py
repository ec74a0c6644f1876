"""`lorisbench check`: what conforms passes, and what breaks a rule fails the check of that rule and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES, load_plugin
from lorisbench.conformance.checks import CHECKS, MODES, collect, judge
from lorisbench.conformance.kit import check, entry_of
from lorisbench.engine.strategy import Strategy
from lorisbench.suite.entries import make_strategy

BROKEN = Path(__file__).with_name("broken_strategies.py")
# without required settings: a stack of strategies is what it is stacked from
BUILT_IN = [
    name
    for name, entry in STRATEGIES.entries().items()
    if entry.origin == "built-in" and not any(f.is_required() for f in STRATEGIES.get(name).model_fields.values())
]
# Faults of Avalanche 0.6.0's own methods, which are there to be compared with: its SI sees no step on a CPU, where the
# "old" weights it keeps are views of the live ones, and its LwF leaves the teacher in training mode
KNOWN = {"si-avalanche": ["acts"], "lwf-avalanche": ["frozen"]}
EVERYDAY = ("ewc", "lwf", "replay", "slda", "dnn")  # one for each kind of method
# by default they are made for wide features, and take far longer
SMALLER = {"ranpac": ["projection=100"], "klda": ["width=100"]}


@pytest.mark.parametrize("name", EVERYDAY)
def test_a_built_in_strategy_conforms_on_features(name: str) -> None:
    """A quarter of the whole check, which is made of all of them and marked heavy."""
    entry = entry_of(name, assignments=SMALLER.get(name, []))
    verdicts = judge(collect(entry, make_strategy(entry), ["features"]))
    failed = {check for check, verdict in verdicts.items() if verdict.status == "fail"}
    assert not failed and list(verdicts) == list(CHECKS), verdicts


@pytest.mark.heavy
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_strategy_conforms(name: str) -> None:
    report = check(entry_of(name, assignments=SMALLER.get(name, [])))
    assert report.failed == KNOWN.get(name, []), report.rows
    assert [row.check for row in report.rows] == list(CHECKS)


@pytest.mark.parametrize(
    ("name", "mode", "failing"),
    [
        ("sound-head", "features", []),
        pytest.param("sound-grows", "features", [], marks=pytest.mark.heavy),
        ("sound-keeps", "images", []),
        pytest.param("sound-moving-teacher", "images", [], marks=pytest.mark.heavy),
        pytest.param("sound-build", "features", [], marks=pytest.mark.heavy),
        pytest.param("sound-after-training", "features", [], marks=pytest.mark.heavy),
        pytest.param("broken-exits", "features", ["batches"], marks=pytest.mark.heavy),
        ("broken-once", "features", ["repeats", "resumes", "arguments", "batches", "arriving classes"]),
        # `make test` has it in test_the_command_tells_what_failed
        pytest.param("broken-noop", "features", ["acts"], marks=pytest.mark.heavy),
        ("broken-learns-nothing", "features", ["learns", "arriving classes"]),
        pytest.param("broken-test-set", "features", ["future data"], marks=pytest.mark.heavy),
        pytest.param("broken-future", "features", ["future data"], marks=pytest.mark.heavy),
        ("broken-test-labels", "features", ["future data"]),
        pytest.param("broken-test-batch", "features", ["future data", "arriving classes"], marks=pytest.mark.heavy),
        ("broken-leak", "features", ["past data"]),
        pytest.param("broken-leak-normalised", "images", ["past data"], marks=pytest.mark.heavy),
        pytest.param("broken-leak-dataset", "features", ["past data"], marks=pytest.mark.heavy),
        pytest.param("broken-leak-closure", "images", ["past data"], marks=pytest.mark.heavy),
        pytest.param("broken-leak-in-class", "features", ["past data"], marks=pytest.mark.heavy),
        pytest.param("broken-secret-replay", "features", ["past data"], marks=pytest.mark.heavy),
        ("broken-teacher", "images", ["frozen"]),
        pytest.param("broken-renewed-teacher", "features", ["frozen"], marks=pytest.mark.heavy),
        pytest.param("broken-moving-teacher", "features", ["frozen"], marks=pytest.mark.heavy),
        pytest.param("broken-norm", "frozen", ["frozen"], marks=pytest.mark.heavy),
        pytest.param("broken-frozen-moves", "frozen", ["frozen"], marks=pytest.mark.heavy),
        ("broken-late-head", "features", ["new parameters"]),
        ("broken-few-classes", "features", ["arriving classes"]),
        pytest.param("broken-unmasked", "features", ["arriving classes"], marks=pytest.mark.heavy),
        pytest.param("broken-late-offset", "features", ["new parameters"], marks=pytest.mark.heavy),
        ("broken-eval-state", "features", ["evaluation"]),
        pytest.param("broken-eval-random", "features", ["evaluation"], marks=pytest.mark.heavy),
        pytest.param("broken-module-state", "features", ["repeats"], marks=pytest.mark.heavy),
        ("broken-unseeded", "features", ["repeats"]),
        pytest.param("broken-module-state-of-a-run", "features", ["resumes"], marks=pytest.mark.heavy),
        ("broken-forgets", "features", ["resumes"]),
        pytest.param("broken-shared-list", "features", ["repeats", "arguments"], marks=pytest.mark.heavy),
        ("broken-settings", "features", ["arguments"]),
        ("broken-grows", "features", ["growth"]),
        pytest.param("broken-grows-with-samples", "features", ["growth"], marks=pytest.mark.heavy),
        ("broken-small-batch", "features", ["batches"]),
        pytest.param("broken-crash", "features", ["batches"], marks=pytest.mark.heavy),
        ("broken-diverges", "features", ["losses"]),
    ],
)
def test_what_breaks_a_rule_fails_its_check_alone(name: str, mode: str, failing: list[str]) -> None:
    """`make test` has a fault or two for each check, `make test-all` the others."""
    load_plugin(BROKEN)
    entry = {"strategy": name}
    verdicts = judge(collect(entry, make_strategy(entry), [mode]))
    assert [check for check, verdict in verdicts.items() if verdict.status == "fail"] == failing, verdicts
    assert all(verdict.hint for verdict in verdicts.values() if verdict.status != "pass")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("sound-keeps", "it is resumed by default"),
        ("sound-iterates", "it is not resumed: Iterating.batches is a generator, which cannot be written"),
    ],
)
def test_how_a_strategy_is_resumed_is_told(name: str, how: str) -> None:
    load_plugin(BROKEN)
    entry = {"strategy": name}
    verdict = CHECKS["resumes"](collect(entry, make_strategy(entry), ["features"]))
    assert verdict.status == "pass" and verdict.hint.startswith(how), verdict


def test_a_fault_of_several_modes_is_told_once() -> None:
    load_plugin(BROKEN)
    entry = {"strategy": "broken-crash"}
    verdict = CHECKS["batches"](collect(entry, make_strategy(entry), ["features", "frozen"]))
    assert verdict.hint.startswith("features, frozen: KeyError: 'nothing'") and verdict.hint.count("nothing") == 1


def test_growth_is_one_of_three_words() -> None:
    with pytest.raises(InputError, match="'sample'; did you mean 'samples'"):
        type("Grows", (Strategy,), {"__module__": __name__, "state_growth": "sample"})


def test_the_modes_are_all_that_a_suite_may_ask_for() -> None:
    assert set(MODES) == {"features", "frozen", "images"}


@pytest.mark.heavy
def test_avalanches_synaptic_intelligence_does_nothing_on_a_cpu(cli: Callable) -> None:
    name = "avalanche.training.plugins:SynapticIntelligencePlugin"
    answer = cli("check", name, "--set", "si_lambda=1000.0", "--json")
    assert answer.code == 1
    report = json.loads(answer.out)
    assert report["settings"]["args"] == {"si_lambda": 1000.0}
    assert report["failed"] == ["acts"]


@pytest.mark.usefixtures("checked_on_features")
def test_the_command_tells_what_failed(cli: Callable) -> None:
    answer = cli("check", "broken-noop", "--plugin", BROKEN)
    assert answer.code == 1
    *rows, summary = answer.out.splitlines()
    columns = [row.split("\t") for row in rows]
    assert [name for name, *_ in columns] == list(CHECKS)
    assert [name for name, status, _ in columns if status == "fail"] == ["acts"]
    assert summary.startswith("broken-noop: ") and "1 fail" in summary


@pytest.mark.usefixtures("checked_on_features")
def test_the_command_passes_settings_on(cli: Callable) -> None:
    answer = cli("check", "lwf", "--set", "alpha=0", "--json")  # without distillation it is fine-tuning
    assert answer.code == 1
    assert json.loads(answer.out)["failed"] == ["acts"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lwff"], "did you mean 'lwf'"),
        (["lwf", "--set", "alfa=1"], "alfa"),
        (["lwf", "--set", "alpha"], "key=value"),
        (["lwf", "--set", "alpha=[1"], "YAML"),
        (["lwf", "--plugin", "nothing.py"], "no such file"),
        (["avalanche.training.plugins:Nothing"], "Nothing"),
        (["os:getcwd"], "not an Avalanche plugin"),
        (["avalanche.training.plugins:SynapticIntelligencePlugin"], "si_lambda"),
    ],
)
def test_wrong_words_are_an_error_of_one_line(cli: Callable, words: list[str], message: str) -> None:
    answer = cli("check", *words)
    assert answer.code == 2 and message in answer.err
    assert len(answer.err.strip().splitlines()) == 1 and not answer.out
