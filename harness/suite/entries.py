"""The grammar of a strategy's entry: all its shorthands, and the typed settings that an entry stands for.

Written out, an entry is `{strategy: NAME, **settings of its class, training: {...}}`. These are short for one:

- `NAME`, in a list of strategies or of a stack's;
- `{...}` without a strategy, below the strategy's name as its label: `ewc: {ewc_lambda: 10}` or `ewc:`;
- `{avalanche: "package.module:ClassName", args: {...}}`, any plugin of Avalanche;
- `{stack: [...]}`, and `{strategy: {stack: [...]}}`, several strategies at once. An item of the list may also be
  `{NAME: {...}}`.

`training` is what the strategy's runs train otherwise than the suite's. `remarks` is written for readers of suite.yaml
and never read: it follows from the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lorisbench.common.component import Component
from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES, Registry
from lorisbench.suite.parsing import parse
from lorisbench.suite.training import TrainingConfig, expand_preset, merged

OWN_KEYS = ("strategy", "training", "remarks")  # keys of an entry that are no settings of the strategy's class
SHORT_FOR = {"avalanche": "plugin", "stack": "stack"}  # keys that say the strategy, and the setting that each gives


@dataclass(frozen=True)
class Entry:
    """A strategy as a suite has it.

    Attributes
    ----------
    strategy : its settings object, a `lorisbench.engine.strategy.Strategy`.
    training : how its runs train: the suite's settings with its own.
    """

    strategy: Any
    training: TrainingConfig

    @cached_property
    def settings(self) -> dict[str, Any]:
        """As suite.yaml has it, every default filled in."""
        remarks = self.strategy.remarks()
        training = {"training": self.training.model_dump(mode="json")}
        return {**settings_of(self.strategy), **training, **({"remarks": remarks} if remarks else {})}


def by_label(strategies: Any) -> Any:
    """`[ewc, lwf]` as `{ewc: , lwf: }`; anything but a list is given back as it is."""
    if isinstance(strategies, Sequence) and not isinstance(strategies, str):
        return {str(item): None for item in strategies}
    return strategies


def written_out(entry: Any, label: str | None = None) -> Any:
    """An entry, or what stands for one (below `label`), with its shorthands written out.

    What is no entry in any form is given back as it is, without `strategy`.
    """
    if entry is None and label is not None:
        entry = {}
    if not isinstance(entry, Mapping):
        return entry
    entry = dict(entry)
    if isinstance(entry.get("strategy"), Mapping):  # strategy: {stack: [...]}
        entry = {**entry.pop("strategy"), **entry}
    if "strategy" in entry:
        return entry
    for short, setting in SHORT_FOR.items():
        if short in entry:
            return {"strategy": short, setting: entry.pop(short), **entry}
    return entry if label is None else {"strategy": label, **entry}


def item_as_entry(item: Any) -> Any:
    """An item of a list of strategies as a mapping: `ewc` is `{strategy: ewc}`."""
    return {"strategy": item} if isinstance(item, str) else item


def part_of(item: Any, where: str) -> Any:
    """The strategy of an item of a stack: `ewc`, `{ewc: {...}}` and `{strategy: ewc, ...}` are one and the same.

    Raises InputError, naming `where`, for what is none.
    """
    if isinstance(item, Component):
        return item
    if isinstance(item, Mapping) and len(item) == 1 and not {"strategy", *SHORT_FOR} & set(item):
        ((name, settings),) = item.items()
        item = {"strategy": name, **(settings or {})} if isinstance(settings, Mapping | None) else item
    entry = written_out(item_as_entry(item))
    if not isinstance(entry, Mapping) or "strategy" not in entry:
        raise InputError(f"{where}: a strategy's name, or its settings with `strategy: NAME`, was expected")
    if "training" in entry:
        raise InputError(f"{where}.training: all strategies of a stack train as one; it goes beside `stack:`")
    return make_strategy(entry, where)


def make_strategy(entry: Mapping[str, Any], where: str = "strategy") -> Any:
    """The strategy's settings object of an entry that is written out; its `training` is the run's.

    Raises InputError, in one line naming the key below `where`, for an unknown strategy or setting.
    """
    fields = {key: value for key, value in entry.items() if key not in OWN_KEYS}
    return make_component(STRATEGIES, entry.get("strategy"), fields, where)


def make_component(registry: Registry, name: Any, settings: dict[str, Any], where: str) -> Any:
    """The component of a registry by its name, with these settings. Raises InputError as `make_strategy` does."""
    if not isinstance(name, str):
        raise InputError(
            f"{where}: it must say which {registry.kind} it is (name), one of {', '.join(registry.names())}"
        )
    kind: Any = registry.get(name)
    return parse(kind, settings, where)


def read_entry(label: str, entry: Mapping[str, Any], training: TrainingConfig) -> Entry:
    """The typed form of an entry that is written out, where the suite's `training` holds what it does not say.

    Raises InputError, in one line naming the key.
    """
    where = f"strategies.{label}"
    try:
        own = expand_preset(entry.get("training") or {})
    except ValueError as error:
        raise InputError(f"{where}.training: {error}") from error
    if not isinstance(own, Mapping):
        raise InputError(f"{where}.training: a mapping was expected")
    strategy = make_strategy(entry, where)
    return Entry(strategy, parse(TrainingConfig, merged(training.model_dump(), own), f"{where}.training"))


def settings_of(strategy: Any, changed_only: bool = False) -> dict[str, Any]:
    """A strategy's entry as plain values, written out: with all settings, or only those that differ from defaults."""
    return {"strategy": strategy.name, **strategy.model_dump(mode="json", exclude_defaults=changed_only)}
