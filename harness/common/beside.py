"""Modules beside a plugin file: importable while it loads and while it runs, and its own even if others share a name.

They never hide a module of Python or of an installed package: whoever imports `random` gets Python's, even where a
`random.py` lies beside the plugin.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from types import ModuleType
from typing import Any

_OWN: dict[str, dict[str, ModuleType]] = {}  # by folder: the modules imported from it, kept here between its turns
_ADDED: dict[str, list[str]] = {}  # by folder: what code from there has put on sys.path


class _Finder:
    """Finds top-level modules in one folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if path is not None or "." in name or _is_taken(name):
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self.folder])


@contextlib.contextmanager
def importable(*folders: Path | str) -> Iterator[None]:
    """Let code import the modules of these folders, first those of the first one.

    When the block ends, they are no longer in `sys.modules`, where a module of the same name from elsewhere may have
    been before and is then again; what the code has added to `sys.path` is gone too. A later block for the same folder
    finds both as they were.
    """
    with contextlib.ExitStack() as stack:
        for folder in reversed([str(Path(folder).resolve()) for folder in folders]):
            stack.enter_context(_one(folder))
        yield


@contextlib.contextmanager
def _one(folder: str) -> Iterator[None]:
    own = _OWN.setdefault(folder, {})
    sys.path_importer_cache.pop(folder, None)  # files may have been written since it was last looked at
    names = {name for name in modules_in(Path(folder)) if not _is_taken(name)}
    before = _loaded(names)
    for name, module in before.items():
        if not _is_in(module, folder):
            del sys.modules[name]
    sys.modules.update({name: module for name, module in own.items() if name not in sys.modules})
    finder: Any = _Finder(folder)
    sys.meta_path.insert(0, finder)
    path = list(sys.path)
    sys.path[:0] = _ADDED.get(folder, [])
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(finder)
        _ADDED[folder] = [place for place in sys.path if place not in path]
        sys.path[:] = path
        for name, module in _loaded(names).items():
            if name not in before and _is_in(module, folder):
                own[name] = module
                del sys.modules[name]
        for name, module in before.items():
            if sys.modules.get(name) is not module:
                if name in sys.modules and _is_in(sys.modules[name], folder):
                    own[name] = sys.modules[name]
                sys.modules[name] = module


def _loaded(names: Set[str]) -> dict[str, ModuleType]:
    """The imported modules of these top-level names, with those inside packages."""
    found = {name: sys.modules[name] for name in names if name in sys.modules}
    inside = tuple(f"{name}." for name, module in found.items() if hasattr(module, "__path__"))
    if not inside:
        return found  # what follows looks at thousands
    return found | {name: module for name, module in list(sys.modules.items()) if name.startswith(inside)}


def forget_beside(folder: Path) -> None:
    """Let the modules of a folder be imported anew, from their source: what Python has compiled goes by seconds."""
    _OWN.pop(str(folder), None)
    for file in folder.glob("*.py"):
        with contextlib.suppress(OSError):
            Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)


def is_beside(module: str) -> bool:
    """Whether a module, by name, was imported from the folder of a plugin file."""
    return any(module in own for own in _OWN.values())


def shadowed(folder: Path, module: str) -> bool:
    """Whether a file of a folder has this name but cannot be imported, as Python or an installed package has it too."""
    return module in modules_in(folder) and _is_taken(module)


def modules_in(folder: Path) -> set[str]:
    """The top-level names of the modules and packages in a folder."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return set()
    found = {entry.stem for entry in entries if entry.suffix == ".py"}
    found |= {entry.name for entry in entries if entry.is_dir() and next(entry.glob("*.py"), None) is not None}
    return {name for name in found if name.isidentifier()}


def _is_taken(name: str) -> bool:
    if name in sys.stdlib_module_names or name == __name__.partition(".")[0]:
        return True
    installed = [place for place in (*_site(), *sys.path) if Path(place).name in ("site-packages", "dist-packages")]
    spec = importlib.machinery.PathFinder.find_spec(name, installed)
    return spec is not None and spec.origin is not None


@functools.cache
def _site() -> tuple[str, str]:
    """Where packages are installed."""
    return sysconfig.get_path("purelib"), sysconfig.get_path("platlib")


def _is_in(module: Any, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", []))
    return any(Path(folder) in Path(place).resolve().parents for place in places)
