"""The benchmark of a stream: its settings object, made from plain values, and the values that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import BENCHMARKS
from lorisbench.suite.entries import make_component
from lorisbench.suite.paths import placed


def make_benchmark(settings: Mapping[str, Any], where: str = "benchmark") -> Any:
    """The benchmark's settings object, from settings that are written out (`name` plus its fields).

    Raises InputError, in one line naming the key below `where`.
    """
    settings = dict(settings)
    return make_component(BENCHMARKS, settings.pop("name", None), settings, where)


def resolve_benchmark(
    settings: Mapping[str, Any], data_root: Path | None, base: Path | None = None, where: str = "benchmark"
) -> Any:
    """The benchmark of written-out settings; with `data_root`, its counterpart that reads real data in that layout.

    A `data_root` that is a file holds features, and the counterpart is their reader.

    `base` as for `resolve`, `where` as for `make_benchmark`.
    """
    settings = dict(settings)
    if data_root is not None and data_root.is_file():
        return _of_features(make_benchmark(settings, where), settings, data_root, where)
    if data_root is not None and "root" in settings:
        settings["root"] = str(data_root.resolve())
    if base is not None and settings.get("name") in BENCHMARKS.names():
        settings = placed(BENCHMARKS.get(settings["name"]), settings, base, where)
    if data_root is not None:
        component = make_benchmark(settings, where)
        if component.real is not None:
            # the same protocol on real data: keep the settings that the real benchmark also has
            target = BENCHMARKS.get(component.real)
            settings = {"name": component.real, **_kept(component, target, settings)}
        elif "root" not in type(component).model_fields:
            raise InputError(f"{where} {component.name!r} reads no folder: --data-root does not apply")
        settings["root"] = str(data_root.resolve())
    return make_benchmark(settings, where)


def _of_features(component: Any, settings: Mapping[str, Any], file: Path, where: str) -> Any:
    """A file of features in place of the images of a benchmark, with the settings that both have."""
    kept = _kept(component, BENCHMARKS.get("features"), settings)
    return make_benchmark({"name": "features", **kept, "file": str(file.resolve())}, where)


def _kept(component: Any, target: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if _same_field(type(component), target, key)}


def _same_field(one: Any, other: Any, key: str) -> bool:
    """Whether a setting means the same in two components (`objects` is how many to render, or which to use)."""
    fields = one.model_fields, other.model_fields
    return all(key in known for known in fields) and fields[0][key].annotation == fields[1][key].annotation


def settings_of_benchmark(benchmark: Any, changed_only: bool = False) -> dict[str, Any]:
    """A benchmark as plain values, written out: with all settings, or only those that differ from defaults."""
    return {"name": benchmark.name, **benchmark.model_dump(mode="json", exclude_defaults=changed_only)}


def check_alike(benchmarks: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise InputError if streams read different kinds of data, which are not in one folder."""
    kinds: dict[str, str] = {}
    for name, settings in benchmarks.items():
        kind = settings.get("name")
        component: Any = BENCHMARKS.get(kind) if kind in BENCHMARKS.names() else None
        read = getattr(component, "real", None) or getattr(component, "reads", "") or kind
        kinds.setdefault(str(read), name)
    if len(kinds) > 1:
        told = ", ".join(f"{name} {kind}" for kind, name in kinds.items())
        raise InputError(
            f"--data-root: the streams read different data ({told}), which are not in one folder; give each its own by "
            f"--set benchmarks.NAME.root=DIR, or name some by --streams"
        )
