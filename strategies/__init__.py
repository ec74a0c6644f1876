"""Continual-learning strategies, one method a file; `Strategy` is what a new one subclasses."""

from strategies.base import Context, Strategy

__all__ = ["Context", "Strategy"]
