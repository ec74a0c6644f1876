"""A suite resolved: its plugins loaded, its components validated, its runs listed with their ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorisbench.common.component import Component
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.common.registry import BENCHMARKS, STRATEGIES, load_plugin, select
from lorisbench.suite.config import SuiteConfig, override, parse, read_suite
from lorisbench.suite.training import TrainingConfig, expand_preset, merged

OWN_KEYS = ("strategy", "training", "remarks")  # keys of a strategy's entry that are not settings of its class
UNTUNED = ("name", "description", "device", "latency", "seeds", "tuning", "about")  # what no chosen value depends on
PLACES = ("root", "file")  # settings of a benchmark that say where its images are, not which


@dataclass(frozen=True)
class RunSpec:
    """One run: what is trained, with which settings, under which seed. `config` is what config.yaml holds."""

    run_id: str
    label: str
    seed: int
    config: dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """A validated suite. `resolved` is the mapping written to suite.yaml: every default filled in."""

    config: SuiteConfig
    resolved: dict[str, Any]
    runs: list[RunSpec]


def load_suite(
    name_or_path: str,
    *,
    data_root: Path | None = None,
    strategies: Sequence[str] = (),
    seeds: Sequence[int] = (),
    assignments: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> Suite:
    """Read a suite by name or path, apply what the command line changes, and validate all of it.

    Raises InputError, in one line naming the key, for anything misspelt, unknown or out of range.
    """
    raw = read_suite(name_or_path)
    override(raw, assignments)
    changed = [each for each in assignments if each.partition("=")[0].partition(".")[0] not in UNTUNED]
    if raw.get("tuning") and changed:  # it tells which values were chosen: not all may hold any more
        raw["tuning"] = f"{raw['tuning']} Changed since: {', '.join(changed)}."
    if plugins:
        raw["plugins"] = [*(raw.get("plugins") or []), *plugins]
    base = Path(name_or_path).resolve().parent if Path(name_or_path).is_file() else Path.cwd()
    return resolve(parse(SuiteConfig, raw), data_root=data_root, strategies=strategies, seeds=seeds, base=base)


def resolve(
    config: SuiteConfig,
    *,
    data_root: Path | None = None,
    strategies: Sequence[str] = (),
    seeds: Sequence[int] = (),
    base: Path | None = None,
) -> Suite:
    """Fill in the defaults of every component and list the runs (strategies outer, seeds inner)."""
    config = config.model_copy(deep=True)
    config.plugins = [_find_plugin(plugin, base) for plugin in config.plugins]
    for plugin in config.plugins:
        load_plugin(plugin)
    if strategies:
        labels = select("strategy", strategies, list(config.strategies))
        config.strategies = {label: config.strategies[label] for label in labels}
        config.about = [label for label in config.about if label in labels]
    if seeds:
        config.seeds = parse_seeds(seeds)
    config.benchmark = resolve_benchmark(written_out(config.benchmark, base), data_root)
    config.strategies = {label: _resolve_strategy(label, s, config) for label, s in config.strategies.items()}
    resolved = config.model_dump(mode="json")
    runs = [_spec(resolved, label, seed) for label in config.strategies for seed in config.seeds]
    return Suite(config, resolved, runs)


def parse_seeds(seeds: Sequence[int]) -> list[int]:
    return parse(SuiteConfig, {"name": "x", "benchmark": {}, "strategies": ["x"], "seeds": list(seeds)}).seeds


def make_benchmark(settings: Mapping[str, Any]) -> Any:
    """The benchmark component of resolved settings (`name` plus its fields)."""
    settings = dict(settings)
    return _component(BENCHMARKS, settings.pop("name", None), settings, "benchmark")


def make_strategy(settings: Mapping[str, Any], where: str = "strategy") -> Any:
    """The strategy component of a resolved entry (`strategy` plus its fields; `training` is the run's)."""
    fields = {key: value for key, value in settings.items() if key not in OWN_KEYS}
    return _component(STRATEGIES, settings.get("strategy"), fields, where)


def entry_of(settings: Any) -> Any:
    """An entry with its shorthand written out: `{avalanche: PLUGIN}` and `{stack: [...]}` say their strategy too."""
    if not isinstance(settings, Mapping) or "strategy" in settings:
        return settings
    if "avalanche" in settings:
        others = {key: value for key, value in settings.items() if key != "avalanche"}
        return {"strategy": "avalanche", "plugin": settings["avalanche"], **others}
    return {"strategy": "stack", **settings} if "stack" in settings else settings


def _component(registry: Any, name: Any, settings: dict[str, Any], where: str) -> Component:
    if not isinstance(name, str):
        raise InputError(
            f"{where}: it must say which {registry.kind} it is (name), one of {', '.join(registry.names())}"
        )
    return parse(registry.get(name), settings, where)


def written_out(settings: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """The settings of a benchmark with its shorthands written out.

    `{manifest: file.csv, ...}` is `{name: manifest, file: file.csv, ...}`, the file looked for beside the suite
    (`base`) first; `{avalanche: RotatedMNIST, n_experiences: 5}` is `{name: avalanche, classic: RotatedMNIST,
    args: {n_experiences: 5}}`, where settings of the benchmark itself stay beside `args`.
    """
    settings = dict(settings)
    if "name" in settings or not {"manifest", "avalanche"} & set(settings):
        return settings
    if "manifest" in settings:
        file = str(settings.pop("manifest"))
        beside = (base or Path.cwd()) / file
        return {"name": "manifest", "file": str(beside) if beside.is_file() else file, **settings}
    fields: Any = BENCHMARKS.get("avalanche")
    own = {key: settings.pop(key) for key in list(settings) if key in fields.model_fields}
    classic = settings.pop("avalanche")
    return {"name": "avalanche", "classic": classic, **own, "args": {**settings, **own.pop("args", {})}}


def resolve_benchmark(settings: Mapping[str, Any], data_root: Path | None) -> dict[str, Any]:
    settings = dict(settings)
    if data_root is not None:
        component = make_benchmark(settings)
        if component.real is not None:
            # the same protocol on real data: keep the settings that the real benchmark also has
            target = BENCHMARKS.get(component.real)
            kept = {k: v for k, v in settings.items() if _same_field(type(component), target, k)}
            settings = {"name": component.real, **kept}
        elif "root" not in type(component).model_fields:
            raise InputError(f"benchmark {component.name!r} reads no folder: --data-root does not apply")
        settings["root"] = str(data_root.resolve())
    component = make_benchmark(settings)
    return {"name": component.name, **component.model_dump(mode="json")}


def _same_field(one: Any, other: Any, key: str) -> bool:
    """Whether a setting means the same in two components (`objects` is how many to render, or which to use)."""
    fields = one.model_fields, other.model_fields
    return all(key in known for known in fields) and fields[0][key].annotation == fields[1][key].annotation


def _resolve_strategy(label: str, settings: Mapping[str, Any], config: SuiteConfig) -> dict[str, Any]:
    settings = entry_of(settings)
    where = f"strategies.{label}"
    training = config.training.model_dump()
    try:
        own = expand_preset(settings.get("training") or {})
    except ValueError as error:
        raise InputError(f"{where}.training: {error}") from error
    if not isinstance(own, Mapping):
        raise InputError(f"{where}.training: a mapping was expected")
    component = make_strategy(settings, where)
    if config.head.per_task and not component.task_heads:
        raise InputError(f"{where}: {component.name} cannot have an output layer for each task (head.per_task)")
    checked = parse(TrainingConfig, merged(training, own), f"{where}.training")
    remarks = component.remarks()  # worked out anew each time; what a suite.yaml says of them is not read
    return {
        "strategy": component.name,
        **component.model_dump(mode="json"),
        "training": checked.model_dump(mode="json"),
        **({"remarks": remarks} if remarks else {}),
    }


def _find_plugin(plugin: str, base: Path | None) -> str:
    """Plugin files named in a suite are relative to the suite's folder, those of the command line to the current."""
    beside = (base or Path.cwd()) / plugin
    return str(beside.resolve() if not Path(plugin).is_file() and beside.is_file() else Path(plugin).resolve())


def without_places(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's settings without those that only say where its images are: moved, they are the same."""
    return {key: value for key, value in benchmark.items() if key not in PLACES}


def title_of(benchmark: Mapping[str, Any]) -> str:
    """A benchmark's short name in run ids and results.csv, such as `openloris-sim-sequence` or `openloris-clutter`."""
    part = benchmark.get("factor") or benchmark.get("protocol") or benchmark.get("classic")
    parts = [benchmark["name"], part, "disjoint" if benchmark.get("disjoint") else ""]
    return "-".join(str(part) for part in parts if part)


def _spec(resolved: Mapping[str, Any], label: str, seed: int) -> RunSpec:
    entry = dict(resolved["strategies"][label])
    training = entry.pop("training")
    entry.pop("remarks", None)  # they change no number, so no run id
    benchmark = without_places(resolved["benchmark"])
    config = {
        "benchmark": benchmark,
        "backbone": resolved["backbone"],
        "head": resolved["head"],
        "training": training,
        "evaluation": resolved["evaluation"],
        "device": resolved["device"],
        "strategy": entry,
        "seed": seed,
    }
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", label)
    run_id = f"{title_of(benchmark)}.{plain}.s{seed}.{digest_of({'label': label, **config})[:10]}"
    return RunSpec(run_id, label, seed, {"run_id": run_id, "label": label, **config})
