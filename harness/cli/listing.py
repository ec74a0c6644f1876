"""`lorisbench ls`: components, suites and metrics, found without importing torch, so that the answer is immediate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lorisbench.cli import references
from lorisbench.common.errors import InputError
from lorisbench.common.registry import BENCHMARKS, STRATEGIES, load_plugin, nearest
from lorisbench.common.scan import Entry
from lorisbench.metrics import table
from lorisbench.suite import shipped as suites

RESULTS = "results"


def listing(kind: str, as_json: bool, plugins: Sequence[str] = ()) -> str:
    """Text or JSON of strategies, benchmarks, suites and metrics, or of reference results if these are asked for.

    Raises InputError for an unknown kind, and for results where there are none.
    """
    for plugin in plugins:
        load_plugin(plugin)
    kinds: dict[str, list[dict[str, Any]]] = {
        "strategies": [_describe(entry) for _, entry in sorted(STRATEGIES.entries().items())],
        "benchmarks": [_describe(entry) for _, entry in sorted(BENCHMARKS.entries().items())],
        "suites": [{"name": name, "summary": summary} for name, summary in suites.shipped().items()],
        "metrics": [table.describe(metric) for metric in table.METRICS],
    }
    if kind == RESULTS:
        kinds = {RESULTS: references.references()}
    if kind and kind not in kinds:
        raise InputError(f"unknown kind {kind!r}{nearest(kind, [*kinds, RESULTS])}")
    chosen = {kind: kinds[kind]} if kind else kinds
    if as_json:
        return json.dumps(chosen[kind] if kind else chosen, indent=1)
    lines = []
    for title, entries in chosen.items():
        lines.append(f"{title}:")
        width = max((len(entry["name"]) for entry in entries), default=0)
        lines += [f"  {entry['name']:<{width}}  {_sentence(entry)}".rstrip() for entry in entries]
    return "\n".join(lines)


def _sentence(entry: Mapping[str, Any]) -> str:
    """The text beside a name: the summary of a component or suite, or how a metric is shown and defined."""
    if "command" in entry:
        return references.sentence(entry)
    if "summary" in entry:
        marks = [f"{key}: {', '.join(map(str, values))}" for key, values in entry.get("transductive", {}).items()]
        return " ".join([str(entry["summary"]), *(f"(transductive with {mark})" for mark in marks)])
    better = f"{entry['better']} is better" if entry["better"] else ""
    aside = "" if entry["in_results"] else "beside published numbers only"
    told = "; ".join(filter(None, (entry["unit"], better, f"from {entry['source']}", aside)))
    return f"{entry['header']} ({told}): {entry['formula']}"


def _describe(entry: Entry) -> dict[str, Any]:
    fields = {name: {"type": kind, "default": default} for name, (kind, default) in entry.fields.items()}
    return {
        "name": entry.name,
        "summary": entry.summary,
        "origin": entry.origin,
        "module": entry.module,
        "settings": fields,
        **({"transductive": entry.transductive} if entry.transductive else {}),
    }
