"""`lorisbench new strategy`: each template works unchanged, on features and images, under any name that is accepted."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from answers import refused
from pages import ROOT, rows
from registries import forgotten
from safetensors.numpy import load_file
from small_runs import bench, interrupted, run, written

from lorisbench.cli.scaffold import KINDS, strategy_of, write_scaffold
from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES, load_plugin

HEAVY = pytest.mark.heavy
pytestmark = pytest.mark.usefixtures("one_thread")

# Names that are not quite ordinary: one letter, gaps, words of YAML and of Python, what the templates call something
NAMES = ("x", "a__b_", "null", "on", "try_1", "plugin", "teacher", "memory", "head", "strategies", "training", "ewc2")


def module_of(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def checks_of(file: Path) -> dict[str, list[Callable[[], None]]]:
    """The tests of a file by name, each as often as it has parameters."""
    found: dict[str, list[Callable[[], None]]] = {}
    for name, test in vars(module_of(file)).items():
        if name.startswith("test_"):
            marks = [mark.args for mark in getattr(test, "pytestmark", ())]
            calls = [lambda t=test, k=key, v=value: t(**{k: v}) for key, values in marks for value in values]
            found[name] = calls or [test]
    return found


@pytest.fixture(scope="module")
def written_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a strategy of each kind, `trial_KIND`, that is known by then."""
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        load_plugin(write_scaffold(strategy_of(kind), f"trial_{kind}", folder)[0])
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_short_and_written_as_the_house_is(written_once: Path, kind: str) -> None:
    for file in (written_once / f"trial_{kind}.py", written_once / f"test_trial_{kind}.py"):
        lines = file.read_text().replace(f"trial_{kind}", "mine").splitlines()
        assert len(lines) <= 60 and max(map(len, lines)) <= 120, file
    documented = [node for node in ast.walk(ast.parse((written_once / f"trial_{kind}.py").read_text()))
                  if isinstance(node, ast.Module | ast.ClassDef) and ast.get_docstring(node)]  # fmt: skip
    assert len(documented) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_its_test_passes(written_once: Path, kind: str) -> None:
    """All but the checks, which take seconds: those are made below."""
    checks = checks_of(written_once / f"test_trial_{kind}.py")
    del checks["test_it_conforms"]
    assert len(checks) >= 3
    for calls in checks.values():
        for call in calls:
            call()


@pytest.mark.usefixtures("checked_on_features")
def test_its_test_makes_the_checks(written_once: Path) -> None:
    (conforms,) = checks_of(written_once / "test_trial_heads.py")["test_it_conforms"]
    conforms()


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_its_checks_pass(written_once: Path, kind: str) -> None:
    (conforms,) = checks_of(written_once / f"test_trial_{kind}.py")["test_it_conforms"]
    conforms()


BREAKS = {
    "penalty": ("0.5 * self.strength", "0 * self.strength"),
    "distillation": ("self.strength * self.temperature", "0 * self.temperature"),
    "replay": ("[: self.memory]", "[:0]"),
    "features": ("self.xx + x.T", "x.T"),
    "heads": (".argmin(", ".argmax("),
    "plain": ("self._move(weights, away, -1)", "pass"),
}


@pytest.mark.parametrize("kind", [kind if kind == "heads" else pytest.param(kind, marks=HEAVY) for kind in KINDS])
def test_its_test_fails_when_the_method_is_broken(written_once: Path, tmp_path: Path, kind: str) -> None:
    plugin, test = write_scaffold(strategy_of(kind), f"broken_{kind}", tmp_path)
    assert BREAKS[kind][0] in plugin.read_text()
    plugin.write_text(plugin.read_text().replace(*BREAKS[kind]))
    calls = [call for name, each in checks_of(test).items() if name != "test_it_conforms" for call in each]
    failed = 0
    for call in calls:
        try:
            call()
        except AssertionError:
            failed += 1
    assert 1 <= failed < len(calls)


KEEPING = ("replay", "features", "heads")  # what the others keep is a copy of the model


@pytest.mark.parametrize("train", [pytest.param("never", marks=HEAVY), "first", pytest.param("always", marks=HEAVY)])
@pytest.mark.parametrize("kind", [kind if kind in KEEPING else pytest.param(kind, marks=HEAVY) for kind in KINDS])
def test_it_runs_and_goes_on_after_an_interrupt(written_once: Path, tmp_path: Path, kind: str, train: str) -> None:
    """On features of a pretrained backbone, on those of one that was trained first, and on images."""
    inputs = {"never": {}, "first": {"backbone": {"train": "first"}}, "always": {"backbone": {"train": "always"}}}
    made = bench({"strategy": f"trial_{kind}"}, **inputs[train])
    run(made, tmp_path / "whole")
    status = interrupted(made, tmp_path / "parts", [2]).status()
    assert written(tmp_path / "parts") == written(tmp_path / "whole") and status["resumed"] == [2]


def test_the_default_is_a_penalty_that_runs_in_a_suite(cli, suite_file, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "mine"
    answer = cli("new", "strategy", "my_method", "--out", folder)
    assert answer.code == 0, answer.err
    assert answer.out.split() == [str(folder / "my_method.py"), str(folder / "test_my_method.py")]
    assert "my_method" in cli("ls", "strategies", "--plugin", folder / "my_method.py").out
    strategies = {"naive": None, "my_method": {"strength": 5}, "weak": {"strategy": "my_method", "strength": 0}}
    suite = suite_file(strategies=strategies, latency={"enabled": False}, plugins=[str(folder / "my_method.py")])
    assert cli("run", suite, "--out", tmp_path / "out").code == 0
    heads = {f.name.split(".")[1]: load_file(f / "checkpoint" / "model.safetensors")["head.weight"]
             for f in (tmp_path / "out" / "runs").iterdir()}  # fmt: skip
    assert np.array_equal(heads["naive"], heads["weak"]) and not np.array_equal(heads["naive"], heads["my_method"])


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_works_under_any_name_that_is_accepted(tmp_path: Path, kind: str) -> None:
    accepted = []
    with forgotten():
        for name in NAMES:
            try:
                plugin, test = write_scaffold(strategy_of(kind), name, tmp_path)
            except InputError:
                continue
            assert test.name == f"test_{name}.py" and "test_it_conforms" in checks_of(test)
            assert STRATEGIES.get(name).__module__ == f"lorisbench_plugin_{name}", plugin
            accepted.append(name)
    assert len(accepted) > 8, accepted


@pytest.mark.parametrize(
    ("kind", "name", "class_name"),
    [
        ("penalty", "value_error", "ValueError"),
        ("distillation", "supervised", "SupervisedPlugin"), ("distillation", "positive_float", "PositiveFloat"),
        ("replay", "any", "Any"), ("features", "linear", "Linear"), ("features", "context", "Context"),
        ("heads", "classifier", "Classifier"), ("plain", "supervised_template", "SupervisedTemplate"),
        ("plain", "none", "None"), ("plain", "strategy", "Strategy"), ("penalty", "path", "Path"),
    ],
)  # fmt: skip
def test_a_name_whose_class_the_file_uses_for_something_else_is_refused(
    cli, tmp_path: Path, kind: str, name: str, class_name: str
) -> None:
    words = (repr(name), class_name, "something else in that file")
    refused(cli("new", "strategy", name, "--kind", kind, "--out", tmp_path / "new"), *words)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "name",
    ["ewc", "My", "my-method", "1st", "class", "torch", "conftest", "test_it", "it_test", "../up", "", "_x", "x" * 61],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["penalty", "heads"])
def test_names_that_cannot_be_are_refused(cli, tmp_path: Path, name: str, kind: str) -> None:
    refused(cli("new", "strategy", name, "--kind", kind, "--out", tmp_path / "new"), repr(name))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("kind", "near"),
    [("penalti", "'penalty'"), ("Replay", "'replay'"), ("feature", "'features'"), ("head", "'heads'"),
     ("distill", "'distillation'"), ("", "available: distillation, features"), ("xyz", "plain, replay")],
)  # fmt: skip
def test_a_kind_that_there_is_not_is_one_line_with_the_nearest(cli, tmp_path: Path, kind: str, near: str) -> None:
    refused(cli("new", "strategy", "mine", "--kind", kind, "--out", tmp_path / "new"), "--kind", repr(kind), near)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("file", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten(cli, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("years of work")
    refused(cli("new", "strategy", "mine", "--out", tmp_path), str(tmp_path / file))
    assert [path.name for path in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).read_text() == "years of work"


def test_the_page_has_a_row_for_each_kind_with_a_complete_plugin() -> None:
    table = rows(ROOT / "strategies" / "README.md", "Templates and complete examples")
    assert [row[0].strip("`").partition("`")[0] for row in table] == list(KINDS)
    methods = ROOT / "tests" / "plugins" / "example_methods"
    shown = {row[3].partition("example_methods/")[2].partition(")")[0] for row in table}
    assert shown == {file.name for file in methods.glob("[!_]*.py")}


def test_the_help_tells_the_kinds(cli) -> None:
    told = cli("new", "strategy", "--help").out
    assert all(kind in told for kind in KINDS)


def test_a_strategy_with_a_word_of_yaml_for_a_name_runs(cli, suite_file, tmp_path: Path) -> None:
    with forgotten():
        plugin, _ = write_scaffold(strategy_of("features"), "null", tmp_path)
        answer = cli("run", suite_file(strategies={"null": None}), "--plugin", plugin, "--out", tmp_path / "out")
        assert answer.code == 0, answer.err
        assert cli("run", suite_file(), "--add", "null", "--plugin", plugin, "--dry-run").out.count("null") == 1
