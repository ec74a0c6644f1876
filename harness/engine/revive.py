"""Plain data that `capture` wrote, put back into objects that have just been built."""

from __future__ import annotations

import functools
import random
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from lorisbench.engine.attributes import has_own, left_out_of, plain_defaults
from lorisbench.engine.capture import BIT_GENERATORS, CONTAINERS
from lorisbench.engine.inline import MADE, dtype_of
from lorisbench.engine.names import Names, name_of, slots_of

_BASES = {base.__name__: base for base in CONTAINERS}


class Misfit(Exception):
    """Captured data does not fit what has been built; the message says where."""


class Revival:
    """Makes values of nodes again (see `capture.Capture`).

    Parameters
    ----------
    records, blobs, places : as captured. born : what the walk over the freshly built objects met, in its order.
    names : the classes it found. device : for tensors that were not on the CPU.

    Attributes
    ----------
    asked : objects that are to be given their state by `load_state_dict`, with that state.
    """

    def __init__(
        self,
        records: Sequence[Any],
        blobs: Sequence[torch.Tensor],
        places: Mapping[int, Sequence[int]],
        born: Sequence[Any],
        names: Names,
        device: torch.device,
    ) -> None:
        self.records, self.blobs, self.places = records, blobs, places
        self.born, self.names, self.device = born, names, device
        self.asked: list[tuple[Any, Any]] = []
        self._made: dict[int, Any] = {}
        self._storages: dict[tuple[int, bool], torch.UntypedStorage] = {}

    def value(self, node: Any) -> Any:
        """The value of a node. Raises Misfit, or any other exception for data that no capture wrote."""
        if not isinstance(node, list):
            return node
        if isinstance(node[0], str):
            return self._inline(*node)
        number = node[0]
        if number not in self._made:
            kind, born, *rest = self.records[number]
            old = None if born is None else self.born[born]
            self._made[number] = _UNFINISHED
            self._made[number] = _MAKERS[kind](self, number, old, *rest)
        if self._made[number] is _UNFINISHED:
            raise Misfit("something immutable holds itself")
        return self._made[number]

    def _inline(self, kind: str, *parts: Any) -> Any:
        if kind == "enum":
            return self._class(parts[0])[parts[1]]
        if kind == "class":
            return self._class(parts[0])
        return MADE[kind](*parts)

    def _class(self, name: str) -> Any:
        module, _, path = name.partition(":")
        found: Any = getattr(__import__(module), path, None) if module == "builtins" else self.names.class_of(name)
        if not isinstance(found, type):
            raise Misfit(f"there is no class {name} here")
        return found

    def _kept(self, number: int, old: Any) -> Any:
        return old

    def _asked(self, number: int, old: Any, state: Any) -> Any:
        self._made[number] = old
        self.asked.append((old, self.value(state)))
        return old

    def _tensor(
        self, number: int, old: Any, kind: str, blob: int, start: int, dtype: str, shape: list[int], stride: list[int],
        requires_grad: bool, moved: bool, grad: Any, extra: dict[str, Any],
    ) -> torch.Tensor:  # fmt: skip
        new = torch.empty(0, dtype=getattr(torch, dtype), device=self.device if moved else "cpu")
        if blob >= 0:
            self._check_place(blob, start, new.element_size(), shape, stride)
            new.set_(self._storage(blob, moved), start // new.element_size(), shape, stride)
        else:
            new = new.new_empty_strided(shape, stride)
        if old is None:
            made = new if kind == "Tensor" else nn.Parameter(new, requires_grad)
        else:
            if isinstance(old, (UninitializedParameter, UninitializedBuffer)):
                old.materialize(new.shape, new.device, new.dtype)
            made = old
            made.data = new
        if made.is_leaf and made.requires_grad != requires_grad:
            made.requires_grad_(requires_grad)
        self._made[number] = made
        if made.is_leaf:
            made.grad = self.value(grad)
        vars(made).update({name: self.value(node) for name, node in extra.items()})
        return made

    def _check_place(self, blob: int, start: int, size: int, shape: list[int], stride: list[int]) -> None:
        """Raise Misfit if a tensor would reach beyond what is known of its storage."""
        low, _ = self.places[blob]
        last = start + size * (1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)))
        if start < low or last > low + len(self.blobs[blob]) or any(n < 0 for n in (*shape, *stride)) or start % size:
            raise Misfit(f"a tensor of shape {tuple(shape)} in {len(self.blobs[blob])} bytes")

    def _storage(self, blob: int, moved: bool) -> torch.UntypedStorage:
        """A storage as it was, in memory of its own: sums may depend on how a tensor lies in it."""
        if (blob, moved) not in self._storages:
            low, size = self.places[blob]
            place = torch.zeros(size, dtype=torch.uint8, device=self.device if moved else "cpu")
            place[low : low + len(self.blobs[blob])] = self.blobs[blob]
            self._storages[blob, moved] = place.untyped_storage()
        return self._storages[blob, moved]

    def _array(
        self, number: int, old: Any, blob: int, descr: Any, shape: list[int], fortran: bool, writeable: bool
    ) -> np.ndarray:
        flat = np.frombuffer(self.blobs[blob].numpy().tobytes(), dtype=dtype_of(descr))
        new = np.array(flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape), order="F" if fortran else "C")
        if old is None:
            new.flags.writeable = writeable
            return new
        if old.shape != new.shape or old.dtype != new.dtype:
            raise Misfit(f"an array of shape {old.shape} where {new.shape} was expected")
        if old.flags.writeable:
            old[...] = new
        old.flags.writeable = writeable
        return old

    def _dict(self, number: int, old: Any, base: str, own: Any, pairs: list[Any], factory: Any) -> Any:
        kind: Any = _BASES[base]
        made = kind.__new__(self._class(own[0]) if own else kind) if old is None else old
        self._made[number] = made
        self._own(made, own)
        if kind is defaultdict:
            made.default_factory = self.value(factory)
        found = [(self.value(key), self.value(item)) for key, item in pairs]
        # the methods of dict itself, as a class may have ways of its own
        store = OrderedDict if kind is OrderedDict else dict
        store.clear(made)
        for key, item in found:
            store.__setitem__(made, key, item)
        return made

    def _numbers(self, number: int, old: Any, base: str, own: Any, blob: int, dtype: str, more: Any) -> Any:
        items = np.frombuffer(self.blobs[blob].numpy().tobytes(), dtype=dtype).tolist()
        return self._items(number, old, base, own, items, more)

    def _items(self, number: int, old: Any, base: str, own: Any, nodes: list[Any], more: Any) -> Any:
        kind: Any = _BASES[base]
        if kind in (tuple, frozenset):
            items = [self.value(node) for node in nodes]  # also where it was there before: what it holds may change
            made = kind.__new__(self._class(own[0]) if own else kind, items) if old is None else old
            self._own(made, own)
            return made
        made = kind.__new__(self._class(own[0]) if own else kind) if old is None else old
        if old is None and kind is deque:
            deque.__init__(made, (), more)
        self._made[number] = made
        self._own(made, own)
        items = [self.value(node) for node in nodes]
        kind.clear(made)
        (kind.update if kind is set else kind.extend)(made, items)
        return made

    def _own(self, made: Any, own: Any) -> None:
        if own and own[1]:
            vars(made).update({name: self.value(node) for name, node in own[1].items()})

    def _cell(self, number: int, old: Any, content: Any) -> Any:
        made = types.CellType() if old is None else old
        self._made[number] = made
        if content is not None:
            made.cell_contents = self.value(content[0])
        return made

    def _function(self, number: int, old: Any, name: str, cells: Sequence[Any] = (), held: Sequence[Any] = ()) -> Any:
        made = self.names.function_of(name) if old is None else old
        if made is None:
            raise Misfit(f"there is no function {name} here")
        self._made[number] = made
        for node in (*cells, *held):
            self.value(node)
        return made

    def _method(self, number: int, old: Any, owner: Any, name: str) -> Any:
        found = self.value(owner)
        return getattr(found, name) if old is None else old

    def _partial(self, number: int, old: Any, *parts: Any) -> Any:
        function, args, keywords = (self.value(part) for part in parts)
        return functools.partial(function, *args, **keywords) if old is None else old

    def _weakref(self, number: int, old: Any, target: Any) -> Any:
        found = self.value(target)
        return old if old is not None and old() is found else weakref.ref(set() if found is None else found)

    def _generator(self, number: int, old: Any, moved: bool, blob: int) -> Any:
        made = torch.Generator(self.device if moved else "cpu") if old is None else old
        made.set_state(self.blobs[blob].clone())
        return made

    def _random_state(self, number: int, old: Any, state: Any) -> Any:
        made = np.random.RandomState() if old is None else old
        made.set_state(self.value(state))
        return made

    def _numpy_generator(self, number: int, old: Any, bits: Any) -> Any:
        found = self.value(bits)
        return np.random.Generator(found) if old is None or old.bit_generator is not found else old

    def _bits(self, number: int, old: Any, kind: str, state: Any) -> Any:
        if kind not in BIT_GENERATORS:
            raise Misfit(f"no generator of random numbers is called {kind}")
        made = getattr(np.random, kind)() if old is None else old
        made.state = self.value(state)
        return made

    def _random(self, number: int, old: Any, state: Any) -> Any:
        made = random.Random() if old is None else old
        made.setstate(self.value(state))
        return made

    def _object(self, number: int, old: Any, name: str, attributes: dict[str, Any]) -> Any:
        if old is not None and name_of(type(old)) != name and not name.startswith("torch.nn.modules."):
            raise Misfit(f"a {name_of(type(old))} where a {name} was expected")
        kind: Any = type(old) if old is not None and name_of(type(old)) == name else self._class(name)
        if old is None:
            made = object.__new__(kind)
        else:
            made = old
            if kind is not type(old):
                made.__class__ = kind  # a lazy layer, which has become one of its kind
        self._made[number] = made
        state = {name: self.value(node) for name, node in attributes.items()}
        if has_own(kind, "__setstate__"):
            made.__setstate__(state)
            return made
        state = plain_defaults(kind) | state
        partial = has_own(kind, "__getstate__")
        slots = set(slots_of(kind)) - {"__dict__", "__weakref__"}
        for slot in slots & set(state):
            object.__setattr__(made, slot, state[slot])
        if kind.__dictoffset__:
            own = object.__getattribute__(made, "__dict__")
            passing = left_out_of(made)
            for key in [] if partial else [key for key in own if key not in state and key not in passing]:
                del own[key]
            own.update({key: each for key, each in state.items() if key not in slots})
        return made


_UNFINISHED = object()
_MAKERS: dict[str, Callable[..., Any]] = {
    "kept": Revival._kept, "asked": Revival._asked, "tensor": Revival._tensor, "array": Revival._array,
    "dict": Revival._dict, "numbers": Revival._numbers, "items": Revival._items, "cell": Revival._cell,
    "function": Revival._function, "method": Revival._method, "partial": Revival._partial,
    "weakref": Revival._weakref, "generator": Revival._generator, "RandomState": Revival._random_state,
    "Generator": Revival._numpy_generator, "bits": Revival._bits, "random": Revival._random,
    "object": Revival._object,
}  # fmt: skip
