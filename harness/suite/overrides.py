"""What `--set key=value` changes in a suite before it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.common.yaml_files import from_yaml
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.entries import by_label, item_as_entry
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
    Raises InputError for a malformed assignment or a path through something that is not a mapping.
    """
    for assignment in assignments:
        dotted, value = assigned(assignment)
        keys = dotted.split(".")
        if keys[0] not in SuiteConfig.model_fields:
            labels = [str(label) for label in values.get("strategies") or {}]
            label = max((n for n in labels if dotted.startswith(f"{n}.") or dotted == n), key=len, default=None)
            if label is None:  # labels may contain dots: the longest match counts
                known = [*SuiteConfig.model_fields, *labels]
                raise InputError(f"--set {dotted}: unknown key {keys[0]!r}{nearest(keys[0], known)}")
            keys = ["strategies", label, *[part for part in dotted[len(label) + 1 :].split(".") if part]]
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
