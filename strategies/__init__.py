"""Continual-learning strategies, one method per file; `Strategy` is what a new one subclasses."""

from typing import TYPE_CHECKING

from lorisbench.common.lazy import exports

if TYPE_CHECKING:
    from lorisbench.engine.strategy import Context, Strategy

__all__ = ["Context", "Strategy"]
__getattr__, __dir__ = exports(__name__, dict.fromkeys(__all__, "lorisbench.engine.strategy"))
