"""Any Avalanche plugin, unwrapped: `{avalanche: "package.module:ClassName", args: {...}}` in a suite."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from lorisbench.common.errors import InputError
from lorisbench.common.registry import import_object
from lorisbench.common.restored import restored
from lorisbench.engine.strategy import Context, Strategy


class AvalanchePlugin(Strategy, name="avalanche"):
    """Any Avalanche SupervisedPlugin by its dotted name, with its arguments."""

    plugin: str
    args: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> AvalanchePlugin:
        self._make()  # a wrong name or argument is an error in the suite, found before anything runs
        return self

    def _make(self) -> Any:
        from avalanche.core import BasePlugin

        found = import_object(self.plugin)
        if not (isinstance(found, type) and issubclass(found, BasePlugin)):
            raise InputError(f"{self.plugin} is not an Avalanche plugin (a subclass of avalanche.core.BasePlugin)")
        try:
            with restored():  # it is made to be looked at as well as to be used
                return found(**self.args)
        except Exception as error:  # from the plugin's own code; only a TypeError is sure to be about the arguments
            reason = str(error) if isinstance(error, TypeError) else f"{type(error).__name__}: {error}"
            raise InputError(f"{self.plugin} refuses the arguments {self.args}: {reason}") from error

    def replay_limit(self) -> int | None:
        """The size of the plugin's storage policy; 0 if it has none."""
        policy = getattr(self._make(), "storage_policy", None)
        return 0 if policy is None else policy.max_size

    def plugins(self, context: Context) -> list[Any]:
        return [self._make()]
