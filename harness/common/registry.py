"""A typed registry of strategies and benchmarks: lazy entries, nearest-name errors, external plugins.

Built-in components are found by reading (not importing) the source files of their package, so that listing
them costs milliseconds although the modules themselves import torch and avalanche.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from lorisbench.common.beside import forget_beside, importable, is_beside, shadowed
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.fingerprint import is_as_loaded, of_file, texts
from lorisbench.common.restored import restored
from lorisbench.common.scan import Entry, scan, summary_of

_PROJECT = __name__.partition(".")[0]
_PLUGIN = "lorisbench_plugin_"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'ewc'?`, or the list of known names when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    if not names or len(names) > 20:
        return ""
    return f"; available: {', '.join(names)}"


class Registry:
    """Components of one kind by name.

    Parameters
    ----------
    kind : word used in messages, `strategy` or `benchmark`.
    package : import package whose source files are scanned for built-ins.
    group : entry-point group of installed external packages.
    """

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind = kind
        self._package = package
        self._group = group
        self._loaded: dict[str, type] = {}
        self._entries: dict[str, Entry] | None = None

    def add(self, name: str, component: type) -> None:
        """Register an imported class. Raises InputError for an invalid name or one that another class holds."""
        module = component.__module__
        if not (isinstance(name, str) and re.fullmatch(r"\w[\w.+-]*", name)):
            raise InputError(
                f"{name!r} cannot name a {self.kind} (in {module}): use letters, digits and, after the first, _.+-"
            )
        holder = self._loaded.get(name)
        known = self.entries().get(name)
        if (holder is not None and (holder.__module__, holder.__qualname__) != (module, component.__qualname__)) or (
            known is not None and known.origin == "built-in" and known.module != module
        ):
            other = holder.__module__ if holder is not None else known.module if known else ""
            whose = f"another one in {module}" if other == module else f"the one in {other}"
            raise InputError(f"{self.kind} {name!r} in {module} clashes with {whose}; rename it")
        self._loaded[name] = component
        if known is None:
            self.entries()[name] = Entry(name, module, summary_of(component.__doc__), origin="plugin")

    def entries(self) -> dict[str, Entry]:
        """All known components, sorted by name: built-ins from their source, installed ones from their metadata."""
        if self._entries is None:
            found: dict[str, Entry] = {}
            for entry in scan(_folder_of(self._package), self._package):
                found[entry.name] = entry
            for point in entry_points(group=self._group):
                if point.name in found:
                    other = found[point.name]
                    if point.value.partition(":")[0] == other.module.partition(":")[0]:
                        continue  # the same one twice
                    kind = "a built-in" if other.origin == "built-in" else f"the one in {other.module}"
                    raise InputError(
                        f"{self.kind} {point.name!r} of the installed package {point.value} clashes with {kind}"
                    )
                found[point.name] = Entry(point.name, point.value, "(installed package)", origin="entry point")
            self._entries = found
        return self._entries

    def forget(self, module: str) -> None:
        """Leave out what a module has registered, which is to be loaded anew."""
        for name in [name for name, kind in self._loaded.items() if kind.__module__ == module]:
            del self._loaded[name]
            self.entries().pop(name, None)

    def names(self) -> list[str]:
        return sorted(self.entries())

    def get(self, name: str) -> type:
        """The class registered as `name`, imported now if needed. Raises InputError naming the nearest name."""
        if name not in self._loaded:
            entry = self.entries().get(name)
            if entry is None:
                raise InputError(f"unknown {self.kind} {name!r}{nearest(name, self.names())}")
            module = entry.module.partition(":")[0]
            try:
                with _put_back(entry), contextlib.redirect_stdout(sys.stderr):
                    importlib.import_module(module)
            except InputError:
                raise
            except (Exception, SystemExit) as error:  # whatever an outside module's own code raises
                raise InputError(f"{self.kind} {name!r} ({module}) cannot be imported: {reason_of(error)}") from error
            if name not in self._loaded:
                raise InputError(f"{module} defines no {self.kind} named {name!r}")
        return self._loaded[name]


def _put_back(entry: Entry) -> contextlib.AbstractContextManager[None]:
    """What an installed package changes in the process as it is imported is put back; built-ins change nothing."""
    return contextlib.nullcontext() if entry.origin == "built-in" else restored()


def _folder_of(package: str) -> Path:
    """The folder of an import package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{package} is not installed as a package")
    return Path(next(iter(spec.submodule_search_locations)))


def load_plugin(file: str | Path) -> None:
    """Import a plugin file given by `--plugin` or `plugins:`; its strategies and benchmarks register themselves.

    Modules in its folder can be imported meanwhile (see `beside`). What it prints goes to stderr, and what it changes
    in the process, such as the working folder or torch's defaults, is put back. A file that has been loaded is loaded
    again only if it, or one beside it that it imports, has changed since. Raises InputError in one line if the
    file is missing, fails to import, exits, takes a name that is already taken, or defines no component.
    """
    path = Path(file)
    whole = path.resolve()
    if not path.is_file():
        raise InputError(f"plugin {path}: {'a folder, not a Python file' if path.is_dir() else 'no such file'}")
    module_name = f"{_PLUGIN}{path.stem}"
    if module_name in sys.modules:
        if getattr(sys.modules[module_name], "__file__", None) != str(whole):
            # a file of the same name in another folder is a different module: their components may clash
            module_name += hashlib.blake2b(str(whole).encode("utf-8"), digest_size=4).hexdigest()
        if module_name in sys.modules:
            if is_as_loaded(whole):
                return
            forget_beside(whole.parent)  # a file that was edited, as in a notebook, is loaded again
            del sys.modules[module_name]
            for registry in _ALL:
                registry.forget(module_name)
    of_file(whole)  # as it is loaded
    spec = importlib.util.spec_from_file_location(module_name, whole)
    if spec is None or spec.loader is None:
        raise InputError(f"plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    before = _outside_kinds()
    if any(word in path.read_bytes() for word in (b"torch", b"avalanche")):
        import torch  # noqa: F401  # before the file does, so that what the file changes in it can be put back
    try:
        with restored(), importable(whole.parent), contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except InputError as error:
        del sys.modules[module_name]
        raise InputError(f"plugin {path}: {error}") from error
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        text = " ".join(str(error).partition("For further information visit")[0].split())  # pydantic's own page
        reason = f"{type(error).__name__}: {text}{_where(error, path)}{_hint(error, path)}"
        raise InputError(f"plugin {path} cannot be imported: {reason}") from error
    # Its own components, or those of a package that it imports, now or earlier
    kinds = _outside_kinds()
    if kinds <= before and not any(isinstance(value, type) and value in kinds for value in vars(module).values()):
        del sys.modules[module_name]
        raise InputError(f"plugin {path} defines no strategy or benchmark{_nearly(module)}")


def _where(error: BaseException, path: Path) -> str:
    """The last line of a plugin file that an error passed through; a syntax error names its line itself."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path.resolve())]
    return f" (line {lines[-1]})" if lines else ""


def _hint(error: BaseException, path: Path) -> str:
    """What to do about an error that a plugin file meets when it is imported, if that is known."""
    if isinstance(error, TypeError) and "__init_subclass__" in str(error):
        return "; a class with name=... must be a subclass of lorisbench.Strategy or lorisbench.Benchmark"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "; a plugin file is no part of a package: write `from helper import x` for the helper.py beside it"
    top = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if top and shadowed(path.resolve().parent, top):
        return f"; {top}.py beside it has the name of a module of Python or of an installed package: rename it"
    return ""


def _nearly(module: ModuleType) -> str:
    """Which class of a plugin file without components was perhaps meant to be one, and how it becomes one."""
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    for kind in own:
        base = getattr(getattr(kind, "registry", None), "kind", "").capitalize()
        if base:
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.__name__).lower()
            return f': {kind.__name__} has no name, class {kind.__name__}({base}, name="{name}")'
    plugins = [kind.__name__ for kind in own if hasattr(kind, "before_training_exp")]
    if plugins:
        return f': {plugins[0]} is an Avalanche plugin, which plugins() of a class X(Strategy, name="x") must return'
    if own:
        return f': {own[0].__name__} is not a subclass of lorisbench.Strategy (class X(Strategy, name="x"))'
    return ' (class X(Strategy, name="x"))'


def file_of(kind: type) -> str:
    """The file that a class is defined in, or its module where there is none."""
    return str(getattr(sys.modules.get(kind.__module__), "__file__", None) or kind.__module__)


def with_folders_of(kinds: Iterable[type]) -> contextlib.AbstractContextManager[None]:
    """Let code of these classes import the modules beside the plugin files that define them (`beside.importable`)."""
    files = [file_of(kind) for kind in kinds if kind.__module__.startswith(_PLUGIN)]
    return importable(*dict.fromkeys(Path(file).parent for file in files))


@contextlib.contextmanager
def apart(kinds: Iterable[type]) -> Iterator[None]:
    """For code of these classes: it may import what lies beside it, and what it changes in the process is put back."""
    with restored(), with_folders_of(kinds):
        yield


def carried(settings: Any) -> list[type]:
    """The classes named in settings that a worker process would not find by itself: those of a script or notebook.

    `settings` are mappings and lists of a resolved suite; built-ins and classes from plugin files are left out.
    """
    named = set(texts(settings))
    outside = _outside_kinds()
    kinds = {kind for kind in outside if not kind.__module__.startswith(_PLUGIN) and not is_beside(kind.__module__)}
    return sorted((kind for kind in kinds if getattr(kind, "name", None) in named), key=lambda kind: kind.__qualname__)


def _outside_kinds() -> set[type]:
    """All classes that are registered and imported, except those of the project's own packages."""
    loaded = {kind for registry in _ALL for kind in registry._loaded.values()}
    return {kind for kind in loaded if kind.__module__.partition(".")[0] != _PROJECT}


def import_object(dotted: str) -> Any:
    """The object behind `package.module:Name`. Raises InputError naming what is missing."""
    module_name, colon, attribute = dotted.partition(":")
    if not colon:
        raise InputError(f"{dotted!r} is not of the form package.module:ClassName")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise InputError(f"{module_name!r} of {dotted!r} cannot be the name of a module")
    try:
        with restored(), contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"{module_name} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        raise InputError(f"{module_name} cannot be imported: {reason_of(error)}") from error
    if not hasattr(module, attribute):
        raise InputError(
            f"{module_name} has no {attribute!r}{nearest(attribute, [n for n in dir(module) if n[0].isupper()])}"
        )
    return getattr(module, attribute)


STRATEGIES = Registry("strategy", f"{_PROJECT}.strategies", "lorisbench.strategies")
BENCHMARKS = Registry("benchmark", f"{_PROJECT}.benchmarks", "lorisbench.benchmarks")
_ALL = (STRATEGIES, BENCHMARKS)


def select(kind: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """`wanted` without repeats, in the order given; each must be known. Raises InputError naming the nearest."""
    for item in wanted:
        if item not in known:
            raise InputError(f"unknown {kind} {item!r}{nearest(item, known)}")
    return list(dict.fromkeys(wanted))
