"""`lorisbench ls`: components and suites, read from sources so that it answers at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import BENCHMARKS, STRATEGIES, load_plugin, nearest
from lorisbench.common.scan import Entry
from lorisbench.suite import shipped as suites


def listing(kind: str, as_json: bool, plugins: Sequence[str] = ()) -> str:
    """Text or JSON of strategies, benchmarks and suites. Raises InputError for an unknown kind."""
    for plugin in plugins:
        load_plugin(plugin)
    kinds: dict[str, list[dict[str, Any]]] = {
        "strategies": [_describe(entry) for _, entry in sorted(STRATEGIES.entries().items())],
        "benchmarks": [_describe(entry) for _, entry in sorted(BENCHMARKS.entries().items())],
        "suites": [{"name": name, "summary": summary} for name, summary in suites.shipped().items()],
    }
    if kind and kind not in kinds:
        raise InputError(f"unknown kind {kind!r}{nearest(kind, kinds)}")
    chosen = {kind: kinds[kind]} if kind else kinds
    if as_json:
        return json.dumps(chosen[kind] if kind else chosen, indent=1)
    lines = []
    for title, entries in chosen.items():
        lines.append(f"{title}:")
        width = max((len(entry["name"]) for entry in entries), default=0)
        lines += [f"  {entry['name']:<{width}}  {entry['summary']}".rstrip() for entry in entries]
    return "\n".join(lines)


def _describe(entry: Entry) -> dict[str, Any]:
    fields = {name: {"type": kind, "default": default} for name, (kind, default) in entry.fields.items()}
    return {
        "name": entry.name,
        "summary": entry.summary,
        "origin": entry.origin,
        "module": entry.module,
        "settings": fields,
    }
