"""Strategies from outside: installed packages by their entry points, plugin files, and what each fault says."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from answers import refused
from registries import forgotten

from lorisbench.data.manifest import Manifest

PLUGIN = '''
from lorisbench import Strategy

class Outside(Strategy, name="{name}"):
    """An outside strategy."""
    strength: float = 2.0
    needs_task_labels = {needs}
'''


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    with forgotten():
        yield


# ---------------------------------------------------------------- installed packages


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a package of one module with an entry point: `install(text, name="outside", module="its_module")`."""

    def make(text: str, name: str = "outside", module: str = "outside_module", distribution: str = "outsider") -> Path:
        site = tmp_path / "site"
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[lorisbench.strategies]\n{name} = {module}:Outside\n")
        (site / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)
        return site

    return make


def test_an_installed_strategy_is_listed_and_run(install, suite_file, cli, tmp_path: Path) -> None:
    site = install(PLUGIN.format(name="outside", needs=False))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "lorisbench", "ls", "strategies"]
    listed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert "outside" in listed
    suite = suite_file(strategies={"outside": {"strength": 3}}, latency={"enabled": False})
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "strength: 3" in (tmp_path / "out" / "suite.yaml").read_text()
    refused(cli("run", suite_file(strategies={"outside": {"strenght": 3}}), "--dry-run"), "'strength'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module_at_all\n", ["'outside'", "outside_module", "no_such_module_at_all"]),
        ("1 / 0\n", ["'outside'", "outside_module", "ZeroDivisionError"]),
        ("def broken(:\n", ["'outside'", "outside_module", "SyntaxError"]),
        ("x = 1\n", ["outside_module", "'outside'", "no strategy"]),
        (PLUGIN.format(name="ewc", needs=False), ["'ewc'", "outside_module", "clashes", "lorisbench.strategies.ewc"]),
    ],
)
def test_a_faulty_installed_package_gives_one_line(install, suite_file, cli, text: str, words: list[str]) -> None:
    install(text)
    assert cli("ls", "strategies").code == 0, "what is not used does not matter"
    assert cli("run", suite_file(), "--dry-run").code == 0
    refused(cli("run", suite_file(strategies=["outside"]), "--dry-run"), *words)


def test_names_that_are_taken_are_refused(install, suite_file, cli) -> None:
    site = install("", name="ewc")
    refused(cli("ls", "strategies"), "'ewc'", "outside_module:Outside", "built-in")
    (site / "outsider-1.0.dist-info" / "entry_points.txt").write_text("[lorisbench.strategies]\nmine = one:Outside\n")
    other = site / "another-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[lorisbench.strategies]\nmine = two:Outside\n")
    importlib.invalidate_caches()
    refused(cli("ls", "strategies"), "'mine'", "one:Outside", "two:Outside")
    (other / "entry_points.txt").write_text("[lorisbench.strategies]\nmine = one:Outside\n")
    importlib.invalidate_caches()
    assert "mine" in cli("ls", "strategies").out, "the same twice is no clash"


# ---------------------------------------------------------------- --plugin

NAMED = PLUGIN.format(name="mine", needs=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise RuntimeError('two\\nlines')\n", ["RuntimeError: two lines"]),
        ("raise SystemExit(0)\n", ["SystemExit"]),
        ("def broken(:\n", ["SyntaxError"]),
        ("x = 1\n", ["defines no strategy"]),
        ("from lorisbench.strategies.lwf import LwF\n", ["defines no strategy"]),
        (PLUGIN.format(name="ewc", needs=False), ["'ewc'", "clashes", "lorisbench.strategies.ewc"]),
        (NAMED + NAMED.replace("Outside", "Again"), ["'mine'", "another one"]),
        (NAMED.replace('"mine"', "3"), ["3 cannot name"]),
        (NAMED.replace('"mine"', '""'), ["'' cannot name"]),
        (NAMED.replace('"mine"', '"a/b"'), ["'a/b' cannot name"]),
        (NAMED.replace("strength", "training"), ["Outside", "'training'"]),
    ],
)
def test_a_faulty_file_gives_one_line(cli, tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "faulty.py"
    file.write_text(text)
    for _ in range(2):
        refused(cli("ls", "strategies", "--plugin", file), str(file), *words)


def test_a_folder_or_a_file_that_is_not_python_is_refused(cli, tmp_path: Path) -> None:
    (tmp_path / "readme").write_text(NAMED)
    refused(cli("ls", "--plugin", tmp_path), str(tmp_path), "a folder")
    refused(cli("ls", "--plugin", tmp_path / "readme"), "readme", "not a Python file")
    refused(cli("ls", "--plugin", tmp_path / "none.py"), "none.py", "no such file")


def test_files_of_one_name_are_told_apart(cli, tmp_path: Path) -> None:
    for folder, name in (("a", "mine"), ("b", "mine"), ("c", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file.py").write_text(PLUGIN.format(name=name, needs=False))
    first, second, third = (tmp_path / folder / "file.py" for folder in "abc")
    assert cli("ls", "strategies", "--plugin", first, "--plugin", first, "--plugin", third).code == 0
    refused(cli("ls", "strategies", "--plugin", first, "--plugin", second), str(second), "'mine'", "clashes")


def test_what_a_file_prints_does_not_mix_with_the_answer(cli, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("print('hello')\n" + NAMED)
    answer = cli("ls", "strategies", "--json", "--plugin", tmp_path / "loud.py")
    assert answer.code == 0 and "mine" in answer.out and "hello" in answer.err
    json.loads(answer.out)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":Y", ["':Y'"]),
        ("..a:Y", ["'..a:Y'"]),
        ("os:getcwd", ["not an Avalanche plugin"]),
        ("broken_on_import:Y", ["broken_on_import", "ZeroDivisionError"]),
        ("leaves_on_import:Y", ["leaves_on_import", "SystemExit"]),
        ("avalanche.training.plugins:LRSchedulerPlugin", ["LRSchedulerPlugin", "arguments", "AttributeError"]),
    ],
)
def test_a_faulty_plugin_for_avalanche_gives_one_line(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    (tmp_path / "broken_on_import.py").write_text("1 / 0\n")
    (tmp_path / "leaves_on_import.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    refused(cli("check", name, "--set", "scheduler=3"), *words)


def test_a_plugin_file_may_name_the_strategies_of_a_package(
    suite_file, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "authors_package.py").write_text(PLUGIN.format(name="authors", needs=False))
    for number in (1, 2):  # the package is imported anew, then known already
        (tmp_path / f"pointer{number}.py").write_text("from authors_package import *\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for number in (1, 2):
        answer = cli("ls", "strategies", "--plugin", tmp_path / f"pointer{number}.py")
        assert answer.code == 0 and "authors" in answer.out, answer.err


# ---------------------------------------------------------------- task labels


def test_a_strategy_that_needs_task_labels_is_refused_where_there_is_one(
    suite_file, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text(PLUGIN.format(name="needy", needs=True))
    strategies = {"naive": None, "mine": {"strategy": "needy"}, "both": {"stack": ["ewc", "needy"]}}
    options = ["--plugin", tmp_path / "needy.py", "--out", tmp_path / "out"]
    suite = suite_file(strategies=strategies, latency={"enabled": False})
    refused(cli("run", suite, *options), "strategies.mine", "needy", "task labels")
    refused(cli("run", suite, *options, "--strategies", "both"), "strategies.both", "stack", "task labels")
    assert not (tmp_path / "out" / "runs").exists(), "nothing has been trained"
    monkeypatch.setattr(Manifest, "task_labels", lambda self: np.arange(len(self.table)) % 2)
    assert cli("run", suite, *options).code == 0
