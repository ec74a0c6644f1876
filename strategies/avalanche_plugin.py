"""Any Avalanche plugin, unwrapped: `{avalanche: "package.module:ClassName", args: {...}}` in a suite."""

from __future__ import annotations

from typing import Any

from harness.errors import InputError
from harness.registry import import_object
from strategies.base import Context, Strategy


class AvalanchePlugin(Strategy, name="avalanche"):
    """Any Avalanche SupervisedPlugin by its dotted name, with its arguments."""

    plugin: str
    args: dict[str, Any] = {}

    def plugins(self, context: Context) -> list[Any]:
        """Raises InputError if the class does not exist or refuses the arguments."""
        try:
            return [import_object(self.plugin)(**self.args)]
        except TypeError as error:
            raise InputError(f"{self.plugin} refuses the arguments {self.args}: {error}") from error
