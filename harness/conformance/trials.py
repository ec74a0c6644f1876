"""Runs on the toy stream besides the watched one: repeated, resumed midway, built twice, in other batches."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from lorisbench.common.errors import reason_of
from lorisbench.conformance.guarded import methods_plugins, state_of
from lorisbench.conformance.observe import BROKEN, Observation, Probe, evaluate
from lorisbench.conformance.states import changed, copy_state
from lorisbench.conformance.toy import EXPERIENCES, NEW, Running, Toy, apart
from lorisbench.data.stream import rows_of
from lorisbench.engine.capture import Uncapturable
from lorisbench.engine.resume import Resumable, State
from lorisbench.engine.revive import Misfit


def replay(toy: Toy) -> list[torch.Tensor]:
    """All of `answers`."""
    return list(answers(toy))


def answers(toy: Toy) -> Iterator[torch.Tensor]:
    """Outputs on all test samples after each experience of an unwatched run, (samples, classes) each."""
    with apart(toy):
        running = Running(toy)
        for index in range(EXPERIENCES):
            running.learn(index)
            yield evaluate(running)


def arrival_faults(toy: Toy, growing: bool, least: float) -> list[str]:
    """What goes wrong where each experience brings classes of its own, with all outputs from the start and, if
    `growing`, with those masked that are still to come.

    least : the accuracy on the first classes that it must have after training on them.
    """
    return [fault for grow in ([False, True] if growing else [False]) if (fault := _arrival(toy, grow, least))]


def _arrival(toy: Toy, grow: bool, least: float) -> str:
    toy = toy.but(arriving=True, grow=grow)
    where = "with head.grow" if grow else "with all outputs from the start"
    running = Running(toy)
    labels = torch.cat([running.store.y[sorted(running.rows("test", index))] for index in range(EXPERIENCES)])
    own = len(labels) // EXPERIENCES
    try:
        for index, outputs in enumerate(answers(toy)):
            if outputs.shape != (len(labels), len(running.manifest.classes)):
                return f"{where}, its outputs have the shape {tuple(outputs.shape)}"
            answered = outputs.argmax(dim=1)
            if index == 0 and (right := (answered == labels)[:own].float().mean().item()) < least:
                return f"{where}, accuracy {right:.2f} on the first {NEW} classes after training on them"
            if grow and (answered >= NEW * (index + 1)).any():
                return f"{where}, it answers classes that are still to come after experience {index}"
    except BROKEN as error:
        return f"{where}, it breaks off with {reason_of(error)}"
    return ""


class Resumption(NamedTuple):
    """What differs when a run goes on from a checkpoint, or an empty string; how it is resumed, or why it is not."""

    fault: str
    how: str


def resume(toy: Toy) -> Resumption:
    """Compare continuing after each experience with continuing in a strategy built anew, from what a checkpoint holds.

    The original continues first, so that any state outside the strategy is already ahead when the other needs it.
    """
    with apart(toy):
        return _resume(toy)


def _resume(toy: Toy) -> Resumption:
    running, resumable = _built(toy)
    own = [type(each).__name__ for each in resumable.asked]
    how = f"it is resumed by state_dict of {', '.join(own)}" if own else "it is resumed by default"
    running.learn(0)
    evaluate(running)
    for index in range(1, EXPERIENCES):
        try:
            state = resumable.capture().copied()
        except Uncapturable as error:
            return Resumption("", f"it is not resumed: {error}")
        twin, fresh = _built(toy)
        try:
            fresh.restore(State(json.loads(json.dumps(state.tree)), state.blobs))
        except Misfit as error:
            return Resumption("", f"it is not resumed: {error}")
        sides = []
        for side in (running, twin):
            side.learn(index)
            sides.append(copy_state(side.strategy.model) | {"the answers": evaluate(side)})
        different = changed(*sides)
        if different:
            return Resumption(f"{different[0]} differs after experience {index} if continued from a checkpoint", how)
    return Resumption("", how)


def _built(toy: Toy) -> tuple[Running, Resumable]:
    """A run with a probe for its answers, and what tells how it was built."""
    running = Running(toy)
    running.strategy.plugins.append(Probe(Observation(toy), running.strategy.model))
    return running, Resumable(running.strategy, [running.store, running.stream])


def argument_faults(toy: Toy) -> str:
    """What a run changed that belongs to the caller, or what two strategies built from the same settings share."""
    with apart(toy):
        return _argument_faults(toy)


def _argument_faults(toy: Toy) -> str:
    given = copy.deepcopy(toy.strategy)
    running = Running(toy)
    settings = running.component.model_dump()
    stream = _fingerprint(running)
    for index in range(2):
        running.learn(index)
    if toy.strategy != given or running.component.model_dump() != settings:
        return "a run changes the settings"
    if [name for name, value in _fingerprint(running).items() if not torch.equal(value, stream[name])]:
        return "a run changes the data of the stream"
    again = running.component.build(running.context())
    other = running.component.build(running.context())
    if len(again.plugins) != len(other.plugins):
        return f"it is built with {len(again.plugins)} plugins, then with {len(other.plugins)}"
    plugins = [{id(plugin) for plugin in methods_plugins(strategy)} for strategy in (again, other)]
    if plugins[0] & plugins[1]:
        return "two strategies share a plugin"
    tensors = [_storages(strategy) for strategy in (again, other)]
    shared = sorted(tensors[0][key] for key in tensors[0].keys() & tensors[1].keys())
    return f"two strategies share the tensor {shared[0]}" if shared else ""


def _fingerprint(running: Running) -> dict[str, torch.Tensor]:
    """Copies of inputs and labels, and what the data sets hold."""
    found = {"x": running.store.x.clone(), "y": running.store.y.clone(), "task": running.store.task.clone()}
    for kind, experiences in (("train", running.train), ("test", running.tests)):
        for index, experience in enumerate(experiences):
            rows = rows_of(experience.dataset)
            found[f"{kind} {index}"] = torch.empty(0) if rows is None else rows
            found[f"{kind} labels {index}"] = torch.tensor(list(experience.dataset.targets))
    return found


def _storages(strategy: Any) -> dict[int, str]:
    """Paths of all tensors of model and method, by the address of their data; empty tensors are left out."""
    named = {f"model.{name}": value for name, value in strategy.model.state_dict(keep_vars=True).items()}
    named |= {path: value for path, value in state_of(strategy) if isinstance(value, torch.Tensor)}
    return {value.untyped_storage().data_ptr(): path for path, value in named.items() if value.numel()}


def batch_faults(toy: Toy) -> list[str]:
    """What goes wrong on two experiences with other batch sizes, and on a GPU if there is one."""
    few = toy.but(samples=13, epochs=(1, 1))
    sizes = {"the whole experience at once": 13, "batches of 1": 1, "a last batch of 1": 12}
    trials = {name: few.but(batch_size=size) for name, size in sizes.items()}
    if torch.cuda.is_available():
        trials["on a GPU"] = few.but(device="cuda")
    found = []
    for name, trial in trials.items():
        try:
            with apart(trial):
                running = Running(trial)
                for index in range(2):
                    running.learn(index)
                evaluate(running)
        except BROKEN as error:
            found.append(f"{toy.mode}, {name}: {reason_of(error)}")
    return found
