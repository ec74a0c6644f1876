"""The objects of a run as plain data: records that refer to each other by number, and blobs of bytes.

Everything that can be reached is written down once, so that what two owners share stays shared. An object that was
there when the strategy was built (`born`) is only named by its number in the order in which a walk meets what has been
built: building again gives its counterpart, into which its contents can be put. Any other object is described by its
class. What is neither data nor was built (a generator that has begun, a lambda made on the way) cannot be captured.
"""

from __future__ import annotations

import enum
import functools
import logging
import math
import random
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from lorisbench.engine.attributes import state_of_object
from lorisbench.engine.inline import inline
from lorisbench.engine.names import Names, is_of, name_of
from lorisbench.engine.reach import opaque

TENSORS = {kind.__name__: kind for kind in (torch.Tensor, nn.Parameter)}
CONTAINERS = (
    OrderedDict,
    defaultdict,
    dict,
    list,
    set,
    frozenset,
    deque,
    tuple,
)  # a class before the one it is made of
BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_KEPT = (
    types.ModuleType, types.BuiltinFunctionType, types.MappingProxyType, types.MethodDescriptorType, np.ufunc,
    logging.Logger, random.SystemRandom, type(threading.Lock()), type(threading.RLock()),
)  # fmt: skip
_SCALARS = frozenset((bool, int, str))


class Uncapturable(Exception):
    """What a run holds cannot be written down as data; the message names the plugin's class and the attribute."""


class Capture:
    """Walks over objects and writes them down.

    Parameters
    ----------
    names : the classes that objects may be of.
    born : for each object that was there when the strategy was built, its number by its id. None for the walk that
        finds these out: then what cannot be captured is passed over.
    leaves : those numbered below this belong to the stream, and are only named.
    without_grad : ids of parameters whose gradients are cleared before they are used.
    asked : ids of objects that are asked for their state (`state_dict`).
    emptied : ids of mappings that are emptied before they are used.
    known : objects that count as met already.

    Attributes
    ----------
    objects : what has been met, in this order. records : each as plain data. blobs : uint8 (bytes,), on the CPU.
    places : for blobs that are a part of a tensor's storage, the first byte's place in it, and the storage's bytes.
    """

    def __init__(
        self,
        names: Names,
        born: Mapping[int, int] | None = None,
        leaves: int = 0,
        without_grad: Iterable[int] = (),
        asked: Iterable[int] = (),
        emptied: Iterable[int] = (),
        known: Iterable[Any] = (),
    ) -> None:
        self.names, self.born, self.leaves = names, born, leaves
        self.without_grad, self.asked, self.emptied = frozenset(without_grad), frozenset(asked), frozenset(emptied)
        self.objects: list[Any] = list(known)
        self.records: list[Any] = [None] * len(self.objects)
        self.blobs: list[torch.Tensor] = []
        self.places: dict[int, tuple[int, int]] = {}
        self._numbers: dict[int, int] = {id(value): number for number, value in enumerate(self.objects)}
        self._storages: dict[tuple[torch.device, int], list[Any]] = {}
        self._path: list[Any] = []

    def at(self, step: Any, value: Any) -> Any:
        """The node of a value that lies one step further; `step` is how messages name it, or an item's key."""
        kind = type(value)
        if value is None or kind in _SCALARS:
            return value
        self._path.append(step)
        node = self.node(value)
        self._path.pop()
        return node

    def node(self, value: Any) -> Any:
        """A value as JSON: itself, `[number of its record]`, or `[kind, ...]` for what has no identity."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else ["float", repr(value)]
        if isinstance(value, type):
            return self._class(value)
        plain = inline(value)
        if plain is not None:
            if isinstance(value, enum.Enum):
                self._usable(kind)
            return plain
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.objects)
            self.objects.append(value)
            self.records.append(None)
            depth = len(self._path)
            try:
                self.records[number] = self._record(value, kind)
            except Uncapturable:
                if self.born is not None:
                    raise
                del self._path[depth:]
        return [number]

    @property
    def place(self) -> str:
        """Where the walk is, or was when something was raised."""
        return "".join(f"[{step!r:.40}]" if type(step) is not str else step for step in self._path)

    def finish(self) -> None:
        """Cut out what is used of each tensor's storage; to be called once, after the last value."""
        for storage, number, low, high in self._storages.values():
            self.places[number] = low, storage.nbytes()
            used = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage, low, (high - low,), (1,))
            self.blobs[number] = used.cpu()

    def _record(self, value: Any, kind: type) -> Any:
        born = None if self.born is None else self.born.get(id(value))
        if born is not None and born < self.leaves:
            return ["kept", born]
        if id(value) in self.asked and self.born is not None:
            return ["asked", born, self.at(".state_dict()", value.state_dict())]
        if isinstance(value, torch.Tensor):
            return self._tensor(value, born)
        if isinstance(value, np.ndarray):
            return self._array(value, born)
        if isinstance(value, CONTAINERS):
            return self._container(value, kind, born)
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial, types.CellType)):
            return self._callable(value, born)
        if isinstance(value, (torch.Generator, np.random.RandomState, np.random.Generator, np.random.BitGenerator)):
            return self._generator(value, kind, born)
        if kind is random.Random:
            return ["random", born, self.node(value.getstate())]
        if isinstance(value, weakref.ref) and kind is weakref.ref:
            return ["weakref", born, self.node(value())]
        if isinstance(value, _KEPT):
            return self._kept(value, born)
        return self._object(value, kind, born)

    def _fail(self, what: str) -> Uncapturable:
        return Uncapturable(f"{self.place} is {what}, which cannot be written down as data")

    def _kept(self, value: Any, born: int | None) -> Any:
        """Something without a state of its own, whose counterpart will be there; anything else cannot be captured."""
        if born is None and self.born is not None:
            raise self._fail(f"a {type(value).__name__} that was not there at the start")
        return ["kept", born]

    def _class(self, kind: type) -> Any:
        name = name_of(kind)
        if self.born is None:
            self.names.note(kind)
        elif kind.__module__ != "builtins" and self.names.class_of(name) is not kind:
            raise self._fail(f"the class {kind.__qualname__}, of a module that nothing there at the start came from")
        return ["class", name]

    def _tensor(self, value: torch.Tensor, born: int | None) -> Any:
        if isinstance(value, (UninitializedParameter, UninitializedBuffer)):
            return self._kept(value, born)
        if type(value) not in TENSORS.values():
            raise self._fail(f"a {type(value).__name__}, a tensor of a class of its own")
        if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
            raise self._fail("a sparse, quantized or meta tensor")
        plain = value.detach().resolve_conj().resolve_neg()
        grad = None
        if value.is_leaf and value.grad is not None and id(value) not in self.without_grad:
            grad = self.at(".grad", value.grad)
        extra = vars(value)
        return [
            "tensor", born, type(value).__name__, self._stored(plain), plain.storage_offset() * plain.element_size(),
            str(plain.dtype).partition(".")[2], list(plain.shape), list(plain.stride()),
            value.is_leaf and value.requires_grad, plain.device.type != "cpu", grad,
            {key: self.at(f".{key}", each) for key, each in extra.items()},
        ]  # fmt: skip

    def _stored(self, plain: torch.Tensor) -> int:
        """The number of the blob for a tensor's storage, of which what the tensor uses is to be kept."""
        if not plain.numel():
            return -1
        size = plain.element_size()
        low = plain.storage_offset() * size
        high = low + size * (1 + sum((n - 1) * step for n, step in zip(plain.shape, plain.stride(), strict=True)))
        storage = plain.untyped_storage()
        entry = self._storages.setdefault((plain.device, storage.data_ptr()), [storage, len(self.blobs), low, high])
        if entry[1] == len(self.blobs):
            self.blobs.append(torch.empty(0, dtype=torch.uint8))
        entry[2], entry[3] = min(entry[2], low), max(entry[3], high)
        return int(entry[1])

    def _numbers_of(self, items: list[Any]) -> tuple[int, str] | None:
        """The blob and dtype of long lists of nothing but integers, such as the rows of a data set, or of floats."""
        kinds = set(map(type, items)) if len(items) > 8 else set()
        if kinds == {float}:
            return self._blob(np.array(items)), "<f8"
        if kinds == {int} and min(items) >= -(2**63) and max(items) < 2**63:
            return self._blob(np.array(items, dtype="<i8")), "<i8"
        return None

    def _blob(self, data: np.ndarray) -> int:
        if self.born is None:
            return -1
        self.blobs.append(torch.from_numpy(np.frombuffer(bytearray(data.tobytes()), dtype=np.uint8)))
        return len(self.blobs) - 1

    def _array(self, value: np.ndarray, born: int | None) -> Any:
        if type(value) is not np.ndarray or value.dtype.hasobject:
            raise self._fail("an array of objects, or of a class of its own")
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        number = self._blob(value.T if fortran else value)
        descr = np.lib.format.dtype_to_descr(value.dtype)
        return ["array", born, number, descr, list(value.shape), fortran, bool(value.flags.writeable)]

    def _container(self, value: Any, kind: type, born: int | None) -> Any:
        base: Any = next(base for base in CONTAINERS if isinstance(value, base))
        own: Any = None
        if kind is not base:
            if born is None:
                self._usable(kind)
            own = [name_of(kind), self._attributes(vars(value)) if hasattr(value, "__dict__") else {}]
        if issubclass(base, dict):
            factory = self.at(".default_factory", value.default_factory) if base is defaultdict else None
            # the views of dict itself, as a class may have views of its own
            found = () if id(value) in self.emptied else base.items(value)
            pairs = [[self.node(key), self.at(_step(key), item)] for key, item in found]
            return ["dict", born, base.__name__, own, pairs, factory]
        more = value.maxlen if base is deque else None
        items = list(value)
        number = self._numbers_of(items)
        if number is not None:
            return ["numbers", born, base.__name__, own, *number, more]
        if base in (set, frozenset) and self.born is None:
            items = []  # in an order that differs from process to process
        nodes = [self.at(index, item) for index, item in enumerate(items)]
        return ["items", born, base.__name__, own, nodes, more]

    def _callable(self, value: Any, born: int | None) -> Any:
        if isinstance(value, types.CellType):
            empty = value == types.CellType()
            return ["cell", born, None if empty else [self.node(value.cell_contents)]]
        if isinstance(value, functools.partial):
            parts = [self.node(part) for part in (value.func, value.args, value.keywords)]
            return ["partial", born, *parts]
        if isinstance(value, types.MethodType):
            name = getattr(value.__func__, "__name__", "")
            if born is None and self.born is not None and getattr(value.__self__, name, None) != value:
                raise self._fail("a method that its class does not have")
            return ["method", born, self.node(value.__self__), name]
        name = name_of(value)
        if opaque(value.__module__) or is_of(value.__module__, ("avalanche",)):
            return self._kept(value, born) if self.names.function_of(name) is not value else ["function", None, name]
        if born is None and self.born is not None and self.names.function_of(name) is not value:
            raise self._fail("a function that was not there at the start")
        names = value.__code__.co_freevars
        cells = [self.at(f".{n}", cell) for n, cell in zip(names, value.__closure__ or (), strict=True)]
        held = [self.node(part) for part in (value.__defaults__, value.__kwdefaults__, vars(value))]
        return ["function", born, name, cells, held]

    def _generator(self, value: Any, kind: type, born: int | None) -> Any:
        if isinstance(value, torch.Generator):
            return ["generator", born, value.device.type != "cpu", self._blob(value.get_state().numpy())]
        if isinstance(value, np.random.RandomState) and kind is np.random.RandomState:
            return ["RandomState", born, self.node(value.get_state(legacy=False))]
        if isinstance(value, np.random.Generator):
            return ["Generator", born, self.node(value.bit_generator)]
        if kind.__name__ not in BIT_GENERATORS:
            raise self._fail(f"a {kind.__name__}")
        return ["bits", born, kind.__name__, self.node(value.state)]

    def _usable(self, kind: type) -> None:
        """Raise Uncapturable unless an object of this class can be made anew, or found."""
        if self.born is None:
            self.names.note(kind)
        elif self.names.class_of(name_of(kind)) is not kind:
            raise self._fail(f"a {kind.__qualname__}, of a module that nothing there at the start came from")

    def _object(self, value: Any, kind: type, born: int | None) -> Any:
        state = state_of_object(value, kind)
        if state is None:
            raise self._fail(f"a {kind.__name__}")
        if born is None:
            self._usable(kind)
        return ["object", born, name_of(kind), self._attributes(state)]

    def _attributes(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.at(f".{name}", each) for name, each in state.items()}


def _step(key: Any) -> str:
    """How the path names an item of a mapping."""
    return f"[{key!r:.40}]" if type(key) in _SCALARS else f"[a {type(key).__name__}]"
