"""Components of a package found by reading its sources, without importing them (they import torch and avalanche)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.files import is_leftover
from lorisbench.common.reading import read_text

REQUIRED = "(required)"


@dataclass(frozen=True)
class Entry:
    """What is known about a component without importing it.

    `fields` maps a setting to its (type, default), `transductive` to the values with which it looks at several test
    images at once.
    """

    name: str
    module: str
    summary: str
    fields: dict[str, tuple[str, Any]] = field(default_factory=dict)
    origin: str = "built-in"
    transductive: dict[str, list[Any]] = field(default_factory=dict)


def summary_of(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


def scan(folder: Path, package: str) -> Iterator[Entry]:
    """The components that the files of a folder and its subfolders define: classes with `name="..."` in their bases.

    Settings inherited from a class in these files are included. Raises InputError naming file and line if a file
    is not valid Python.
    """
    found: dict[str, tuple[str, ast.ClassDef]] = {}
    for path in sorted(folder.rglob("*.py")):
        if any(map(is_leftover, path.relative_to(folder).parts)):
            continue
        try:
            tree = ast.parse(read_text(path), filename=str(path))
        except SyntaxError as error:
            raise InputError(f"{path}:{error.lineno}: {error.msg}") from error
        except ValueError as error:  # a null byte
            raise InputError(f"{path}: not a Python file ({error})") from error
        module = ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        found |= {node.name: (module, node) for node in tree.body if isinstance(node, ast.ClassDef)}
    classes = {name: node for name, (_, node) in found.items()}
    for module, node in found.values():
        for keyword in node.keywords:
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                summary = summary_of(ast.get_docstring(node))
                fields, transductive = _fields(node, classes), _literal(node, "transductive")
                yield Entry(str(keyword.value.value), module, summary, fields, transductive=transductive or {})


def _literal(node: ast.ClassDef, name: str) -> Any:
    """The value that a class's body gives to `name`; None if it gives none."""
    for item in node.body:
        if isinstance(item, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in item.targets):
            return ast.literal_eval(item.value)
    return None


def _fields(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, tuple[str, Any]]:
    fields: dict[str, tuple[str, Any]] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            fields |= _fields(classes[base.id], classes)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            if not annotation.startswith("ClassVar"):
                fields[item.target.id] = (annotation, _default(item.value))
    return fields


def _default(value: ast.expr | None) -> Any:
    """The default as a value; for `Field(default, ...)` its first argument; as source text if it is not a literal."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Field":
        value = next((k.value for k in value.keywords if k.arg == "default"), value.args[0] if value.args else None)
    if value is None:
        return REQUIRED
    try:
        return ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)
