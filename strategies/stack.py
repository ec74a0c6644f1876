"""Several strategies at once: the plugins of all, in order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, FieldSerializationInfo, ValidationInfo, field_serializer, field_validator
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.engine.checked import checked_model, checked_plugins
from lorisbench.engine.strategy import GROWTHS, Context, Growth, Strategy
from lorisbench.suite.entries import part_of, settings_of


class Stack(Strategy, name="stack"):
    """Several strategies at once, `{stack: [ewc, {strategy: replay, ...}]}`: the plugins of all, in this order.

    stack: names of strategies or their entries as in a suite, `{strategy: ewc, ewc_lambda: 10}` or `{ewc: {ewc_lambda:
    10}}`. At most one may change the model (`wrap`), none may make its Avalanche strategy itself (`build`), and none
    may be among the `conflicts` of another. What they declare is joined: all remarks, the sum of what they replay, what
    they need or refuse, the largest growth.
    """

    stack: list[Strategy] = Field(min_length=1)

    @field_validator("stack", mode="before")
    @classmethod
    def _fill(cls, value: Any, info: ValidationInfo) -> Any:
        """Each item as a strategy. Raises InputError for one that is invalid or does not fit the others."""
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value
        where = (info.context or {}).get("where", "strategy")
        parts = [part_of(item, f"{where}.stack.{number}") for number, item in enumerate(value)]
        _check(parts, f"{where}.stack")
        return parts

    @field_serializer("stack")
    def _entries(self, stack: list[Strategy], info: FieldSerializationInfo) -> list[dict[str, Any]]:
        return [settings_of(part, changed_only=info.exclude_defaults) for part in stack]

    @property
    def needs_task_labels(self) -> bool:  # type: ignore[override]
        return any(part.needs_task_labels for part in self.stack)

    @property
    def task_heads(self) -> bool:  # type: ignore[override]
        return all(part.task_heads for part in self.stack)

    @property
    def growing_heads(self) -> bool:  # type: ignore[override]
        return all(part.growing_heads for part in self.stack)

    @property
    def needs_epochs(self) -> str:  # type: ignore[override]
        return next((part.needs_epochs for part in self.stack if part.needs_epochs), "")

    @property
    def without_steps(self) -> str:  # type: ignore[override]
        return next((part.without_steps for part in self.stack if part.without_steps), "")

    @property
    def state_growth(self) -> Growth:  # type: ignore[override]
        return max((part.state_growth for part in self.stack), key=GROWTHS.index)

    def replay_limit(self) -> int | None:
        limits = [part.replay_limit() for part in self.stack]
        return None if None in limits else sum(limit for limit in limits if limit is not None)

    def remarks(self) -> list[str]:
        return list(dict.fromkeys(remark for part in self.stack for remark in part.remarks()))

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        for part in self.stack:
            model = checked_model(type(part), part.wrap(model, context))
        return model

    def plugins(self, context: Context) -> list[Any]:
        each = replace(context, rows="all")
        return [plugin for part in self.stack for plugin in checked_plugins(type(part), part.plugins(each))]


def _check(parts: list[Strategy], where: str) -> None:
    """Raise InputError for strategies that cannot be stacked."""
    for part in parts:
        if isinstance(part, Stack):
            raise InputError(f"{where}: a stack in a stack; list its strategies directly")
        if type(part).build is not Strategy.build:
            raise InputError(f"{where}: {part.name} makes its own Avalanche strategy (build), so it must stand alone")
    for one, other in itertools.permutations(parts, 2):
        if other.name in one.conflicts:
            raise InputError(f"{where}: {one.name} cannot go with {other.name}: {one.conflicts[other.name]}")
    wrapping = [part.name for part in parts if type(part).wrap is not Strategy.wrap]
    if len(wrapping) > 1:
        raise InputError(f"{where}: {' and '.join(wrapping)} change the model (wrap), which only one may do")
