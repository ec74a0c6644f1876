"""The harness knows no strategy: it imports none, and has the name of none in its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lorisbench
from lorisbench.common.registry import STRATEGIES

HARNESS = Path(lorisbench.__file__).resolve().parent
METHODS = "lorisbench.strategies."
ABOUT_METHODS = ("bench/", "cli/", "reproduce/verification/")  # that measure or check them; the commands name both
WORDS = {"avalanche", "stack", "frozen"}  # the grammar of a strategy's entry, the library, a state of a backbone
CONTROL = ("conformance/checks.py", "naive")  # what trains without a method is what others are compared with


def files() -> list[str]:
    found = sorted(path.relative_to(HARNESS).as_posix() for path in HARNESS.rglob("*.py"))
    return [path for path in found if not path.startswith(ABOUT_METHODS)]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("file", files())
def test_no_strategy_is_known_by_module_or_name(file: str) -> None:
    names = {entry.name for entry in STRATEGIES.entries().values() if entry.origin == "built-in"} - WORDS
    assert len(names) > 20
    tree = ast.parse((HARNESS / file).read_text("utf-8"))
    assert [module for module in imported(tree) if module.startswith(METHODS)] == []
    assert [text for text in texts(tree) if text in names and (file, text) != CONTROL] == []
    assert [text for text in texts(tree) if text.startswith(METHODS)] == [], "a module by its name in a text"


def test_rooms_that_are_about_methods_are_where_they_are_thought_to_be() -> None:
    assert len(files()) > 60
    for room in ABOUT_METHODS:
        assert any((HARNESS / room).glob("*.py")), room
