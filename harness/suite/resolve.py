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
from lorisbench.common.registry import STRATEGIES, load_plugin, select
from lorisbench.suite.benchmarks import check_alike, resolve_benchmark, settings_of_benchmark
from lorisbench.suite.choice import check_chosen, include
from lorisbench.suite.config import NO_BACKBONE, StreamConfig, SuiteConfig, SuiteSettings, read_suite
from lorisbench.suite.entries import Entry, overridden, own_training, read_entry, settings_of
from lorisbench.suite.overrides import override
from lorisbench.suite.parsing import parse
from lorisbench.suite.paths import find_plugin, folder_of, given_here, placed
from lorisbench.suite.schema import SCHEMA
from lorisbench.suite.spec import RunSpec, title_of, without_places
from lorisbench.suite.streams import OWN, benchmarks_of, check_known, written_out
from lorisbench.suite.training import TrainingConfig, given_of, merged

# No tuned value depends on these
UNTUNED = ("name", "description", "device", "latency", "orders", "seeds", "tuning", "about", "keep_state")


class ResolvedConfig(SuiteSettings):
    """The settings of one stream of a suite with its components made: `benchmark` is a `data.benchmark.Benchmark`."""

    stream: str = ""
    strategies: dict[str, InstanceOf[Entry]]


@dataclass(frozen=True)
class Suite:
    """A validated suite.

    Attributes
    ----------
    streams : the settings of each stream by name: its benchmark, and the backbone, head, training and settings of
        strategies that it has of its own or from the suite.
    resolved : the mapping written to suite.yaml: plain values, every default filled in.
    runs : all runs of a stream before those of the next, all of an order before those of the next.
    """

    streams: dict[str, ResolvedConfig]
    resolved: dict[str, Any]
    runs: list[RunSpec]

    @property
    def config(self) -> ResolvedConfig:
        """The settings of the first stream; others may differ in whatever a stream may have of its own."""
        return next(iter(self.streams.values()))


def load_suite(
    name_or_path: str,
    *,
    data_root: Path | None = None,
    strategies: Sequence[str] = (),
    add: Sequence[str] = (),
    streams: Sequence[str] = (),
    orders: Sequence[int] = (),
    seeds: Sequence[int] = (),
    assignments: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> Suite:
    """Read a suite by name or path, apply what the command line changes, and validate all of it.

    strategies : only these; a name that the suite lacks is added with its defaults. add : these too (see
    `suite.choice`).

    Raises InputError, in one line naming the key, for anything misspelt, unknown or out of range.
    """
    raw = read_suite(name_or_path)
    base = folder_of(name_or_path)
    # What is added has to be known before its settings are changed, and plugins before what is added
    whole = [place for place, each in enumerate(assignments, 1) if re.match(r"(strategies=|plugins[=.])", each)]
    early = max(whole, default=0)
    override(raw, assignments[:early])
    if plugins:
        raw["plugins"] = [*(raw.get("plugins") or []), *given_here(plugins)]
    added = include(raw, strategies, add, base)
    override(raw, assignments[early:])
    tell_changes(raw, assignments)
    if raw.get("tuning") and added:
        raw["tuning"] = f"{raw['tuning']} Added with defaults: {', '.join(added)}."
    config = parse(SuiteConfig, raw)
    check_chosen(strategies, config.strategies)
    strategies = list(dict.fromkeys([*strategies, *add])) if strategies else ()
    return resolve(
        config, data_root=data_root, strategies=strategies, streams=streams, orders=orders, seeds=seeds, base=base
    )


def tell_changes(raw: dict[str, Any], assignments: Sequence[str]) -> None:
    """Say in a suite's `tuning`, which tells how values were chosen, which of them were changed since."""
    changed = [each for each in assignments if each.partition("=")[0].partition(".")[0] not in UNTUNED]
    if raw.get("tuning") and changed:
        raw["tuning"] = f"{raw['tuning']} Changed since: {', '.join(changed)}."


def resolve(
    config: SuiteConfig,
    *,
    data_root: Path | None = None,
    strategies: Sequence[str] = (),
    streams: Sequence[str] = (),
    orders: Sequence[int] = (),
    seeds: Sequence[int] = (),
    base: Path | None = None,
) -> Suite:
    """Fill in the defaults of every component and list the runs (by stream, then order, strategy and seed).

    strategies, streams : only these, by label or name; all if none is given. orders, seeds : in place of the suite's.

    base : the suite's folder, beside whose file its relative paths are looked for first (see `suite.paths`); None for a
        suite that was resolved before, whose paths are absolute.
    """
    plugins = [find_plugin(plugin, base) for plugin in config.plugins]
    for plugin in plugins:
        load_plugin(plugin)
    labels = select("strategy", strategies, list(config.strategies)) if strategies else list(config.strategies)
    named = config.benchmark is None
    written = {"": written_out(config.benchmark or {})} if not named else benchmarks_of(config.model_dump())
    chosen = select("stream", streams, list(written)) if named and streams else list(written)
    where = {name: f"benchmarks.{name}" if named else "benchmark" for name in chosen}
    if data_root is not None:
        check_alike({name: written[name] for name in chosen})
    benchmarks = {name: resolve_benchmark(written[name], data_root, base, where[name]) for name in chosen}
    if not named:
        benchmarks = {title_of(settings_of_benchmark(each)): each for each in benchmarks.values()}
        select("stream", streams, list(benchmarks))
    config = _without_backbones(config, benchmarks)
    changed = {name: own.strategies for name, own in config.streams.items()}
    check_known(changed, benchmarks if not named else written, config.strategies)
    given = {
        **{key: getattr(config, key) for key in SuiteConfig.model_fields},
        "plugins": plugins,
        "orders": _parsed("orders", orders) if orders else config.orders,
        "seeds": _parsed("seeds", seeds) if seeds else config.seeds,
        "about": [label for label in config.about if label in labels],
        "benchmarks": {},
        "streams": {},
    }
    shared = {label: _entry(config, "", config.training, label, base) for label in labels}
    made = {}
    for name, benchmark in benchmarks.items():
        own = _own(config, name)
        entries = {
            label: _entry(config, name, own["training"], label, base)
            if own["training"] is not config.training or label in changed.get(name, ())
            else entry
            for label, entry in shared.items()
        }
        made[name] = ResolvedConfig(**{**given, **own, "benchmark": benchmark, "strategies": entries}, stream=name)
        _check_heads(made[name])
        _check_passes(made[name])
        _check_augment(made[name])
    runs = [
        _spec(each, label, seed, order, len(made))
        for each in made.values()
        for order in each.orders
        for label in each.strategies
        for seed in each.seeds
    ]
    return Suite(made, _written(config, made, shared), runs)


def _without_backbones(config: SuiteConfig, benchmarks: Mapping[str, Any]) -> SuiteConfig:
    """The suite, where each stream of features has no backbone (`NO_BACKBONE`) of its own.

    Raises InputError if one of them is to train its backbone.
    """
    streams = dict(config.streams)
    absent = NO_BACKBONE.model_dump()
    for name, benchmark in benchmarks.items():
        if benchmark.gives != "features":
            continue
        train = _own(config, name)["backbone"].train
        if train != "never":
            place = f"streams.{name}.backbone" if config.benchmark is None else "backbone"
            raise InputError(
                f"{place}.train: {train} needs images, and benchmark {benchmark.name!r} has features only; "
                f"set {place}.train: never"
            )
        if config.benchmark is None:
            streams[name] = streams.get(name, StreamConfig()).model_copy(update={"backbone": absent})
        elif name in streams:
            streams[name] = streams[name].model_copy(update={"backbone": {}})
    only = config.benchmark is not None and all(each.gives == "features" for each in benchmarks.values())
    return config.model_copy(update={"streams": streams, **({"backbone": NO_BACKBONE} if only else {})})


def _check_augment(config: ResolvedConfig) -> None:
    """Raise InputError for a strategy whose training images are to be augmented where there are none."""
    if config.benchmark.gives == "features":
        for label, entry in config.strategies.items():
            if entry.training.augment is not None:
                raise InputError(
                    f"strategies.{label}.training.augment: benchmark {config.benchmark.name!r} has features and no "
                    f"images that could be augmented; set {label}.training.augment=null"
                )


def _own(config: SuiteConfig, name: str) -> dict[str, Any]:
    """A stream's backbone, head and training: the suite's, overridden by its own."""
    own = config.streams.get(name, StreamConfig())
    made = {}
    for key in OWN:
        shared, changes = getattr(config, key), getattr(own, key)
        where = f"streams.{name}.{key}"
        made[key] = parse(type(shared), merged(shared.model_dump(), changes), where) if changes else shared
    return made


def _check_heads(config: ResolvedConfig) -> None:
    """Raise InputError for a strategy that cannot have the kind of head that the stream has."""
    for label, entry in config.strategies.items():
        if config.head.per_task and not entry.strategy.task_heads:
            name = entry.strategy.name
            raise InputError(f"strategies.{label}: {name} cannot have an output layer for each task (head.per_task)")
        if config.head.grow and not entry.strategy.growing_heads:
            name = entry.strategy.name
            raise InputError(
                f"strategies.{label}: {name} cannot have outputs that grow with the classes (head.grow): it "
                "answers by something else than the head's outputs, or compares logits of different times"
            )


def _check_passes(config: ResolvedConfig) -> None:
    """Raise InputError for a strategy that needs more than one pass where there is one, or can use no budget."""
    for label, entry in config.strategies.items():
        if entry.training.online and entry.strategy.needs_epochs:
            name, why = entry.strategy.name, entry.strategy.needs_epochs
            raise InputError(
                f"strategies.{label}: {name} cannot learn in one pass (training.online): {why}; leave it out, or give "
                "its entry a `training` of its own with online: false"
            )
        if entry.training.budget is not None and entry.strategy.without_steps:
            name, how = entry.strategy.name, entry.strategy.without_steps
            raise InputError(
                f"strategies.{label}: {name} cannot use up a budget (training.budget): {how}; leave it out, or give "
                "its entry a `training` of its own with budget: null"
            )


def _parsed(key: str, numbers: Sequence[int]) -> list[int]:
    """Seeds or orders that are given beside a suite, checked as those in it."""
    values = {"name": "x", "benchmark": {}, "strategies": ["x"], key: list(numbers)}
    return list(getattr(parse(SuiteConfig, values), key))


def _entry(config: SuiteConfig, stream: str, training: TrainingConfig, label: str, base: Path | None) -> Entry:
    """A strategy on a stream; as the suite has it for all of them if `stream` is empty."""
    settings, where = config.strategies[label], f"strategies.{label}"
    changes = _changes(config, stream, label)
    if changes:
        known = {**settings, "training": own_training(settings, where)}
        settings, where = overridden(known, changes), f"streams.{stream}.{where}"
    if base is not None and settings.get("strategy") in STRATEGIES.names():
        settings = placed(STRATEGIES.get(settings["strategy"]), settings, base, where)
    return read_entry(label, settings, training, where)


def _changes(config: SuiteConfig, stream: str, label: str) -> dict[str, Any]:
    """What a stream changes of a strategy's entry, without a preset. Raises InputError for another strategy."""
    changes = config.streams.get(stream, StreamConfig()).strategies.get(label, {})
    where, name = f"streams.{stream}.strategies.{label}", config.strategies[label].get("strategy")
    if changes.get("strategy", name) != name:
        raise InputError(
            f"{where}.strategy: {label!r} is {name!r} on all streams; give {changes['strategy']!r} a label of its own"
        )
    if "training" not in changes:
        return dict(changes)
    return {**changes, "training": dict(own_training(changes, where))}


def _written(config: SuiteConfig, streams: Mapping[str, ResolvedConfig], shared: Mapping[str, Entry]) -> dict[str, Any]:
    """The mapping written to suite.yaml.

    A strategy's training is written in full, unless streams may train in different ways: then what it has of its own.
    """
    first = next(iter(streams.values()))
    values = first.model_dump(mode="json", exclude={"benchmark", "strategies", "stream"})
    values |= {key: getattr(config, key).model_dump(mode="json") for key in OWN}
    own = {name: _own_written(config, each, shared) for name, each in streams.items()}
    values["streams"] = {name: settings for name, settings in own.items() if settings}
    benchmarks = {name: settings_of_benchmark(each.benchmark) for name, each in streams.items()}
    values |= {"benchmark": benchmarks[first.stream]} if config.benchmark is not None else {"benchmarks": benchmarks}
    in_full = config.benchmark is not None and not values["streams"]
    values["strategies"] = {label: entry.settings if in_full else entry.own_settings for label, entry in shared.items()}
    left_out = {key for key in ("benchmark", "benchmarks", "streams") if not values.get(key)}
    return {"schema": SCHEMA, **{key: values[key] for key in SuiteConfig.model_fields if key not in left_out}}


def _own_written(config: SuiteConfig, stream: ResolvedConfig, shared: Mapping[str, Entry]) -> dict[str, Any]:
    """What a stream has of its own, as it is written below `streams` of suite.yaml."""
    own = config.streams.get(stream.stream, StreamConfig()).model_dump()
    written = {key: given_of(getattr(stream, key).model_dump(mode="json"), own[key]) for key in OWN if own[key]}
    strategies = {}
    for label, entry in shared.items():
        changes, here = _changes(config, stream.stream, label), stream.strategies[label].own_settings
        told = {key: value for key, value in changes.items() if key not in ("strategy", "remarks") and value != {}}
        if told:
            remarks = [each.own_settings.get("remarks", []) for each in (stream.strategies[label], entry)]
            other = {} if remarks[0] == remarks[1] else {"remarks": remarks[0]}
            strategies[label] = {**given_of(here, told), **other}
    return {**written, **({"strategies": strategies} if strategies else {})}


def _spec(config: ResolvedConfig, label: str, seed: int, order: int, streams: int) -> RunSpec:
    entry = config.strategies[label]
    return RunSpec(
        run_id_of(config, label, seed, order),
        label,
        seed,
        strategy=entry.strategy,
        backbone=config.backbone,
        head=config.head,
        training=entry.training,
        evaluation=config.evaluation,
        device=config.device,
        benchmark=without_places(settings_of_benchmark(config.benchmark)),
        stream=config.stream,
        order=order,
        among=(streams, len(config.orders)),
        code=entry.code,
    )


def run_id_of(config: ResolvedConfig, label: str, seed: int, order: int = 0) -> str:
    """`<stream>.<label>.s<seed>.<10 hex digits>`, with `.o<order>` after the seed unless it is the stream's own order.

    The digits are a hash of the schema number, the label and what differs from the defaults (a stream's name too, if
    it is not the benchmark's), so that a new setting whose default changes nothing leaves the ids of runs as they are;
    and of the code of a strategy from outside, so that the results of two versions of it are never taken for one.
    """
    entry = config.strategies[label]
    changed = config.model_dump(mode="json", exclude_defaults=True, include={"backbone", "head", "evaluation"})
    changed["benchmark"] = without_places(settings_of_benchmark(config.benchmark, changed_only=True))
    changed["training"] = entry.training.model_dump(mode="json", exclude_defaults=True)
    changed["strategy"] = settings_of(entry.strategy, changed_only=True)
    changed["code"] = entry.code
    changed["order"] = order
    title = title_of(settings_of_benchmark(config.benchmark))
    changed["stream"] = config.stream if config.stream not in ("", title) else ""
    told = {key: value for key, value in changed.items() if value}  # a new group counts only once it is changed
    digest = digest_of({"schema": SCHEMA, "label": label, **told})
    name = _plain(config.stream) if changed["stream"] else title
    parts = [name, _plain(label), f"s{seed}", f"o{order}" if order else "", digest[:10]]
    return ".".join(part for part in parts if part)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
