"""A suite resolved: its plugins loaded, its components validated, its runs listed with their ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import InstanceOf

from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.common.registry import BENCHMARKS, STRATEGIES, load_plugin, select
from lorisbench.suite.config import SuiteConfig, SuiteSettings, read_suite
from lorisbench.suite.entries import Entry, make_component, read_entry, settings_of
from lorisbench.suite.overrides import override
from lorisbench.suite.parsing import parse
from lorisbench.suite.paths import find_plugin, folder_of, given_here, placed
from lorisbench.suite.schema import SCHEMA
from lorisbench.suite.spec import RunSpec, title_of, without_places

UNTUNED = ("name", "description", "device", "latency", "seeds", "tuning", "about")  # no tuned value depends on these


class ResolvedConfig(SuiteSettings):
    """A suite with its components made: `benchmark` is a `lorisbench.data.benchmark.Benchmark`."""

    strategies: dict[str, InstanceOf[Entry]]


@dataclass(frozen=True)
class Suite:
    """A validated suite. `resolved` is the mapping written to suite.yaml: plain values, every default filled in."""

    config: ResolvedConfig
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
    if raw.get("tuning") and changed:  # it says which values were chosen: some may no longer hold
        raw["tuning"] = f"{raw['tuning']} Changed since: {', '.join(changed)}."
    if plugins:
        raw["plugins"] = [*(raw.get("plugins") or []), *given_here(plugins)]
    base = folder_of(name_or_path)
    return resolve(parse(SuiteConfig, raw), data_root=data_root, strategies=strategies, seeds=seeds, base=base)


def resolve(
    config: SuiteConfig,
    *,
    data_root: Path | None = None,
    strategies: Sequence[str] = (),
    seeds: Sequence[int] = (),
    base: Path | None = None,
) -> Suite:
    """Fill in the defaults of every component and list the runs (strategies outer, seeds inner).

    base : the suite's folder, beside whose file its relative paths are looked for first (see `suite.paths`); None for a
        suite that was resolved before, whose paths are absolute.
    """
    plugins = [find_plugin(plugin, base) for plugin in config.plugins]
    for plugin in plugins:
        load_plugin(plugin)
    labels = select("strategy", strategies, list(config.strategies)) if strategies else list(config.strategies)
    given = {
        **{key: getattr(config, key) for key in SuiteConfig.model_fields},
        "plugins": plugins,
        "seeds": parse_seeds(seeds) if seeds else config.seeds,
        "benchmark": resolve_benchmark(written_out(config.benchmark), data_root, base),
        "strategies": {label: _entry(config, label, base) for label in labels},
        "about": [label for label in config.about if label in labels],
    }
    made = ResolvedConfig(**given)
    for label, entry in made.strategies.items():
        if made.head.per_task and not entry.strategy.task_heads:
            name = entry.strategy.name
            raise InputError(f"strategies.{label}: {name} cannot have an output layer for each task (head.per_task)")
        if made.head.grow and not entry.strategy.growing_heads:
            name = entry.strategy.name
            raise InputError(f"strategies.{label}: {name} cannot have outputs that grow with the classes (head.grow)")
    runs = [_spec(made, label, seed) for label in made.strategies for seed in made.seeds]
    return Suite(made, _written(made), runs)


def parse_seeds(seeds: Sequence[int]) -> list[int]:
    return parse(SuiteConfig, {"name": "x", "benchmark": {}, "strategies": ["x"], "seeds": list(seeds)}).seeds


def make_benchmark(settings: Mapping[str, Any]) -> Any:
    """The benchmark's settings object, from settings that are written out (`name` plus its fields)."""
    settings = dict(settings)
    return make_component(BENCHMARKS, settings.pop("name", None), settings, "benchmark")


def written_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a benchmark with its shorthands written out.

    `{manifest: file.csv, ...}` is `{name: manifest, file: file.csv, ...}`;
    `{avalanche: RotatedMNIST, n_experiences: 5}` is `{name: avalanche, classic: RotatedMNIST, args: {n_experiences:
    5}}`, where settings of the benchmark itself stay beside `args`.
    """
    settings = dict(settings)
    if "name" in settings or not {"manifest", "avalanche"} & set(settings):
        return settings
    if "manifest" in settings:
        return {"name": "manifest", "file": str(settings.pop("manifest")), **settings}
    fields: Any = BENCHMARKS.get("avalanche")
    own = {key: settings.pop(key) for key in list(settings) if key in fields.model_fields}
    classic = settings.pop("avalanche")
    return {"name": "avalanche", "classic": classic, **own, "args": {**settings, **own.pop("args", {})}}


def resolve_benchmark(settings: Mapping[str, Any], data_root: Path | None, base: Path | None = None) -> Any:
    """The benchmark of written-out settings; with `data_root`, its counterpart that reads real data in that layout.

    `base` as for `resolve`.
    """
    settings = dict(settings)
    if data_root is not None and "root" in settings:
        settings["root"] = str(data_root.resolve())
    if base is not None and settings.get("name") in BENCHMARKS.names():
        settings = placed(BENCHMARKS.get(settings["name"]), settings, base, "benchmark")
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
    return make_benchmark(settings)


def _same_field(one: Any, other: Any, key: str) -> bool:
    """Whether a setting means the same in two components (`objects` is how many to render, or which to use)."""
    fields = one.model_fields, other.model_fields
    return all(key in known for known in fields) and fields[0][key].annotation == fields[1][key].annotation


def _entry(config: SuiteConfig, label: str, base: Path | None) -> Entry:
    settings = config.strategies[label]
    if base is not None and settings.get("strategy") in STRATEGIES.names():
        settings = placed(STRATEGIES.get(settings["strategy"]), settings, base, f"strategies.{label}")
    return read_entry(label, settings, config.training)


def _written(config: ResolvedConfig) -> dict[str, Any]:
    """The mapping written to suite.yaml."""
    values = config.model_dump(mode="json", exclude={"benchmark", "strategies"})
    values["benchmark"] = settings_of_benchmark(config.benchmark)
    values["strategies"] = {label: entry.settings for label, entry in config.strategies.items()}
    return {"schema": SCHEMA, **{key: values[key] for key in SuiteConfig.model_fields}}


def settings_of_benchmark(benchmark: Any, changed_only: bool = False) -> dict[str, Any]:
    """A benchmark as plain values, written out: with all settings, or only those that differ from defaults."""
    return {"name": benchmark.name, **benchmark.model_dump(mode="json", exclude_defaults=changed_only)}


def _spec(config: ResolvedConfig, label: str, seed: int) -> RunSpec:
    entry = config.strategies[label]
    return RunSpec(
        run_id_of(config, label, seed),
        label,
        seed,
        strategy=entry.strategy,
        backbone=config.backbone,
        head=config.head,
        training=entry.training,
        evaluation=config.evaluation,
        device=config.device,
        benchmark=without_places(settings_of_benchmark(config.benchmark)),
    )


def run_id_of(config: ResolvedConfig, label: str, seed: int) -> str:
    """`<benchmark's short name>.<label>.s<seed>.<10 hex digits>`.

    The digits are a hash of the schema number, the label and what differs from the defaults, so that a new setting
    whose default changes nothing leaves the ids of runs as they are.
    """
    entry = config.strategies[label]
    changed = config.model_dump(
        mode="json", exclude_defaults=True, include={"backbone", "head", "evaluation", "device"}
    )
    changed["benchmark"] = without_places(settings_of_benchmark(config.benchmark, changed_only=True))
    changed["training"] = entry.training.model_dump(mode="json", exclude_defaults=True)
    changed["strategy"] = settings_of(entry.strategy, changed_only=True)
    told = {key: value for key, value in changed.items() if value}  # a new group counts only once it is changed
    digest = digest_of({"schema": SCHEMA, "label": label, **told})
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", label)
    return f"{title_of(settings_of_benchmark(config.benchmark))}.{plain}.s{seed}.{digest[:10]}"
