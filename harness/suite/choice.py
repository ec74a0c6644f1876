"""Which strategies are run: those of a suite, and others that are added to it with their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES, load_plugin, nearest
from lorisbench.suite.entries import by_label
from lorisbench.suite.paths import find_plugin


def entry_named(name: str, own: Mapping[str, Any]) -> Any:
    """The entry that a name stands for: the suite's `own` of this label, or else a strategy with its defaults.

    Raises InputError, with the nearest of all these names, if it is neither.
    """
    if name in own:
        return own[name]
    if name in STRATEGIES.names():
        return {"strategy": name}
    near = nearest(name, {*own, *STRATEGIES.names()})
    raise InputError(
        f"unknown strategy {name!r}"
        + (near or f"; the suite has {', '.join(own)}, and `lorisbench ls strategies` lists what can be added to it")
    )


def load_plugins(raw: Mapping[str, Any], base: Path) -> None:
    """Load the plugins of a suite as it was read, so that their strategies are known by name before it is parsed."""
    plugins = raw.get("plugins")
    for plugin in plugins if isinstance(plugins, list) else ():
        if isinstance(plugin, str):  # anything else is refused where the suite is parsed
            load_plugin(find_plugin(plugin, base))


def include(raw: dict[str, Any], strategies: Sequence[str], add: Sequence[str], base: Path) -> list[str]:
    """Add to a suite, as it was read, what is named and it lacks; returns the labels of what was added.

    strategies : labels of the suite, or names of strategies. What is neither is left to the caller: a later `--set` may
    add its label. add : names of strategies that the suite does not have.

    Raises InputError for a label in `add` that the suite has, or a name in it that no strategy has.
    """
    own = by_label(raw.get("strategies"))
    own = dict(own) if isinstance(own, Mapping) else {}
    check_added(add, own, "--add ")
    lacking = [name for name in dict.fromkeys([*strategies, *add]) if name not in own]
    if not lacking:
        return []
    load_plugins(raw, base)
    for label in add:
        entry_named(label, own)
    added = [name for name in lacking if name in STRATEGIES.names()]
    if added:
        raw["strategies"] = {**own, **{name: entry_named(name, own) for name in added}}
    return added


def check_added(labels: Sequence[str], own: Mapping[str, Any], where: str) -> None:
    """Raise InputError, naming the option `where`, for a label to be added that the suite has: its settings differ."""
    for label in labels:
        if label in own:
            raise InputError(
                f"{where}{label}: the suite has this strategy already, with settings of its own; leave it out"
            )


def check_chosen(strategies: Sequence[str], own: Mapping[str, Any]) -> None:
    """Raise InputError for the first name that is no label of a suite."""
    for name in strategies:
        entry_named(name, own)
