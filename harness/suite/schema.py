"""The schema number of suite.yaml and config.yaml, by which files of another version are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorisbench.common.errors import InputError

SCHEMA = 2
"""What a suite.yaml and the config.yaml of a run mean, and what the id of a run is a hash of.

A new setting whose default changes no number leaves it as it is. Raise it where a default changes, or where a setting
gets another name or meaning: ids and files made before would stand for something else. Files before the first number
(1) have none.
"""


def has_schema(values: Mapping[str, Any]) -> bool:
    """Whether a file was written under the present number."""
    return values.get("schema") == SCHEMA


def schema_of(values: Mapping[str, Any]) -> str:
    """The schema number of a file, for a message."""
    return f"schema number {values['schema']!r}" if "schema" in values else "no schema number"


def without_schema(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The settings of a suite without their schema number, which one written by hand need not have.

    Raises InputError for another number; `what` is the file, for the message.
    """
    if "schema" in values and not has_schema(values):
        raise InputError(
            f"{what}: has {schema_of(values)}, this version of lorisbench reads {SCHEMA}; run the suite that it was "
            f"made from, or look its settings through and take the line `schema` out"
        )
    return {key: value for key, value in values.items() if key != "schema"}
