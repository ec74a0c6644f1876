"""Texts that several things have in common, each told once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def by_value(values: Mapping[Name, str]) -> dict[str, list[Name]]:
    """The names that have each value."""
    found: dict[str, list[Name]] = {}
    for name, value in values.items():
        found.setdefault(value, []).append(name)
    return found


def listed(found: Mapping[str, Sequence[Name]]) -> str:
    """What `by_value` gives as one text: "a, b: this; c: that"; empty if there is none."""
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in found.items())
