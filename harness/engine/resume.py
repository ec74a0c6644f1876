"""The state of a run between two experiences: captured as plain data, and put into a strategy just built."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin
from torch import nn
from torch.utils.hooks import RemovableHandle

from lorisbench.common.errors import reason_of
from lorisbench.engine.capture import Capture, Uncapturable
from lorisbench.engine.engine import Engine
from lorisbench.engine.names import Names, is_of, name_of
from lorisbench.engine.own_plugins import HarnessPlugin
from lorisbench.engine.revive import Misfit, Revival

LARGE = 2**16  # bytes from which a tensor that never changes is kept, to be compared with, rather than written
LEAST = 1024  # bytes below which it is not looked up whether a tensor is one of the pretrained backbone's
_PARTS = ("model", "optimizer", "plugins")


@dataclass
class State:
    """A run's state as plain data: `tree` is JSON, `blobs` uint8 tensors (bytes,) by number, some of them views of
    tensors that training goes on with."""

    tree: dict[str, Any]
    blobs: dict[int, torch.Tensor]

    def copied(self) -> State:
        """The same, apart from what goes on."""
        return State(self.tree, {number: blob.clone() for number, blob in self.blobs.items()})


class Resumable:
    """A strategy and its stream as they were built, so that it can be told later what is new.

    To be made before anything is trained, in the same way each time the run is built.

    Parameters
    ----------
    strategy : an Avalanche strategy with all plugins of the run. stream : what it is trained on, and whatever else is
        the same in each process: it is not captured, but referred to.
    pretrained : tensors by name that need not be captured either where the run holds them, or copies of them.
    """

    def __init__(self, strategy: Any, stream: Any, pretrained: Mapping[str, torch.Tensor] | None = None) -> None:
        self.strategy = strategy
        self.names = Names()
        self.device = torch.device(getattr(strategy, "device", "cpu"))
        walk = Capture(self.names, known=_parts_of(stream))
        self._leaves = len(walk.objects)
        for step, value in _roots(strategy):
            walk.at(step, value)
        self._objects = walk.objects
        self._born = {id(value): number for number, value in enumerate(walk.objects)}
        self._built = zlib.crc32(" ".join(name_of(type(value)) for value in walk.objects).encode("utf-8"))
        self._pretrained = _by_size({**_fixed(strategy), **(pretrained or {})})

    @property
    def asked(self) -> list[Any]:
        """The plugins, or the strategy, that say themselves what their state is."""
        found = [plugin for plugin in self.strategy.plugins if _says_itself(plugin)]
        return [*found, self.strategy] if _says_itself(self.strategy) else found

    def capture(self) -> State:
        """The state as it is now. Raises Uncapturable, naming the plugin's class and attribute; anything else that a
        plugin's own `state_dict` raises comes as Uncapturable too."""
        optimizer = getattr(self.strategy, "optimizer", None)
        groups = getattr(optimizer, "param_groups", [])
        cleared = [id(parameter) for group in groups for parameter in group["params"]]
        # the engine empties the state of an optimizer with one group before the next experience, unless it is to be
        # kept, and fills it anew
        engine = isinstance(self.strategy, Engine) and type(self.strategy).make_optimizer is Engine.make_optimizer
        reset = len(groups) == 1 and engine and self.strategy.reset_optimizer
        emptied = [id(optimizer.state)] if optimizer is not None and reset else []
        walk = Capture(self.names, self._born, self._leaves, cleared, map(id, self.asked), emptied)
        try:
            roots = [walk.at(step, value) for step, value in _roots(self.strategy)]
            walk.finish()
        except Uncapturable:
            raise
        except (Exception, RecursionError) as error:  # from a plugin's own code
            raise Uncapturable(f"{walk.place} cannot be written down as data ({reason_of(error)})") from error
        blobs, same = {}, {}
        for number, blob in enumerate(walk.blobs):
            name = self._same_as(blob)
            if name is None:
                blobs[number] = blob
            else:
                same[str(number)] = name
        tree = {
            "built": self._built, "roots": roots, "records": walk.records, "pretrained": same,
            "places": {str(number): place for number, place in walk.places.items()}, "hooks": RemovableHandle.next_id,
        }  # fmt: skip
        return State(tree, blobs)

    def restore(self, state: State) -> None:
        """Put a state into the strategy, which has just been built. Raises Misfit; the strategy is then spoilt."""
        tree = state.tree
        try:
            if tree["built"] != self._built:
                raise Misfit("the strategy is built from other parts than it was then")
            blobs = {**state.blobs, **{int(n): self._pretrained_named(name) for n, name in tree["pretrained"].items()}}
            places = {int(number): place for number, place in tree["places"].items()}
            ordered = [blobs[number] for number in range(len(blobs))]
            revival = Revival(tree["records"], ordered, places, self._objects, self.names, self.device)
            for node in tree["roots"]:
                revival.value(node)
            for owner, own in revival.asked:
                owner.load_state_dict(own)
            # a hook gets the next number, under which it must not displace one that is there
            RemovableHandle.next_id = max(RemovableHandle.next_id, int(tree["hooks"]))
        except Misfit:
            raise
        except Exception as error:
            raise Misfit(f"its state does not fit ({reason_of(error)})") from error

    def _same_as(self, blob: torch.Tensor) -> str | None:
        """The name of the pretrained tensor that has the same bytes, or None."""
        for name, known in self._pretrained.get(len(blob), {}).items():
            if torch.equal(blob, known):
                return name
        return None

    def _pretrained_named(self, name: str) -> torch.Tensor:
        return next(known[name] for known in self._pretrained.values() if name in known)


def _parts_of(stream: Any) -> list[Any]:
    """The objects that a stream consists of, in an order that is the same whenever it is made: its experiences, data
    sets, and what these hold, but for numbers and texts."""
    found: list[Any] = []
    seen: set[int] = set()
    left = [stream]
    while left:
        value = left.pop()
        if id(value) in seen or value is None or isinstance(value, (bool, int, float, str, type)):
            continue
        seen.add(id(value))
        found.append(value)
        if isinstance(value, (list, tuple)):
            plain = len(value) > 0 and isinstance(value[0], (int, float, str))  # labels, or rows: there may be many
            left += () if plain else reversed(value)
        elif isinstance(value, dict):
            left += reversed(list(value.values()))
        elif is_of(type(value).__module__, ("avalanche", "lorisbench", "torch")) and type(value).__dictoffset__:
            left += reversed(list(object.__getattribute__(value, "__dict__").values()))
    return found


def _roots(strategy: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a strategy, those first whose names say most about what they hold."""
    for name in _PARTS[:2]:
        yield name, getattr(strategy, name, None)
    for plugin in strategy.plugins:
        yield type(plugin).__name__, plugin
    yield "plugins", strategy.plugins
    yield type(strategy).__name__, strategy


def _says_itself(owner: Any) -> bool:
    """Whether an object is to be asked for its state: no module or evaluator, which are known inside out."""
    if isinstance(owner, (nn.Module, HarnessPlugin, EvaluationPlugin, type)):
        return False
    return callable(getattr(owner, "state_dict", None)) and callable(getattr(owner, "load_state_dict", None))


def _fixed(strategy: Any) -> dict[str, torch.Tensor]:
    """Copies of large tensors of the model that nothing trains, such as a random projection: they are built again."""
    model = strategy.model
    named = model.named_buffers() if isinstance(model, nn.Module) else ()
    return {f"model.{name}": value.detach().clone() for name, value in named if value.nbytes >= LARGE}


def _by_size(tensors: Mapping[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """The bytes of tensors, on the CPU, by their number and by name."""
    found: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)
        if len(data) >= LEAST:
            found.setdefault(len(data), {})[name] = data
    return found
