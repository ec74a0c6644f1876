"""Where the relative paths of a suite lead: beside the suite's file first, then in the current folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from lorisbench.common.errors import InputError
from lorisbench.suite.spec import PLACES


def folder_of(name_or_path: str) -> Path:
    """The folder of a suite's file; the current one for a shipped suite."""
    path = Path(name_or_path)
    return path.resolve().parent if path.is_file() else Path.cwd()


def find(text: str, base: Path) -> Path | None:
    """The path that exists: of a relative one, that beside the suite (in `base`), else that in the current folder."""
    path = Path(text).expanduser()
    return next((place for place in (base / path, Path.cwd() / path) if place.exists()), None)


def given_here(paths: Sequence[str]) -> list[str]:
    """Paths given on the command line or to a function: those that exist in the current folder, as absolute ones."""
    return [str(Path(path).absolute()) if Path(path).exists() else path for path in paths]


def find_plugin(plugin: str, base: Path | None) -> str:
    """A plugin's file as an absolute path. Raises InputError, naming the places, if there is none."""
    found = find(plugin, base or Path.cwd())
    if found is None:
        raise InputError(f"plugin {_not_found(plugin, base or Path.cwd(), 'no such file')}")
    return str(found.resolve())


def placed(component: Any, settings: Mapping[str, Any], base: Path, where: str) -> dict[str, Any]:
    """The settings of a component with its paths found.

    Paths are the settings in `PLACES`, which become absolute as they are no part of a run's id, and those annotated as
    `Path`, which stay as they are unless they exist beside the suite only. Raises InputError, naming the places where
    it was looked for, for one of `PLACES` that exists nowhere.
    """
    found = dict(settings)
    for key, value in settings.items():
        field = component.model_fields.get(key)
        if not isinstance(value, str) or not value or field is None:
            continue
        if key in PLACES:
            path = find(value, base)
            if path is not None:
                found[key] = str(path)
            elif not Path(value).expanduser().is_absolute() and not getattr(component, "makes_root", False):
                kind = "no such file" if key == "file" else "no such folder"
                raise InputError(f"{where}.{key}: {_not_found(value, base, kind)}")
        elif _holds_path(field.annotation) and (base / value).exists():
            here = Path(value).exists() and (base / value).samefile(value)
            found[key] = value if here else str(base / value)
    return found


def _not_found(text: str, base: Path, fault: str) -> str:
    here = Path.cwd()
    if Path(text).expanduser().is_absolute():
        return f"{text}: {fault}"
    if base == here:
        return f"{text}: {fault} in {here}"
    return f"{text}: {fault}, neither beside the suite ({base}) nor in the current folder ({here})"


def _holds_path(annotation: Any) -> bool:
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, Path)
    return any(_holds_path(part) for part in get_args(annotation))
