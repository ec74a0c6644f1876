"""Reading and writing YAML: safe, by libyaml where it is there, and with no word that turns into something else."""

from __future__ import annotations

import functools
import json
import marshal
import re
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

# Of what YAML 1.1 takes for other than text, no more than anyone means: `no`, `on` and `y` are words, 0123 is a name,
# 12:30 a time and 2024-01-05 a day that nobody reckons with. The writer quotes all that YAML 1.1 does not take for
# text, so that what is written is read the same.
_MEANT: dict[str, tuple[str, str]] = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "merge": (r"<<", "<"),
}
_TAGS = {kind: f"tag:yaml.org,2002:{kind}" for kind in _MEANT}


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What PyYAML looks up by the first character of a plain word; the empty word has none."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, (pattern, firsts) in _MEANT.items():
        for first in firsts:
            table.setdefault(first.strip("\0"), []).append((_TAGS[kind], re.compile(rf"(?:{pattern})$")))
    return table


class _Loader(_SafeLoader):  # type: ignore[misc]
    """A safe loader for which a key is a name and stands in its mapping once.

    A key is a whole number only if it is written as Python writes one, and otherwise the text that is written: so
    `null:`, `true:` and `1.0:` are names. YAML itself takes the last of two equal keys without a word, and one of two
    strategies would silently be missing.
    """

    yaml_implicit_resolvers = _resolvers()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _TAGS["merge"]:
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
            if key.tag in _TAGS.values() and not _is_number(key):
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _is_number(key: yaml.ScalarNode) -> bool:
    return key.tag == _TAGS["int"] and str(int(key.value)) == key.value


def from_yaml(text: str) -> Any:
    """The value that a text in YAML stands for. Raises yaml.YAMLError if it is not valid, or a key is there twice."""
    try:
        return yaml.load(text, _Loader)  # safe: a SafeLoader that looks at its words and keys
    except yaml.YAMLError:
        raise
    except Exception as error:  # its constructors pass on what a date of month 13, or 5,000 digits, raises
        raise yaml.YAMLError(reason_of(error)) from error


def to_yaml(value: Any, width: int = 80) -> str:
    """A plain value as text in YAML, keys in their order, lines folded at `width`."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=width))


def settings_to_yaml(values: Mapping[str, Any]) -> str:
    """The same text as `to_yaml` for a mapping without references, faster for one of many that are nearly alike."""
    return "".join(_item_to_yaml(key, json.dumps(value)) for key, value in values.items()) or to_yaml({})


@functools.lru_cache(maxsize=4096)
def _item_to_yaml(key: str, value: str) -> str:
    return to_yaml({key: json.loads(value)})


def _from_items(text: str) -> dict[str, Any] | None:
    """A mapping read key by key, as the runs of a suite have most of theirs in common; None unless it is that simple.

    Each key starts its line, and what belongs to it is indented or an item of its list. Whatever spans several keys (a
    reference, quotes, another document) does not stand for itself and makes this None.
    """
    values: dict[str, Any] = {}
    for item in _FIRST.split(text)[1:] if _KEY.match(text) else ():
        try:
            if not _KEY.match(item):
                return None
            ((key, value),) = marshal.loads(_item_from_yaml(item)).items()  # a copy, the caller's own
        except (ValueError, AttributeError, yaml.YAMLError):
            return None
        if key in values:
            return None
        values[key] = value
    return values or None


_FIRST = re.compile(r"^(?=[^\s-])", re.MULTILINE)  # where a line begins that goes on with nothing before it
_KEY = re.compile(r"[A-Za-z_]\w*:[ \n]")


@functools.lru_cache(maxsize=4096)
def _item_from_yaml(text: str) -> bytes:
    return marshal.dumps(from_yaml(text))  # ValueError for what is no plain value


def read_yaml(path: Path, alike: bool = False) -> dict[str, Any]:
    """A YAML file that holds a mapping, in which no key is twice.

    alike : whether it is one of many that have most of their keys in common, which are then read once.

    Raises InputError, in one line with the line number, if it does not.
    """
    text = read_text(path)
    if alike and (known := _from_items(text)) is not None:
        return known
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
