"""Several strategies at once: the plugins of all, in order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.engine.strategy import GROWTHS, Context, Growth, Strategy
from lorisbench.suite.resolve import entry_of, make_strategy


class Stack(Strategy, name="stack"):
    """Several strategies at once, `{stack: [ewc, {strategy: replay, ...}]}`: the plugins of all, in this order.

    stack: names of strategies or their entries as in a suite, `{strategy: ewc, ewc_lambda: 10}` or `{ewc: {ewc_lambda:
    10}}`. At most one may change the model (`wrap`), none may make its Avalanche strategy itself (`build`), and none
    may be among the `conflicts` of another. What they declare is joined: all remarks, the sum of what they replay, what
    they need or refuse, the largest growth.
    """

    stack: list[dict[str, Any]] = Field(min_length=1)

    @field_validator("stack", mode="before")
    @classmethod
    def _fill(cls, value: Any, info: ValidationInfo) -> Any:
        """Each item as an entry with all defaults. Raises InputError for what is none, or does not fit the others."""
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value
        where = (info.context or {}).get("where", "strategy")
        parts = [_part(item, f"{where}.stack.{number}") for number, item in enumerate(value)]
        _check(parts, f"{where}.stack")
        return [{"strategy": part.name, **part.model_dump(mode="json")} for part in parts]

    def parts(self) -> list[Strategy]:
        """The strategies, in order."""
        return [make_strategy(entry) for entry in self.stack]

    @property
    def needs_task_labels(self) -> bool:  # type: ignore[override]
        return any(part.needs_task_labels for part in self.parts())

    @property
    def task_heads(self) -> bool:  # type: ignore[override]
        return all(part.task_heads for part in self.parts())

    @property
    def state_growth(self) -> Growth:  # type: ignore[override]
        return max((part.state_growth for part in self.parts()), key=GROWTHS.index)

    def replay_limit(self) -> int | None:
        limits = [part.replay_limit() for part in self.parts()]
        return None if None in limits else sum(limit for limit in limits if limit is not None)

    def remarks(self) -> list[str]:
        return list(dict.fromkeys(remark for part in self.parts() for remark in part.remarks()))

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        for part in self.parts():
            model = part.wrap(model, context)
        return model

    def plugins(self, context: Context) -> list[Any]:
        return [plugin for part in self.parts() for plugin in part.plugins(context)]


def _part(item: Any, where: str) -> Strategy:
    """The strategy of an item: `ewc`, `{ewc: {...}}` and `{strategy: ewc, ...}` are one and the same."""
    if isinstance(item, Mapping) and len(item) == 1 and not {"strategy", "avalanche", "stack"} & set(item):
        ((name, settings),) = item.items()
        item = {"strategy": name, **(settings or {})} if isinstance(settings, Mapping | None) else item
    entry = {"strategy": item} if isinstance(item, str) else entry_of(item)
    if not isinstance(entry, Mapping) or "strategy" not in entry:
        raise InputError(f"{where}: a strategy's name, or its settings with `strategy: NAME`, was expected")
    if "training" in entry:
        raise InputError(f"{where}.training: all strategies of a stack train as one; it goes beside `stack:`")
    return make_strategy(entry, where)


def _check(parts: list[Strategy], where: str) -> None:
    """Raise InputError for strategies that cannot be stacked."""
    for part in parts:
        if isinstance(part, Stack):
            raise InputError(f"{where}: a stack in a stack; list its strategies here")
        if type(part).build is not Strategy.build:
            raise InputError(f"{where}: {part.name} makes its own Avalanche strategy (build), so it stands alone")
    for one, other in itertools.permutations(parts, 2):
        if other.name in one.conflicts:
            raise InputError(f"{where}: {one.name} cannot go with {other.name}: {one.conflicts[other.name]}")
    wrapping = [part.name for part in parts if type(part).wrap is not Strategy.wrap]
    if len(wrapping) > 1:
        raise InputError(f"{where}: {' and '.join(wrapping)} change the model (wrap), which only one may")
