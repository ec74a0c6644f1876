"""A plugin written for Avalanche, unwrapped: `{avalanche: "package.module:ClassName", args: {...}}` in a suite."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from lorisbench.common.component import check_truths
from lorisbench.common.errors import InputError
from lorisbench.common.registry import import_object
from lorisbench.common.restored import restored
from lorisbench.engine.strategy import Context, Strategy


class AvalanchePlugin(Strategy, name="avalanche"):
    """An Avalanche plugin by its dotted name, with its arguments.

    args: an argument that is an object is written `{object: "package.module:ClassName", args: {...}}`, such as the
    scheduler of a learning rate. Arguments called `model` or `optimizer` that a class needs and is not given are the
    run's own.
    """

    plugin: str
    args: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> AvalanchePlugin:
        self._trial()  # a wrong name or argument is an error in the suite, found before anything runs
        return self

    def _kind(self) -> Any:
        from avalanche.core import BasePlugin
        from avalanche.training.plugins import EvaluationPlugin

        found = import_object(self.plugin)
        if not (isinstance(found, type) and issubclass(found, BasePlugin | EvaluationPlugin)):
            raise InputError(f"{self.plugin} is not an Avalanche plugin (a subclass of avalanche.core.BasePlugin)")
        check_truths(found, self.args, self.plugin)
        return found

    def make(self, model: Any, optimizer: Any) -> Any:
        """A fresh plugin for a strategy with these. Raises InputError if its class refuses the arguments."""
        kind = self._kind()
        try:
            with restored():  # it is made to be looked at as well as to be used
                return _made(kind, self.args, {"model": model, "optimizer": optimizer})
        except InputError:
            raise
        except Exception as error:  # from the plugin's own code; only a TypeError is sure to be about the arguments
            reason = str(error) if isinstance(error, TypeError) else f"{type(error).__name__}: {error}"
            raise InputError(f"{self.plugin} refuses the arguments {self.args}: {reason}") from error

    def _trial(self) -> Any:
        """A plugin for a model and an optimizer that stand in for those of a run."""
        import torch

        model = torch.nn.Linear(1, 1)
        return self.make(model, torch.optim.SGD(model.parameters(), lr=1.0))

    def replay_limit(self) -> int | None:
        """The size of the plugin's storage policy; 0 if it has none."""
        policy = getattr(self._trial(), "storage_policy", None)
        return 0 if policy is None else policy.max_size

    def remarks(self) -> list[str]:
        from avalanche.training.plugins import SynapticIntelligencePlugin

        from lorisbench.engine.evaluation import wanted_by

        plugin = self._trial()
        wanted = wanted_by([plugin])
        found = []
        if wanted is not None and "validation" in wanted.streams:
            found.append("while it trains it sees how well the validation images of the experience are classified")
        if isinstance(plugin, SynapticIntelligencePlugin):
            found.append("Avalanche's own: on the CPU it equals naive, as its importances stay 0")
        return found

    def plugins(self, context: Context) -> list[Any]:
        return [self.make]


def _made(kind: Any, args: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """An object of a class from its arguments as a suite holds them; `parts`: what those it needs may be."""
    given = {key: _value(value, parts) for key, value in args.items()}
    needed = [name for name, each in inspect.signature(kind).parameters.items() if each.default is each.empty]
    return kind(**{**{name: parts[name] for name in needed if name in parts}, **given})


def _value(value: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping) and "object" in value and set(value) <= {"object", "args"}:
        return _made(import_object(value["object"]), value.get("args") or {}, parts)
    return [_value(item, parts) for item in value] if isinstance(value, list) else value
