"""The code of a method from outside: a fingerprint, so that results of two versions of it are told apart."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from lorisbench.common.beside import modules_in, shadowed

_OURS = (__name__.partition(".")[0], "avalanche", "torch", "torchvision")  # env.json has their versions
_DOTTED = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*")
_LENGTH = 10  # hex digits
_known: dict[Path, str] = {}  # what `of_file` has said of a file
_told: dict[tuple[str, str], dict[str, str]] = {}  # what `know` was told of a class


def code_of(kinds: Iterable[type], settings: Any = None) -> dict[str, str]:
    """What the code of these classes, and of what settings name as `package.module:Name`, is: by file or package.

    A file from outside, with the files beside it that it imports, has a hash of their bytes; a package its version, or
    a hash of its files if it has none or is installed so that it can be edited; a class of a script or notebook a hash
    of its source and of what it uses there. LorisBench, Avalanche and torch are left out.
    """
    found: dict[str, str] = {}
    dotted = filter(None, map(_DOTTED.fullmatch, texts(settings)))
    modules: list[tuple[str, type | None]] = [(each[1], None) for each in dotted if each[1] in sys.modules]
    for kind in kinds:
        if _place(kind) in _told:
            found |= _told[_place(kind)]
        else:
            modules.append((kind.__module__, kind))
    for name, typed in modules:
        top = name.partition(".")[0]
        if top in _OURS or (top in sys.stdlib_module_names and top != "__main__"):
            continue
        file = getattr(sys.modules.get(name), "__file__", None)
        if top == "__main__" or file is None:
            if typed is not None:
                found[typed.__name__] = _short("\n".join(_sources(typed)))
        elif version := _version(top, file):
            found[top] = version
        elif getattr(sys.modules.get(top), "__file__", None) and hasattr(sys.modules[top], "__path__"):
            found[top] = _of_package(top)
        else:
            found[Path(file).name] = of_file(Path(file).resolve())
    return dict(sorted(found.items()))


def know(kind: type, code: Mapping[str, str]) -> None:
    """Let `code_of` say this of a class that was sent from another process, where its source is."""
    _told[_place(kind)] = dict(code)


def _place(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def changed(before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> list[str]:
    """The files, packages and classes whose code is not the same, or that are in one of the two only."""
    known, new = before or {}, now or {}
    return sorted(name for name in {*known, *new} if known.get(name) != new.get(name))


def of_file(path: Path) -> str:
    """A hash of a file and of the files beside it that it imports: as they were when this was first asked."""
    if path not in _known:
        _known[path] = _now(path)
    return _known[path]


def is_as_loaded(path: Path) -> bool:
    """Whether a file, and those that it imports, are as they were when `of_file` was first asked; else it forgets."""
    return of_file(path) == _now(path) or _known.pop(path) is None


def _now(path: Path) -> str:
    return _short(*map(_text, sorted(_with_imported(path))))


def _with_imported(path: Path) -> set[Path]:
    """A Python file, and those beside it that it imports, wherever in its code it does, and they import in turn."""
    folder, found, waiting = path.parent, {path}, [path]
    here = modules_in(folder)
    while waiting:
        names = {name.partition(".")[0] for name in _imported(waiting.pop())}
        for name in names & here:
            if shadowed(folder, name):
                continue
            module = folder / f"{name}.py"
            files = {module} if module.is_file() else set((folder / name).rglob("*.py"))
            waiting += files - found
            found |= files
    return found


def _imported(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # it cannot be imported either
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@functools.cache
def _version(package: str, file: str) -> str:
    """The version of an installed package whose files are where it was installed; else an empty text."""
    for name in importlib.metadata.packages_distributions().get(package, []):
        distribution = importlib.metadata.distribution(name)
        places = {Path(str(distribution.locate_file(each))).resolve() for each in distribution.files or []}
        if Path(file).resolve() in places:
            return distribution.version
    return ""


@functools.cache
def _of_package(package: str) -> str:
    """A hash of the Python files of a package."""
    roots = [Path(root) for root in sys.modules[package].__path__]
    return _short(*(_text(file) for root in roots for file in sorted(root.rglob("*.py"))))


def _sources(kind: type) -> Iterator[str]:
    """The source of a class and of the classes and functions of its module that its code names, in turn."""
    module, seen, waiting = sys.modules.get(kind.__module__), set(), [kind.__name__]
    known = {**vars(module)} if module is not None else {}
    known[kind.__name__] = kind
    while waiting:
        name = waiting.pop(0)
        value = known.get(name)
        if name in seen or getattr(value, "__module__", None) != kind.__module__:
            continue
        seen.add(name)
        functions = list(_functions(value))
        yield from (_source(function) for function in functions)
        if isinstance(value, type):
            yield from (f"{key} = {default!r}" for key, default in _fields(value))
            waiting += [base.__name__ for base in value.__mro__]
        codes = (code for function in functions for code in nested(function.__code__))
        waiting += sorted({name for code in codes for name in code.co_names})


def _functions(value: Any) -> Iterator[FunctionType]:
    held = vars(value).values() if isinstance(value, type) else [value]
    for each in held:
        function = getattr(each, "__func__", getattr(each, "fget", each))
        if isinstance(function, FunctionType):
            yield function


def _fields(kind: type) -> Iterator[tuple[str, Any]]:
    """The settings of a class and their defaults."""
    for name, field in sorted(getattr(kind, "model_fields", {}).items()):
        yield name, getattr(field, "default", None)


def _source(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed in, where nothing keeps the text
        return " ".join(_compiled(function.__code__))


def _compiled(code: CodeType) -> Iterator[str]:
    yield f"{code.co_name} {code.co_code.hex()} {code.co_names}"
    for constant in code.co_consts:
        yield from _compiled(constant) if isinstance(constant, CodeType) else [repr(constant)]


def nested(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of all that is defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def texts(value: Any) -> Iterator[str]:
    """The texts in settings, which are mappings and lists of a resolved suite."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for item in value.values() for text in texts(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in texts(item))


def _text(file: Path) -> bytes:
    return file.read_bytes().replace(b"\r\n", b"\n")


def _short(*parts: str | bytes) -> str:
    digest = hashlib.blake2b(digest_size=_LENGTH // 2)
    for part in parts:
        digest.update(part.encode("utf-8") if isinstance(part, str) else part)
    return digest.hexdigest()
