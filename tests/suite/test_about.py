"""`about:` of a suite: the strategies that its report is about."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from answers import refused

from lorisbench.common.errors import InputError
from lorisbench.runs.store import Output
from lorisbench.suite.resolve import load_suite
from lorisbench.suite.shipped import shipped

LABELS = {"naive": None, "ewc": None, "strong": {"strategy": "ewc", "ewc_lambda": 99}}


def test_one_label_or_several_may_be_named(suite_file) -> None:
    for given, wanted in (("ewc", ["ewc"]), (["strong", "ewc"], ["strong", "ewc"]), (None, []), ([], [])):
        suite = load_suite(str(suite_file(strategies=LABELS, about=given)))
        assert suite.resolved["about"] == wanted
    assert load_suite(str(suite_file(strategies=LABELS))).resolved["about"] == []
    assert load_suite(str(suite_file(strategies=LABELS)), assignments=["about=ewc"]).resolved["about"] == ["ewc"]


def test_a_label_that_there_is_not_is_refused_with_the_nearest(suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file(strategies=LABELS, about="strnog")
    refused(cli("run", suite, "--out", tmp_path / "out"), "about: 'strnog'", "did you mean 'strong'")
    with pytest.raises(InputError, match="strategies"):  # what is wrong there comes first
        load_suite(str(suite_file(strategies={}, about="ewc")))


def test_it_goes_with_the_strategies_that_are_left_out(suite_file) -> None:
    suite = str(suite_file(strategies=LABELS, about=["ewc", "strong"]))
    assert load_suite(suite, strategies=["naive", "strong"]).resolved["about"] == ["strong"]
    assert load_suite(suite, strategies=["naive"]).resolved["about"] == []


def test_it_changes_no_run_and_says_nothing_of_tuning(suite_file) -> None:
    plain = load_suite(str(suite_file(strategies=LABELS, tuning="by hand.")))
    named = load_suite(str(suite_file(strategies=LABELS, tuning="by hand.")), assignments=["about=ewc"])
    assert [run.run_id for run in plain.runs] == [run.run_id for run in named.runs]
    assert [run.config for run in plain.runs] == [run.config for run in named.runs]
    assert named.config.tuning == "by hand."


def test_a_folder_that_is_gone_on_with_keeps_what_it_was_about(suite_file, tmp_path: Path) -> None:
    out = Output(tmp_path / "out")

    def kept(about: list[str], *strategies: str) -> list[str]:
        suite = load_suite(str(suite_file(strategies=LABELS, about=about)), strategies=strategies)
        merged = out.check(suite)
        out.root.mkdir(exist_ok=True)
        (out.root / "suite.yaml").write_text(yaml.safe_dump(merged, sort_keys=False))
        return list(merged["about"])

    assert kept(["strong"]) == ["strong"]
    assert kept(["strong"], "naive") == ["strong"]
    assert kept(["ewc"]) == ["ewc", "strong"], "in the order of the strategies"
    old = yaml.safe_load((out.root / "suite.yaml").read_text())
    (out.root / "suite.yaml").write_text(yaml.safe_dump({key: old[key] for key in old if key != "about"}))
    assert kept(["ewc"]) == ["ewc"], "a folder of before the key"


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_suites_are_about_the_dynamic_network(name: str) -> None:
    config = load_suite(name).config
    assert config.about == [label for label, entry in config.strategies.items() if entry.strategy.name == "dnn"]
