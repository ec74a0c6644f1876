"""The grammar of a strategy's entry: all its shorthands, and the typed settings that an entry stands for.

Written out, an entry is `{strategy: NAME, **settings of its class, training: {...}}`. Its shorthands are:

- `NAME`, in the list of strategies of a suite or a stack;
- `{...}` without a strategy, whose label is the strategy's name: `ewc: {ewc_lambda: 10}` or `ewc:`;
- `{avalanche: "package.module:ClassName", args: {...}}`, a plugin written for Avalanche;
- `{stack: [...]}`, and `{strategy: {stack: [...]}}`, several strategies at once. An item of the list may also be
  `{NAME: {...}}`.

`training` holds the training settings that differ from the suite's. `remarks` and `code`, the fingerprint of a strategy
from outside, are written to suite.yaml and never read back as settings: they follow from these and from the code.

What a stream changes of an entry (`streams.NAME.strategies.LABEL`) has the same keys, but cannot make it another
strategy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lorisbench.common.component import Component
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.fingerprint import code_of
from lorisbench.common.registry import STRATEGIES, Registry, apart, file_of
from lorisbench.suite.parsing import parse
from lorisbench.suite.training import TrainingConfig, expand_preset, given_of, merged

OWN_KEYS = ("strategy", "training", "remarks", "code")  # keys of an entry that are not settings of the strategy's class
SHORT_FOR = {"avalanche": "plugin", "stack": "stack"}  # keys that imply the strategy, and the setting that each fills


@dataclass(frozen=True)
class Entry:
    """A strategy as part of a suite.

    Attributes
    ----------
    strategy : its settings object, a `lorisbench.engine.strategy.Strategy`.
    training : how its runs train: the suite's settings, overridden by those of the stream, then by its own.
    own : its own training settings, plain values.
    """

    strategy: Any
    training: TrainingConfig
    own: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The entry as written to suite.yaml, every default filled in."""
        return self._written(self.training.model_dump(mode="json"))

    @cached_property
    def own_settings(self) -> dict[str, Any]:
        """The same with its own training settings only, for a suite whose streams may train in different ways."""
        return self._written(dict(self.own))

    @cached_property
    def code(self) -> dict[str, str]:
        """The fingerprint of a strategy from outside, see `fingerprint_of`."""
        return fingerprint_of(self.strategy)

    def _written(self, training: dict[str, Any]) -> dict[str, Any]:
        told = {"training": training, "remarks": self.strategy.remarks(), "code": self.code}
        return {**settings_of(self.strategy), **{key: value for key, value in told.items() if value}}


def by_label(strategies: Any) -> Any:
    """`[ewc, lwf]` as `{ewc: , lwf: }`; anything but a list is returned unchanged.

    Raises InputError for a name that is in the list twice.
    """
    if isinstance(strategies, Sequence) and not isinstance(strategies, str):
        names = [str(item) for item in strategies]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"strategies: {twice[0]!r} is listed twice")
        return {str(item): None for item in strategies}
    return strategies


def written_out(entry: Any, label: str | None = None) -> Any:
    """An entry, or a shorthand for one (whose label is `label`), written out in full.

    Anything that is not an entry in any form is returned without `strategy`, as it is.
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
    """The strategy that an item of a stack stands for: `ewc`, `{ewc: {...}}` and `{strategy: ewc, ...}` are equivalent.

    Raises InputError, naming `where`, for anything else.
    """
    if isinstance(item, Component):
        return item
    if isinstance(item, Mapping) and len(item) == 1 and not {"strategy", *SHORT_FOR} & set(item):
        ((name, settings),) = item.items()
        item = {"strategy": name, **(settings or {})} if isinstance(settings, Mapping | None) else item
    entry = written_out(item_as_entry(item))
    if not isinstance(entry, Mapping) or "strategy" not in entry:
        raise InputError(f"{where}: expected a strategy's name, or its settings with `strategy: NAME`")
    if "training" in entry:
        raise InputError(f"{where}.training: all strategies of a stack train as one; put it beside `stack:`")
    return make_strategy(entry, where)


def make_strategy(entry: Mapping[str, Any], where: str = "strategy") -> Any:
    """The strategy's settings object, from an entry that is written out; its `training` is left to the run.

    Raises InputError, in one line naming the key below `where`, for an unknown strategy or setting.
    """
    fields = {key: value for key, value in entry.items() if key not in OWN_KEYS}
    return make_component(STRATEGIES, entry.get("strategy"), fields, where)


def make_component(registry: Registry, name: Any, settings: dict[str, Any], where: str) -> Any:
    """The component registered as `name`, with these settings. Raises InputError as `make_strategy` does."""
    if not isinstance(name, str):
        raise InputError(
            f"{where}: it must say by name which {registry.kind} it is, one of {', '.join(registry.names())}"
        )
    kind: Any = registry.get(name)
    if "__dataclass_fields__" in vars(kind):
        raise InputError(
            f"{where}: {kind.__name__} in {file_of(kind)} is a dataclass: leave @dataclass out, annotated fields are "
            "settings already"
        )
    with said_by(kind, where):
        return parse(kind, settings, where)


@contextlib.contextmanager
def said_by(kind: type, where: str) -> Iterator[None]:
    """What a component's own code raises becomes an InputError that names its class and file.

    What the code of an outside class changes in the process is put back.
    """
    try:
        if kind.__module__.startswith(f"{__name__.partition('.')[0]}."):
            yield
            return
        with apart([kind]):
            yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{where}: {kind.__name__} in {file_of(kind)}: {reason_of(error)}") from error


def read_entry(label: str, entry: Mapping[str, Any], training: TrainingConfig, where: str = "") -> Entry:
    """The typed form of an entry that is written out; the stream's `training` supplies what it leaves out.

    Raises InputError, in one line naming the key below `where`, by default `strategies.LABEL`.
    """
    where = where or f"strategies.{label}"
    own = own_training(entry, where)
    strategy = make_strategy(entry, where)
    with said_by(type(strategy), where):
        _check_declared(strategy, where)
    made = parse(TrainingConfig, merged(training.model_dump(), own), f"{where}.training")
    return Entry(strategy, made, given_of(made.model_dump(mode="json"), own))


def own_training(entry: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The training settings of an entry, a preset expanded. Raises InputError, naming `where`, if they are none."""
    try:
        own = expand_preset(entry.get("training") or {})
    except ValueError as error:
        raise InputError(f"{where}.training: {error}") from error
    if not isinstance(own, Mapping):
        raise InputError(f"{where}.training: expected a mapping")
    return own


def overridden(entry: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with what a stream changes of it, both written out and without presets."""
    trainings = [part["training"] for part in (entry, changes) if isinstance(part.get("training"), Mapping)]
    training: dict[str, Any] = {}
    for each in trainings:
        training = merged(training, each)
    both = merged(*({key: value for key, value in part.items() if key != "training"} for part in (entry, changes)))
    return {**both, **({"training": training} if training else {})}


def _check_declared(strategy: Any, where: str) -> None:
    """Raise InputError for a strategy whose remarks or replay limit are not of their kind."""
    remarks, limit = strategy.remarks(), strategy.replay_limit()
    kind = type(strategy)
    if not isinstance(remarks, list) or not all(isinstance(remark, str) for remark in remarks):
        raise InputError(
            f"{where}: {kind.__name__}.remarks() in {file_of(kind)} must return a list of texts, not {remarks!r}"
        )
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InputError(
            f"{where}: {kind.__name__}.replay_limit() in {file_of(kind)} must return a number of samples, or None for "
            f"all of them, not {limit!r}"
        )


def kinds_of(strategy: Any) -> list[type]:
    """The classes of a strategy and, for a stack, of its parts."""
    return [type(strategy), *(type(part) for part in getattr(strategy, "stack", ()))]


def fingerprint_of(strategy: Any) -> dict[str, str]:
    """What the code of a strategy from outside is (see `fingerprint.code_of`); empty for what LorisBench has itself."""
    return code_of(kinds_of(strategy), strategy.model_dump(mode="json"))


def settings_of(strategy: Any, changed_only: bool = False) -> dict[str, Any]:
    """A strategy's entry as plain values, written out: with all settings, or only those that differ from defaults."""
    return {"strategy": strategy.name, **strategy.model_dump(mode="json", exclude_defaults=changed_only)}
