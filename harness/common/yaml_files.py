"""Reading and writing YAML: safe, by libyaml where it is there, and with no key that is there twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.files import write_text
from lorisbench.common.reading import as_mapping, read_text

# Both are safe, and libyaml's is 15 times as fast. Writing stays with Python's: libyaml folds long quoted text at other
# places, and what is written should not depend on the machine
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_SafeLoader):  # type: ignore[misc]
    """YAML takes the last of two equal keys without a word: one of two strategies would silently be missing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def from_yaml(text: str) -> Any:
    """The value that a text in YAML stands for. Raises yaml.YAMLError if it is not valid, or a key is there twice."""
    try:
        return yaml.load(text, _UniqueKeys)  # safe: a SafeLoader that looks at its keys
    except yaml.YAMLError:
        raise
    except Exception as error:  # its constructors pass on what a date of month 13, or 5,000 digits, raises
        raise yaml.YAMLError(reason_of(error)) from error


def to_yaml(value: Any, width: int = 80) -> str:
    """A plain value as text in YAML, keys in their order, lines folded at `width`."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=width))


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, in which no key is twice.

    Raises InputError, in one line with the line number, if it does not.
    """
    text = read_text(path)
    try:
        value = from_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"{path}{place}: not valid YAML ({problem})") from error
    return as_mapping(value, str(path))


def write_yaml(path: Path, value: Mapping[str, Any], width: int = 80) -> None:
    """Write a mapping of plain values, atomically."""
    write_text(path, to_yaml(dict(value), width))
