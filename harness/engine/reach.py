"""What can be reached from a value: its tensors and modules, wherever a method may keep them."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.scenarios.generic_scenario import CLExperience
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.flat_data import FlatData
from avalanche.training.templates.base import BaseTemplate
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lorisbench.data.stream import Rows

_PROJECT = __name__.partition(".")[0]
_PLAIN = {bool, int, float, str, bytes, type(None)}  # they hold nothing
_OPAQUE = ("builtins", "torch", "numpy", "pydantic", _PROJECT)


def walk(value: Any, path: str, inside: bool = False, seen: dict[int, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """All tensors and modules reachable from a value, with paths; does not enter strategies or the stream's data.

    A module gives itself and its state; with `inside`, also tensors that are plain attributes of it or of its parts.
    """
    seen = {} if seen is None else seen
    if type(value) in _PLAIN or id(value) in seen:
        return
    seen[id(value)] = value  # kept alive, so that no later object gets its id
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        yield path, torch.from_numpy(np.ascontiguousarray(value, _native(value.dtype)))
    elif isinstance(value, nn.Module):
        yield path, value
        for name, tensor in (*value.named_parameters(), *value.named_buffers()):
            yield from walk(tensor, f"{path}.{name}", inside, seen)
        for name, module in value.named_modules() if inside else ():
            own = {k: v for k, v in vars(module).items() if k not in ("_parameters", "_buffers", "_modules")}
            yield from walk(own, f"{path}.{name}".rstrip("."), inside, seen)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, f"{path}.{key}", inside, seen)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for index, item in enumerate(value):
            if isinstance(item, (int, float, str)):
                continue  # there may be very many
            yield from walk(item, f"{path}[{index}]", inside, seen)
    elif isinstance(value, (BaseTemplate, CLExperience, Rows, type)):
        return
    elif isinstance(value, FunctionType):
        if not opaque(value.__module__):
            yield from walk(_closure(value), path, inside, seen)
    elif isinstance(value, functools.partial):
        yield from walk([value.func, value.args, value.keywords], path, inside, seen)
    elif isinstance(value, (AvalancheDataset, FlatData)):  # not its labels and indices, which are many
        yield from walk(value._datasets, path, inside, seen)
    elif isinstance(value, MethodType):
        yield from walk(value.__self__, path, inside, seen)
    elif isinstance(value, (Dataset, DataLoader)) or (
        hasattr(value, "__dict__") and not opaque(type(value).__module__)
    ):
        yield from walk(dict(vars(value)), path, inside, seen)


def _native(dtype: np.dtype) -> np.dtype:
    """A dtype that torch supports, for numbers of any size and byte order."""
    return np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")


def opaque(module: str | None) -> bool:
    """Whether functions from a module, and objects of its classes, hold none of a method's state."""
    name = module or ""
    return name.partition(".")[0] in _OPAQUE and not name.startswith(f"{_PROJECT}.strategies.")


def _closure(function: FunctionType) -> dict[str, Any]:
    """The values that a function closes over, by name; those not set yet are left out."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}


def _is_empty(cell: CellType) -> bool:
    return cell == CellType()  # an empty cell equals only other empty cells
