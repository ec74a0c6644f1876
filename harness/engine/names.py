"""The classes and functions that a checkpoint may name: found among what is imported already, never imported for it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

_PROJECT = __name__.partition(".")[0]
_KNOWN = ("torch.nn", "torch.optim", "torch.utils.data", "avalanche", "collections", _PROJECT)
_OWN_FUNCTIONS = ("torch.nn", "avalanche", _PROJECT)


def name_of(value: Any) -> str:
    """`module:qualified name` of a class or function."""
    return f"{value.__module__}:{value.__qualname__}"


class Names:
    """Where classes and functions may be looked up by name.

    That is in torch's, Avalanche's and the harness's modules; in the modules that define the objects of a freshly built
    strategy (`note`), such as a plugin file; and in those that such a module has imported itself, but for Python's own.
    """

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}
        self._modules: set[str] = set()
        self._reachable: set[str] = set()

    def note(self, kind: type) -> None:
        """Remember the class of an object that a freshly built strategy holds."""
        if self._classes.setdefault(name_of(kind), kind) is kind and kind.__module__ not in self._modules:
            self._modules.add(kind.__module__)
            self._reachable |= {kind.__module__, *_imported_by(kind.__module__)}

    def outside(self) -> list[str]:
        """Names of the modules of others that define a noted object, or that such a module imports; sorted."""
        return sorted(name for name in self._reachable if not _is_in(name, _KNOWN) and not _is_pythons(name))

    def class_of(self, name: str) -> type | None:
        """The class of this name, or None if there is none or it may not be named."""
        if name in self._classes:
            return self._classes[name]
        module = name.partition(":")[0]
        allowed = _is_in(module, _KNOWN) or (module in self._reachable and not _is_pythons(module))
        found = _looked_up(name) if allowed else None
        return found if isinstance(found, type) else None

    def function_of(self, name: str) -> FunctionType | None:
        """The function of this name at the top of a module, or None as for `class_of`; of torch only those of nn."""
        module = name.partition(":")[0]
        allowed = _is_in(module, _OWN_FUNCTIONS) or module in self._modules & set(self.outside())
        found = _looked_up(name) if allowed else None
        return found if isinstance(found, FunctionType) else None


@functools.cache
def has_plain_state(kind: type) -> bool:
    """Whether all that an object of a class holds are its attributes: no base of it is written in C, but `object`."""
    room = kind.__basicsize__ - object.__basicsize__ - 8 * len(slots_of(kind))
    return room <= 2 * 8 and (hasattr(kind, "__dict__") and (bool(slots_of(kind)) or kind.__dictoffset__ != 0))


@functools.cache
def slots_of(kind: type) -> list[str]:
    """Names of the attributes of a class that are kept outside `__dict__`."""
    return [
        name for base in kind.__mro__ for name, value in vars(base).items() if isinstance(value, MemberDescriptorType)
    ]


def is_of(module: str | None, packages: Iterable[str]) -> bool:
    """Whether a module belongs to one of the top-level packages."""
    return (module or "").partition(".")[0] in packages


def _imported_by(module: str) -> set[str]:
    if _is_pythons(module) or _is_in(module, (*_KNOWN, "torch", "numpy")):
        return set()
    found: set[str] = set()
    for value in vars(sys.modules.get(module, object)).values():
        if isinstance(value, ModuleType):
            found.add(value.__name__)
        elif isinstance(value, (type, FunctionType, BuiltinFunctionType)) and value.__module__:
            found.add(value.__module__)
    return found


def _looked_up(name: str) -> Any:
    module, _, path = name.partition(":")
    value: Any = sys.modules.get(module)
    for step in path.split("."):
        value = None if value is None else vars(value).get(step)
    return value if value is not None and getattr(value, "__module__", None) == module else None


def _is_in(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _is_pythons(module: str) -> bool:
    return is_of(module, sys.stdlib_module_names) and module != "__main__"
