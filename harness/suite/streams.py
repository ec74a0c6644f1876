"""The streams of a suite: their names, and what each has of its own, as suite.yaml and data.json hold them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import BENCHMARKS, nearest
from lorisbench.suite.entries import overridden
from lorisbench.suite.spec import title_of
from lorisbench.suite.training import merged

FILES = ("manifest", "features")  # readers of a file, which `{NAME: FILE}` stands for
OWN = ("backbone", "head", "training")  # settings of the suite that a stream may have of its own, besides strategies'


def check_known(given: Mapping[str, Iterable[str]], names: Iterable[str], labels: Iterable[str]) -> None:
    """Raise InputError for the first of the keys of `streams` that is no stream's name, or label below it that is none.

    given : the labels of the strategies that each of them changes. names, labels : those that the suite has.
    """
    names, labels = list(names), list(labels)
    for name, changed in given.items():
        if name not in names:
            raise InputError(f"streams: no stream is called {name!r}{nearest(name, names)}; known: {', '.join(names)}")
        for label in changed:
            if label not in labels:
                raise InputError(
                    f"streams.{name}.strategies.{label}: the suite has no strategy of this label"
                    f"{nearest(label, labels)}"
                )


def written_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a benchmark with its shorthands written out.

    `{manifest: file.csv, ...}` is `{name: manifest, file: file.csv, ...}`, and `features` likewise;
    `{avalanche: RotatedMNIST, n_experiences: 5}` is `{name: avalanche, classic: RotatedMNIST, args: {n_experiences:
    5}}`, where settings of the benchmark itself stay beside `args`.
    """
    settings = dict(settings)
    if "name" in settings or not {*FILES, "avalanche"} & set(settings):
        return settings
    for short in FILES:
        if short in settings:
            return {"name": short, "file": str(settings.pop(short)), **settings}
    fields: Any = BENCHMARKS.get("avalanche")
    own = {key: settings.pop(key) for key in list(settings) if key in fields.model_fields}
    classic, args = settings.pop("avalanche"), own.pop("args", {})
    args = {**settings, **args} if isinstance(args, Mapping) else args  # anything else is refused where it is read
    return {"name": "avalanche", "classic": classic, **own, "args": args}


def benchmarks_of(suite: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The benchmark of each stream, written out, in the plain values of a suite; what is none in any form is left out.

    An only stream that `benchmark` gives is named by it (`title_of`).
    """
    several, one = suite.get("benchmarks"), suite.get("benchmark")
    if isinstance(several, Mapping) and several:
        return {str(name): written_out(each) for name, each in several.items() if isinstance(each, Mapping)}
    written = written_out(one) if isinstance(one, Mapping) else {}
    return {title_of(written): written} if written.get("name") else {}


def own_of(suite: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What one stream has of its own in the plain values of a resolved suite."""
    streams = suite.get("streams")
    own = streams.get(name) if isinstance(streams, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def own_settings(suite: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings `OWN` of one stream in the plain values of a resolved suite, those that the suite has."""
    own = own_of(suite, name)
    settings = {}
    for key in OWN:
        shared, changes = suite.get(key), own.get(key)
        if isinstance(shared, Mapping):
            settings[key] = merged(shared, changes if isinstance(changes, Mapping) else {})
    return settings


def changed_on(suite: Mapping[str, Any], stream: str) -> dict[str, Mapping[str, Any]]:
    """By label, the settings of strategies that differ on one stream of a resolved suite."""
    changed = own_of(suite, stream).get("strategies")
    changed = changed if isinstance(changed, Mapping) else {}
    return {label: changes for label, changes in changed.items() if isinstance(changes, Mapping)}


def entry_on(suite: Mapping[str, Any], stream: str, label: str) -> dict[str, Any]:
    """A strategy's entry as it is on one stream of a resolved suite; empty if the suite has none of this label."""
    strategies = suite.get("strategies")
    entry = strategies.get(label) if isinstance(strategies, Mapping) else None
    if not isinstance(entry, Mapping):
        return {}
    return overridden(entry, changed_on(suite, stream).get(label, {}))


def on_stream(suite: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of a resolved suite as they are for one stream; what it has of its own stays in `streams` too."""
    if not suite.get("benchmarks") and not suite.get("streams"):
        return dict(suite)
    shared = {key: value for key, value in suite.items() if key not in ("benchmarks", "streams")}
    own, strategies = own_of(suite, name), suite.get("strategies")
    if isinstance(strategies, Mapping):
        shared["strategies"] = {label: entry_on(suite, name, label) for label in strategies}
    shared |= {"benchmark": benchmarks_of(suite).get(name, {}), **own_settings(suite, name)}
    return {**shared, **({"streams": {name: own}} if own else {})}


def of_labels(streams: Any, labels: Container[str]) -> dict[str, Any]:
    """A suite's `streams`, whatever was given for it, without the strategies of other labels than these."""
    kept: dict[str, Any] = {}
    for name, own in streams.items() if isinstance(streams, Mapping) else ():
        changed = own.get("strategies") if isinstance(own, Mapping) else None
        if isinstance(changed, Mapping):
            of_these = {label: changes for label, changes in changed.items() if label in labels}
            own = {**{key: value for key, value in own.items() if key != "strategies"}, "strategies": of_these}
        kept[name] = own
    return kept
