"""What goes wrong in someone's first strategy or reader: one line that names file and class and says what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answers import refused

from lorisbench.common import beside
from lorisbench.common.registry import BENCHMARKS, STRATEGIES, carried, load_plugin
from lorisbench.conformance.toy import Running, Toy
from lorisbench.engine.checked import HOOKS, checked_plugins
from lorisbench.suite.entries import make_component, read_entry
from lorisbench.suite.training import TrainingConfig

HEAD = """
import torch
from avalanche.core import SupervisedPlugin
from lorisbench import Benchmark, Strategy


class MyPlugin(SupervisedPlugin):
    pass


"""
MINE = HEAD + 'class Mine(Strategy, name="mine"):\n'


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers and imports is forgotten after it."""
    for registry in (STRATEGIES, BENCHMARKS):
        for name, entry in registry.entries().items():
            if entry.origin == "built-in":
                registry.get(name)
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
        monkeypatch.setattr(registry, "_entries", dict(registry.entries()))
    yield
    for name in [name for name in sys.modules if name.startswith("lorisbench_plugin_")]:
        del sys.modules[name]


def written(folder: Path, text: str, name: str = "my_method.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "class Mine(Strategy):\n    alpha: float = 1\n", ["Mine has no name", 'Mine(Strategy, name="mine")']),
        (HEAD + 'class Mine(Strategy):\n    name = "mine"\n', ["Mine has no name"]),
        (HEAD + "class MyData(Benchmark):\n    root: str\n", ['MyData(Benchmark, name="my-data")']),
        (HEAD, ["MyPlugin is an Avalanche plugin", "plugins()"]),
        (HEAD.partition("class")[0] + "class Mine:\n    pass\n", ["Mine is not a subclass of lorisbench.Strategy"]),
        (HEAD + 'class Mine(MyPlugin, name="mine"):\n    pass\n', ["(line 11)", "subclass of lorisbench.Strategy"]),
        (HEAD + 'class Mine(name="mine"):\n    pass\n', ["subclass of lorisbench.Strategy"]),
        (MINE + "    alpha = 1.0\n", ["alpha", "annotation"]),
        (MINE + "    def __init__(self, alpha):\n        self.alpha = alpha\n", ["Mine has an __init__", "annotated"]),
        (MINE + "    def plugins(self):\n        return []\n", ["Mine.plugins(self)", "def plugins(self, context)"]),
        (MINE + "    def wrap(self, model):\n        return model\n", ["Mine.wrap", "def wrap(self, model, context)"]),
        (MINE + "    def build(self):\n        pass\n", ["Mine.build", "def build(self, context)"]),
        (MINE + "    def plugins(self, context)\n        return []\n", ["SyntaxError", "line 12"]),
        ("from lorisbench import Strateggy\n", ["Strateggy", "(line 1)"]),
        ("from .helper import x\n", ["(line 1)", "from helper import x"]),
        ("\nimport no_such_module\n", ["no_such_module", "(line 2)"]),
    ],
)  # fmt: skip
def test_a_file_that_defines_no_strategy_says_why(tmp_path: Path, text: str, words: list[str]) -> None:
    file = written(tmp_path, text)
    line = refused(lambda: load_plugin(file), str(file), *words)
    assert " ".join(line.split())  # the command line prints it as one line


RETURNS = "return a list of Avalanche plugins, such as [MyPlugin()]"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def plugins(self, context): [MyPlugin()]", ["Mine.plugins()", "returned None", RETURNS]),
        ("def plugins(self, context): return MyPlugin()", ["Mine.plugins()", "single MyPlugin", RETURNS]),
        ("def plugins(self, context): return [MyPlugin]", ["the class MyPlugin", "MyPlugin(...)"]),
        ("def plugins(self, context): return [MyPlugin(), None]", ["a list with None in it", RETURNS]),
        ("def plugins(self, context): return 'mine'", ["returned a str", RETURNS]),
        ("def plugins(self, context): return [3]", ["a list with a int in it", RETURNS]),
        ("def wrap(self, model, context): model", ["Mine.wrap()", "returned None", "torch.nn.Module"]),
        ("def wrap(self, model, context): return torch.nn.Linear", ["Mine.wrap()", "the class Linear"]),
        ("def build(self, context): context.engine(context.model, [])", ["Mine.build()", "returned None"]),
        ("def build(self, context): return [MyPlugin()]", ["Mine.build()", "returned a list", "context.engine"]),
    ],
)  # fmt: skip
def test_what_a_method_must_return(tmp_path: Path, body: str, words: list[str]) -> None:
    load_plugin(file := written(tmp_path, f"{MINE}    {body}\n"))
    for strategy in ({"strategy": "mine"}, {"strategy": "stack", "stack": ["mine"]}):
        if "build" in body and strategy["strategy"] == "stack":
            continue
        with pytest.raises(TypeError) as error:
            Running(Toy(strategy))
        assert all(word in str(error.value) for word in (*words, str(file))), error.value


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        ("before_backward(self)", ["Mine.before_backward(self) in", "def before_backward(self, strategy, **kwargs)"]),
        ("before_trainig_exp(self, strategy)", ["Mine.before_trainig_exp in", "'before_training_exp'"]),
        ("after_train_exp(self, strategy)", ["Mine.after_train_exp in", "'after_training_exp'"]),
    ],
)
def test_a_callback_that_cannot_be_called_is_named(tmp_path: Path, callback: str, words: list[str]) -> None:
    body = f"class Mine(MyPlugin):\n    def {callback}:\n        pass\n"
    strategy = 'class M(Strategy, name="m"):\n    def plugins(self, context):\n        return [Mine()]\n'
    load_plugin(file := written(tmp_path, HEAD + body + strategy))
    with pytest.raises(TypeError) as error:
        Running(Toy({"strategy": "m"}))
    assert all(word in str(error.value) for word in (*words, str(file))), error.value


def test_a_dataclass_is_none(tmp_path: Path) -> None:
    mine = '@dataclass\nclass Mine(Strategy, name="mine"):\n    alpha: float = 1\n'
    load_plugin(file := written(tmp_path, f"from dataclasses import dataclass\n{HEAD}{mine}"))
    refused(lambda: make_component(STRATEGIES, "mine", {}, "strategies.mine"), "Mine", str(file), "@dataclass")


def test_plugins_of_every_kind_are_accepted() -> None:
    from avalanche.training import plugins as avalanche

    class Duck:
        def after_training_exp(self, strategy: Any) -> None: ...

    duck = Duck()
    given = (duck, avalanche.ReplayPlugin(5), avalanche.GEMPlugin(4, 0.5), avalanche.LwFPlugin())
    assert checked_plugins(Strategy := type("Strategy", (), {}), given) == list(given) and Strategy
    assert checked_plugins(Strategy, (each for each in given)) == list(given)
    assert {"before_training_exp", "after_eval_iteration", "before_eval_forward"} <= set(HOOKS)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def remarks(self): return 'transductive'", ["Mine.remarks()", "a list of texts"]),
        ("def remarks(self): return {}['x']", ["Mine", "KeyError"]),
        ("def replay_limit(self): return '200'", ["Mine.replay_limit()", "a number of samples"]),
        ("def model_post_init(self, _): self.nothing()", ["Mine", "AttributeError"]),
    ],
)
def test_what_a_class_declares_is_checked_before_any_run(tmp_path: Path, body: str, words: list[str]) -> None:
    load_plugin(file := written(tmp_path, f"{MINE}    {body}\n"))
    refused(lambda: read_entry("mine", {"strategy": "mine"}, TrainingConfig()), "strategies.mine", str(file), *words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return None", ["returned None", "Manifest"]),
        ("return [1, 2]", ["returned [1, 2]", "Manifest"]),
        ("return {}['x']", ["KeyError"]),
        ("import os, torch; os.chdir('/'); torch.set_default_dtype(torch.float64); 1 / 0", ["ZeroDivisionError"]),
    ],
)
def test_a_readers_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    text = f'{HEAD}class Mine(Benchmark, name="my-data"):\n    def manifest(self):\n        {body}\n'
    load_plugin(file := written(tmp_path, text))
    reader = make_component(BENCHMARKS, "my-data", {}, "benchmark")
    refused(reader.manifest, "Mine.manifest()", str(file), *words)
    assert Path.cwd() == tmp_path


# ---------------------------------------------------------------- modules beside the file

HELPED = """
from lorisbench import Strategy
from helper import NAME, Shared
from tools.inside import DEPTH


class Late:
    def before_training_exp(self, strategy, **kwargs):
        from late import WHEN
        import helper

        assert helper.NAME == NAME == self.__class__.expected and WHEN == "late " + NAME and helper.Shared is Shared


class Helped(Strategy, name="{name}"):
    depth: int = DEPTH

    def plugins(self, context):
        Late.expected = "{name}"
        return [Late()]
"""


ON_PATH = """
import sys
from lorisbench import Strategy
sys.path.insert(0, {place!r})


class Late:
    def before_training_exp(self, strategy, **kwargs):
        import from_elsewhere_{name}


class Elsewhere(Strategy, name="{name}"):
    def plugins(self, context):
        return [Late()]
"""


def test_what_a_file_adds_to_the_path_holds_for_its_runs(tmp_path: Path) -> None:
    path = list(sys.path)
    for name in ("first", "second"):
        written(tmp_path / f"lib-{name}", "", f"from_elsewhere_{name}.py")
        load_plugin(written(tmp_path / name, ON_PATH.format(place=str(tmp_path / f"lib-{name}"), name=name)))
    assert sys.path == path
    with beside.importable(tmp_path / "first"):
        Running(Toy({"strategy": "first"}, epochs=(1, 1))).learn(0)
        with pytest.raises(ModuleNotFoundError):
            Running(Toy({"strategy": "second"}, epochs=(1, 1))).learn(0)
    assert sys.path == path


def with_helpers(folder: Path, name: str) -> Path:
    written(folder, f'NAME = "{name}"\n\n\nclass Shared: ...\n', "helper.py")
    written(folder, f'WHEN = "late {name}"\n', "late.py")
    written(folder / "tools", "", "__init__.py")
    written(folder / "tools", f"from helper import NAME\nDEPTH = {len(name)}\n", "inside.py")
    return written(folder, HELPED.format(name=name), "with_help.py")


def test_modules_beside_a_file_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = type(sys)("helper")
    monkeypatch.setitem(sys.modules, "helper", mine)  # the caller's, of the same name
    path, finders = list(sys.path), list(sys.meta_path)
    for name in ("one", "another"):
        load_plugin(with_helpers(tmp_path / name, name))
    assert sys.modules["helper"] is mine and "tools.inside" not in sys.modules
    assert (sys.path, sys.meta_path) == (path, finders)
    for name in ("one", "another", "one"):
        running = Running(Toy({"strategy": name}, epochs=(1, 1)))
        with beside.importable(tmp_path / name):
            running.learn(0)
        assert running.component.depth == len(name) and sys.modules["helper"] is mine
    assert carried({"strategies": {"one": {"strategy": "one"}}}) == []


@pytest.mark.heavy
@pytest.mark.usefixtures("checked_on_features")
def test_a_run_and_a_check_find_them_too(suite_file: Callable[..., Path], cli: Any, tmp_path: Path) -> None:
    files = [str(with_helpers(tmp_path / name, name)) for name in ("one", "another")]
    suite = suite_file(strategies=["one", "another"], plugins=files, training={"epochs": 1, "batch_size": 4})
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert cli("check", "one", "--plugin", files[0]).out.count("fail") <= 2  # acts: it adds nothing to fine-tuning


@pytest.mark.heavy
def test_worker_processes_find_them_too(suite_file: Callable[..., Path], cli: Any, tmp_path: Path) -> None:
    files = [str(with_helpers(tmp_path / name, name)) for name in ("one", "another")]
    suite = suite_file(strategies=["one", "another"], plugins=files, training={"epochs": 1, "batch_size": 4})
    assert cli("run", suite, "--out", tmp_path / "out", "--workers", 2).code == 0


def test_a_failing_run_says_what_to_return(suite_file: Callable[..., Path], cli: Any, tmp_path: Path) -> None:
    file = written(tmp_path, MINE + "    def plugins(self, context):\n        [MyPlugin()]\n")
    suite = suite_file(strategies=["mine", "naive"], plugins=[str(file)], training={"epochs": 1, "batch_size": 4})
    answer = cli("run", suite, "--out", tmp_path / "out")
    runs = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert answer.code == 1 and dict(runs.status) == {"mine": "failed", "naive": "done"}
    assert RETURNS in runs.reason["mine"] and RETURNS in answer.err and "Traceback" not in answer.err
    assert np.isnan(runs.accuracy_last["mine"])


@pytest.mark.parametrize("name", ["random", "torch", "calendar", "lorisbench"])
def test_a_file_may_be_named_as_a_module_of_python(tmp_path: Path, name: str) -> None:
    load_plugin(written(tmp_path, f"import {name}\n{MINE}    pass\n", f"{name}.py"))
    assert sys.modules[name].__file__ != str(tmp_path / f"{name}.py") and "mine" in STRATEGIES.names()


@pytest.mark.parametrize("name", ["random", "yaml"])
def test_a_helper_that_nobody_can_import_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path, "SPECIAL = 1\n", f"{name}.py")
    file = written(tmp_path, f"from {name} import SPECIAL\n")
    refused(lambda: load_plugin(file), str(file), f"{name}.py beside it", "rename it")
