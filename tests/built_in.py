"""The strategies that LorisBench has itself, whatever test modules have registered beside them."""

from __future__ import annotations

from lorisbench.common.registry import STRATEGIES

BUILT_IN = [name for name, entry in STRATEGIES.entries().items() if entry.origin == "built-in"]
