"""The grammar of a strategy's entry: what is short for what, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from answers import refused

from lorisbench.common.errors import InputError
from lorisbench.common.yaml_files import from_yaml
from lorisbench.conformance.kit import entry_of
from lorisbench.suite.benchmarks import make_benchmark
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.entries import by_label, make_strategy, part_of, read_entry, settings_of, written_out
from lorisbench.suite.parsing import parse
from lorisbench.suite.training import TrainingConfig

PLUGIN = "avalanche.training.plugins:ReplayPlugin"


@pytest.mark.parametrize(
    ("entry", "label", "expected"),
    [
        (None, "ewc", {"strategy": "ewc"}),
        ({}, "ewc", {"strategy": "ewc"}),
        ({"ewc_lambda": 3}, "ewc", {"strategy": "ewc", "ewc_lambda": 3}),
        ({"strategy": "ewc", "training": "hik2019"}, "mine", {"strategy": "ewc", "training": "hik2019"}),
        ({"avalanche": PLUGIN, "args": {"mem_size": 6}}, "mine",
         {"strategy": "avalanche", "plugin": PLUGIN, "args": {"mem_size": 6}}),
        ({"stack": ["ewc"], "training": {"epochs": 1}}, "mine",
         {"strategy": "stack", "stack": ["ewc"], "training": {"epochs": 1}}),
        ({"strategy": {"stack": ["ewc"]}, "training": {"epochs": 1}}, "mine",
         {"strategy": "stack", "stack": ["ewc"], "training": {"epochs": 1}}),
        ({"strategy": {"avalanche": PLUGIN}}, None, {"strategy": "avalanche", "plugin": PLUGIN}),
        ({"ewc_lambda": 3}, None, {"ewc_lambda": 3}),
        (3, "mine", 3),
        (None, None, None),
    ],
)  # fmt: skip
def test_shorthands_are_written_out_and_what_is_written_out_stays(entry: Any, label: str | None, expected: Any) -> None:
    found = written_out(entry, label)
    assert found == expected and written_out(found, label) == expected


def test_names_in_a_list_are_labels() -> None:
    assert by_label(["ewc", 3]) == {"ewc": None, "3": None}
    assert by_label({"ewc": None}) == {"ewc": None} and by_label("ewc") == "ewc"


@pytest.mark.parametrize("item", ["ewc", {"ewc": None}, {"ewc": {"ewc_lambda": 100}}, {"strategy": "ewc"}])
def test_an_item_of_a_stack_is_a_strategy(item: Any) -> None:
    assert part_of(item, "stack.0") == make_strategy({"strategy": "ewc"})
    assert part_of(part_of(item, "stack.0"), "stack.0") == make_strategy({"strategy": "ewc"})


def test_an_entry_has_the_suites_training_with_its_own_before_it() -> None:
    suite = TrainingConfig(epochs=7, lr=0.5)
    entry = read_entry("mine", {"strategy": "dnn", "answer": "batch", "training": {"lr": 0.1}, "remarks": ["?"]}, suite)
    assert entry.training == TrainingConfig(epochs=7, lr=0.1) and entry.strategy.answer == "batch"
    assert entry.settings["remarks"] == entry.strategy.remarks() != ["?"]
    assert read_entry("mine", entry.settings, suite) == entry, "what is written is read as the same"
    for wrong, message in (({"lr": 0}, r"\.lr"), (3, ": expected a mapping")):
        with pytest.raises(InputError, match=rf"strategies\.mine\.training{message}"):
            read_entry("mine", {"strategy": "ewc", "training": wrong}, suite)


def test_settings_of_a_strategy_are_all_or_those_that_differ_also_in_a_stack() -> None:
    stack = make_strategy({"strategy": "stack", "stack": ["lwf", {"ewc": {"ewc_lambda": 3}}]})
    changed = {"strategy": "stack", "stack": [{"strategy": "lwf"}, {"strategy": "ewc", "ewc_lambda": 3.0}]}
    assert settings_of(stack, changed_only=True) == changed
    whole = settings_of(stack)
    assert [list(part) for part in whole["stack"]] == [
        ["strategy", *type(part).model_fields] for part in stack.stack
    ] and make_strategy(whole) == stack


def test_check_takes_a_name_or_a_plugin_of_avalanche() -> None:
    assert entry_of("ewc", assignments=["ewc_lambda=3"]) == {"strategy": "ewc", "ewc_lambda": 3}
    assert entry_of(PLUGIN, assignments=["mem_size=6"]) == written_out({"avalanche": PLUGIN, "args": {"mem_size": 6}})


def test_names_in_a_suite_are_what_is_written() -> None:
    labels = ["no", "012", "7", "null", "1.0"]
    entries = ", ".join(f"{label}: {{strategy: naive}}" for label in labels)
    rest = "name: 2024, benchmark: {}, about: [no, 7], latency: {enabled: no}"
    suite = parse(SuiteConfig, from_yaml(f"{{strategies: {{{entries}}}, {rest}}}"))
    assert list(suite.strategies) == labels and suite.about == ["no", "7"]
    assert suite.name == "2024" and suite.latency.enabled is False
    settings = from_yaml("{name: folder, root: x, domains: [off, 2019, 012], objects: [no, 3]}")
    benchmark = make_benchmark(settings)
    assert (benchmark.domains, benchmark.objects) == (["off", "2019", "012"], ["no", "3"])
    with pytest.raises(InputError, match=r"objects.*0: .*needs quotes \(got True\)"):
        make_benchmark({"name": "folder", "root": "x", "objects": [True, "cup"]})


@pytest.mark.parametrize("word", ["no", "off", "yes"])
def test_a_word_is_no_truth_for_arguments_that_are_handed_on(word: str) -> None:
    entry = {"plugin": "avalanche.training.plugins:RARPlugin", "args": {"use_adversarial_replay": word}}
    refused(lambda: make_strategy({"strategy": "avalanche", **entry}), f"true or false, not the word {word!r}")
