"""`lorisbench new`: a strategy or a benchmark to start from, with its test; both work unchanged."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text
from lorisbench.common.registry import BENCHMARKS, STRATEGIES, Registry, nearest
from lorisbench.common.targets import output_folder

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 60  # characters of a name, which is part of the names of folders as well
KINDS = ("penalty", "distillation", "replay", "features", "heads", "plain")
"""What a new strategy may be made of; the first is the default."""


@dataclass(frozen=True)
class Scaffold:
    """What is written for a name: `template`.txt and `template`_test.txt."""

    registry: Registry
    template: str

    @property
    def texts(self) -> tuple[str, str]:
        """Of the component and of its test, with @NAME@ and @CLASS@ where those of the component belong."""
        component, test = ((TEMPLATES / f"{self.template}{end}.txt").read_text("utf-8") for end in ("", "_test"))
        return component, test


def strategy_of(kind: str) -> Scaffold:
    """What a strategy of one of `KINDS` starts from. Raises InputError, naming the nearest, for any other."""
    if kind not in KINDS:
        raise InputError(f"--kind {kind!r}: no such kind of strategy{nearest(kind.lower(), KINDS)}")
    return Scaffold(STRATEGIES, kind)


BENCHMARK = Scaffold(BENCHMARKS, "benchmark")


def write_scaffold(scaffold: Scaffold, name: str, folder: Path) -> list[Path]:
    """Write NAME.py and test_NAME.py into a folder, which is created if missing; returns their paths.

    Raises InputError, with nothing written, for a name that no module or class can have, that another component of
    the kind or an installed package has, or whose files exist already.
    """
    _check_name(scaffold, name)
    output_folder(folder)
    files = [folder / f"{name}.py", folder / f"test_{name}.py"]
    for file in files:
        if file.exists():
            raise InputError(f"{file} exists already; nothing was written")
    if importlib.util.find_spec(name) is not None:
        raise InputError(f"{name!r} is an installed module, which {name}.py could hide; choose another name")
    for file, text in zip(files, scaffold.texts, strict=True):
        write_text(file, text.replace("@NAME@", name).replace("@CLASS@", _class_of(name)))
    return files


def _check_name(scaffold: Scaffold, name: str) -> None:
    """Raise InputError for a name with which the files would not work, or that is taken."""
    kind = scaffold.registry.kind
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or len(name) > LONGEST:
        rule = f"up to {LONGEST} lower-case letters, digits and _, such as my_{kind}"
        raise InputError(f"{name[: LONGEST + 1]!r} cannot name a {kind}: {rule}")
    if keyword.iskeyword(name):
        raise InputError(f"{name!r} is a Python keyword and cannot name a {kind}")
    if name == "conftest" or name.startswith("test_") or name.endswith("_test"):
        raise InputError(f"{name!r} cannot name a {kind}: pytest would take {name}.py for a file of its own")
    if name in scaffold.registry.names():
        raise InputError(f"there is already a {kind} {name!r}")
    for text in scaffold.texts:
        own, others = _identifiers(text, _class_of(name))
        if taken := sorted(own & (others | {*keyword.kwlist})):
            raise InputError(
                f"{name!r} cannot name a {kind}: its class would be {_class_of(name)}, and {taken[0]} is something "
                "else in that file; choose another name"
            )


def _class_of(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _identifiers(text: str, camel: str) -> tuple[set[str], set[str]]:
    """The names in a template's code: those made of the class's name, as they are with `camel`, and all others."""
    mark = "ClassOfTheTemplate"
    used: set[str] = set()
    for node in ast.walk(ast.parse(text.replace("@NAME@", "name").replace("@CLASS@", mark))):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            used.add(node.name)
        elif isinstance(node, ast.alias):
            used.add(node.asname or node.name.partition(".")[0])
    own = {name for name in used if mark in name}
    return {name.replace(mark, camel) for name in own}, used - own
