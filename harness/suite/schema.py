"""The schema number of suite.yaml and config.yaml, which identifies files of other versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorisbench.common.errors import InputError

SCHEMA = 2
"""Stands for what suite.yaml and a run's config.yaml mean, and for what the id of a run is a hash of.

A new setting whose default changes no result leaves it unchanged. Raise it when a default changes, or when a setting
gets another name or meaning: existing ids and files would otherwise stand for something else. Files older than the
first number (1) have none.
"""


def has_schema(values: Mapping[str, Any]) -> bool:
    """Whether a file was written under the present number."""
    return values.get("schema") == SCHEMA


def schema_of(values: Mapping[str, Any]) -> str:
    """The schema number of a file, for a message."""
    return f"schema number {values['schema']!r}" if "schema" in values else "no schema number"


def without_schema(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The settings of a suite without their schema number, which a suite written by hand need not have.

    Raises InputError for another number; `what` is the file, for the message.
    """
    if "schema" in values and not has_schema(values):
        raise InputError(
            f"{what}: has {schema_of(values)}, but this version of lorisbench reads {SCHEMA}; run the suite it was "
            f"made from, or check its settings and remove the line `schema`"
        )
    return {key: value for key, value in values.items() if key != "schema"}
