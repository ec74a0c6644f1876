"""What `--set key=value` changes in a suite before it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.common.yaml_files import from_yaml
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.entries import by_label, item_as_entry
from lorisbench.suite.streams import benchmarks_of
from lorisbench.suite.training import preset_as_mapping


def assigned(assignment: str) -> tuple[str, Any]:
    """The key and value of `key=value`, the value read as YAML. Raises InputError for anything else."""
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise InputError(f"--set {assignment!r}: expected key=value")
    try:
        return key, from_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {assignment!r}: the value is not valid YAML") from error


def override(values: dict[str, Any], assignments: Sequence[str]) -> None:
    """Apply `--set key.sub=value` in place.

    A first part that is not a key of a suite but a label of its strategies is short for `strategies.<label>`. In a list
    the key is an item's index from 0, and an item that is a name stands for its strategy: `both.stack.0.ewc_lambda`.
    Raises InputError for a malformed assignment, a path through something that is not a mapping, or a setting of a
    stream that the suite does not have.
    """
    for assignment in assignments:
        dotted, value = assigned(assignment)
        keys = _keys(values, dotted)
        target = values
        for depth, key in enumerate(keys[:-1]):
            if isinstance(target, dict) and depth == 0 and key == "strategies":
                target[key] = by_label(target.get(key))
            if isinstance(target, dict) and key == "training":
                target[key] = preset_as_mapping(target.get(key))
            if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                target[int(key)] = item_as_entry(target[int(key)])
                target = target[int(key)]
            elif isinstance(target, dict):
                if target.get(key) is None:
                    target[key] = {}
                target = target[key]
            last = depth == len(keys) - 2
            if not isinstance(target, dict if last else (dict, list)):
                raise InputError(f"--set {dotted}: {'.'.join(keys[: depth + 1])} has no keys")
        target[keys[-1]] = value


def _keys(values: Mapping[str, Any], dotted: str) -> list[str]:
    """The keys on the way to the value that a dotted key stands for. Names of strategies and streams may have dots."""
    first, _, rest = dotted.partition(".")
    labels = [str(label) for label in values.get("strategies") or {}]
    if first not in SuiteConfig.model_fields:
        label = _longest(labels, dotted)
        if label is None:
            raise InputError(
                f"--set {dotted}: unknown key {first!r}{nearest(first, [*SuiteConfig.model_fields, *labels])}"
            )
        return ["strategies", *_split(label, dotted)]
    if first not in ("strategies", "benchmarks", "streams") or not rest:
        return dotted.split(".")
    known = labels if first == "strategies" else list(benchmarks_of(values))
    name = _longest(known, rest)
    if name is not None:
        inner = rest[len(name) + 1 :]
        label = _longest(labels, inner.removeprefix("strategies.")) if inner.startswith("strategies.") else None
        if first == "streams" and label is not None:
            return [first, name, "strategies", *_split(label, inner.removeprefix("strategies."))]
        return [first, *_split(name, rest)]
    wanted = rest.partition(".")[0]
    if first == "streams" or (first == "benchmarks" and "." in rest and known):
        raise InputError(f"--set {dotted}: no stream is called {wanted!r}{nearest(wanted, known)}")
    return dotted.split(".")


def _longest(names: Iterable[str], dotted: str) -> str | None:
    """The longest of the names that a dotted key begins with."""
    return max((name for name in names if f"{dotted}.".startswith(f"{name}.")), key=len, default=None)


def _split(name: str, dotted: str) -> list[str]:
    return [name, *[part for part in dotted[len(name) + 1 :].split(".") if part]]
