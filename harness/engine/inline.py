"""Values without an identity, such as a dtype or a complex number, as JSON and back."""

from __future__ import annotations

import datetime
import enum
import math
import types
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from lorisbench.engine.names import name_of

FUNCTIONS = {
    "torch": torch,
    "torch.nn.functional": nn.functional,
    "math": math,
}  # whose built-in functions may be named


def inline(value: Any) -> Any:
    """What has no identity, as `[kind, ...]`; None for anything else."""
    kind = type(value)
    if kind is complex:
        return ["complex", repr(value.real), repr(value.imag)]
    if kind in (bytes, bytearray):
        return ["bytes", value.hex()] if kind is bytes else None
    if isinstance(value, enum.Enum):
        return ["enum", name_of(kind), value.name]
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return ["scalar", np.lib.format.dtype_to_descr(value.dtype), value.tobytes().hex()]
    if kind is torch.Size:
        return ["size", *value]
    if kind in (torch.dtype, torch.memory_format, torch.layout):
        return [kind.__name__, str(value).partition(".")[2]]
    if kind is torch.device:
        return ["device", value.type, value.index]
    if kind is range:
        return ["range", value.start, value.stop, value.step]
    if kind is slice and all(part is None or type(part) is int for part in (value.start, value.stop, value.step)):
        return ["slice", value.start, value.stop, value.step]
    if isinstance(value, PurePath):
        return ["path", kind.__name__, str(value)]
    if kind in (datetime.datetime, datetime.date):
        return [kind.__name__, value.isoformat()]
    if kind is types.BuiltinFunctionType:
        place = next((name for name, module in FUNCTIONS.items() if vars(module).get(value.__name__) is value), None)
        return None if place is None else ["of", place, value.__name__]
    if value is ...:
        return ["ellipsis"]
    return ["not implemented"] if value is NotImplemented else None


def _built_in(function: Any) -> Any:
    if not isinstance(function, types.BuiltinFunctionType):
        raise ValueError(f"{function!r:.40} is no built-in function")
    return function


def dtype_of(descr: Any) -> np.dtype:
    """A numpy dtype from its description (`np.lib.format.dtype_to_descr`), in which JSON has made the tuples lists."""

    def tuples(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [tuple(tuples(part) for part in entry) for entry in value]

    return np.lib.format.descr_to_dtype(tuples(descr))


MADE: dict[str, Callable[..., Any]] = {
    "float": float,
    "complex": lambda real, imag: complex(float(real), float(imag)),
    "bytes": bytes.fromhex,
    "scalar": lambda descr, data: np.frombuffer(bytes.fromhex(data), dtype_of(descr))[0],
    "size": lambda *sizes: torch.Size(sizes),
    "dtype": lambda name: getattr(torch, name),
    "memory_format": lambda name: getattr(torch, name),
    "layout": lambda name: getattr(torch, name),
    "device": lambda kind, index: torch.device(kind) if index is None else torch.device(kind, index),
    "range": range,
    "slice": slice,
    "path": lambda kind, text: Path(text),
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "of": lambda module, name: _built_in(vars(FUNCTIONS[module])[name]),
    "ellipsis": lambda: ...,
    "not implemented": lambda: NotImplemented,
}
"""Functions that make such values from what follows their kind; `enum` and `class` need to know classes."""
