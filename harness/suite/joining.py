"""How a suite joins the results that its output folder holds: the suite.yaml of both, and what must be equal.

More streams, orders, strategies and seeds may join. What a known stream or strategy stands for must stay as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.resolve import Suite
from lorisbench.suite.spec import without_places
from lorisbench.suite.streams import benchmarks_of, changed_on, entry_on, own_settings
from lorisbench.suite.training import differing, merged


def joined(written: Mapping[str, Any], suite: Suite) -> dict[str, Any]:
    """The suite.yaml of a folder to which a suite is added; `written` is the one it has."""
    resolved = suite.resolved
    values = dict(resolved)
    known, entries = dict(written["strategies"]), dict(resolved["strategies"])
    if _trains_alike(written) and _trains_alike(resolved) and len(_streams(written, resolved)) == 1:
        values["benchmark"] = resolved["benchmark"]
    else:
        if _trains_alike(written):  # each strategy's training is in full: that would go before another stream's
            known = {label: _reduced(entry, written.get("training")) for label, entry in known.items()}
        if _trains_alike(resolved):
            entries = {label: entry.own_settings for label, entry in suite.config.strategies.items()}
        values.pop("benchmark", None)
        values["benchmarks"] = _streams(written, resolved)
        values["streams"] = own_together(written, resolved)
    values["strategies"] = {**known, **entries}
    about = {*(written.get("about") or []), *resolved["about"]}
    values["about"] = [label for label in values["strategies"] if label in about]
    given = {Path(plugin).name for plugin in resolved["plugins"]}  # one that has moved is still the same
    values["plugins"] = [each for each in written.get("plugins") or [] if Path(each).name not in given]
    values["plugins"] += resolved["plugins"]
    values["orders"] = sorted({*written.get("orders", [0]), *resolved["orders"]})
    values["seeds"] = sorted({*written["seeds"], *resolved["seeds"]})
    present = [key for key in SuiteConfig.model_fields if key in values and (key != "streams" or values[key])]
    return {"schema": resolved["schema"], **{key: values[key] for key in present}}


def own_together(written: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What each stream has of its own in a folder to which a resolved suite is added.

    Of the streams of that suite this is what it says, beside what the folder has of strategies that it lacks.
    """
    before, now = written.get("streams") or {}, resolved.get("streams") or {}
    found = {name: own for name, own in before.items() if name not in benchmarks_of(resolved)}
    for name in benchmarks_of(resolved):
        own, known = dict(now.get(name, {})), changed_on(written, name)
        left = [label for label in written["strategies"] if label not in resolved["strategies"]]
        others = {label: known[label] for label in left if label in known}
        strategies = {**others, **own.pop("strategies", {})}
        found[name] = {**own, **({"strategies": strategies} if strategies else {})}
    return {name: own for name, own in found.items() if own}


def stream_settings(suite: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a stream stands for in a resolved suite."""
    return {"benchmark": without_places(benchmarks_of(suite)[name]), **own_settings(suite, name)}


def entry_settings(suite: Mapping[str, Any], stream: str, label: str) -> dict[str, Any]:
    """What a strategy stands for on a stream of a resolved suite."""
    entry = entry_on(suite, stream, label)
    entry.pop("remarks", None)
    shared = own_settings(suite, stream).get("training", {})
    return {**entry, "training": merged(shared, entry.get("training") or {})}


def _trains_alike(suite: Mapping[str, Any]) -> bool:
    """Whether a resolved suite has one stream, without settings of its own: then entries hold all of their training."""
    return "benchmark" in suite and not suite.get("streams")


def _streams(written: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {**benchmarks_of(written), **benchmarks_of(resolved)}


def _reduced(entry: Mapping[str, Any], shared: Any) -> dict[str, Any]:
    """An entry with that part of its training which differs from the suite's."""
    training = entry.get("training")
    if not isinstance(training, Mapping) or not isinstance(shared, Mapping):
        return dict(entry)
    own = differing(training, shared)
    rest = {key: value for key, value in entry.items() if key != "training"}
    return {**rest, **({"training": own} if own else {})}
