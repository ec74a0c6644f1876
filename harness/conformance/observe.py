"""One run on the toy stream, watched: what the checks of a strategy are worked out from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lorisbench.common.errors import InputError, reason_of
from lorisbench.conformance.copies import Samples, held_samples
from lorisbench.conformance.guarded import Guarded, state_of
from lorisbench.conformance.keeping import restored_fault
from lorisbench.conformance.states import changed, copy_state, frozen_state, teacher_states, whole_state
from lorisbench.conformance.toy import CLASSES, EXPERIENCES, Running, Toy, apart
from lorisbench.engine.divergence import Diverged, check_outputs, not_finite
from lorisbench.engine.own_plugins import HarnessPlugin
from lorisbench.engine.state import replay_samples, state_bytes
from lorisbench.model.comparison import lacking
from lorisbench.model.models import megabytes

BROKEN = (Exception, SystemExit)  # what a strategy may end a run with; an interrupt passes


@dataclass
class Observation:
    """What one run did; lists have one entry per experience unless stated otherwise.

    Attributes
    ----------
    toy : settings of the run. error : what stopped it; kind : `refused` (an InputError: the method says that it cannot
        do this), `diverged`, `failed` or empty.
    answers : outputs on all test samples, (samples, classes). labels : of these samples, int64.
    past : samples of earlier experiences read. outside : what else was read, in words, not one entry per experience.
    held, declared : samples of experiences so far that are held, as counted and as the method declares; held_in :
        where.
    sizes : bytes of model, state and declared samples.
    drift, teachers, lost, eval_changes : names of what changed but must not, or of new parameters not trained; lists
        for the whole run.
    guarded : how often something frozen, of the model or of a plugin, was looked at for changes.
    grown : parameters that require gradients and were not there when the strategy was built. trained : whether a
        parameter moved while it was trained.
    losses : mean loss of each epoch.
    lacks, unrestored : what the model lacks that the harness reads; how it fails to be saved and restored; or empty.
    has_features : whether the model has a method `features`.
    influenced : whether the next two were measured.
    label_influence, batch_influence : largest change of a probability when the labels of the test samples are permuted,
        and when the samples come in small batches.
    """

    toy: Toy
    error: str = ""
    kind: str = ""
    answers: list[torch.Tensor] = field(default_factory=list)
    labels: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    past: list[int] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    held_in: str = ""
    declared: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    teachers: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    eval_changes: list[str] = field(default_factory=list)
    guarded: int = 0
    grown: int = 0
    trained: bool = False
    losses: list[list[float]] = field(default_factory=list)
    lacks: str = ""
    has_features: bool = True
    unrestored: str = ""
    influenced: bool = False
    label_influence: float = 0.0
    batch_influence: float = 0.0


class Probe(HarnessPlugin):
    """Watches from the end of the plugin list: outputs in evaluation, losses and what must not move in training."""

    passing = ("seen", "outputs", "known_parameters", "start", "total", "batches")

    def __init__(self, seen: Observation, model: nn.Module) -> None:
        super().__init__()
        self.seen = seen
        self.outputs: list[torch.Tensor] = []
        self.known_parameters = list(model.parameters())  # kept, so that no new one has the id of an old one
        self.start: dict[str, Any] | None = None

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.outputs = []

    def after_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.outputs.append(strategy.mb_output.detach().cpu().clone())

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.start = None
        self.seen.losses.append([])

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.total, self.batches = 0.0, 0
        if self.start is not None:
            return
        named = dict(strategy.model.named_parameters())
        live = {name: p for name, p in named.items() if p.requires_grad}
        optimized = {id(p) for group in strategy.optimizer.param_groups for p in group["params"]}
        known = {id(p) for p in self.known_parameters}
        new = {name: p for name, p in live.items() if id(p) not in known}
        self.seen.lost += [f"{name} (not in the optimizer)" for name, p in new.items() if id(p) not in optimized]
        self.seen.grown += len(new)
        self.start = {
            "live": [(p, p.detach().clone()) for p in live.values()],
            "frozen": frozen_state(strategy.model) if live else {},
            "new": {name: (p, p.detach().clone()) for name, p in new.items() if id(p) in optimized},
            "teachers": teacher_states(strategy, optimized),
        }

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.total += float(torch.as_tensor(strategy.loss).detach().sum())
        self.batches += 1

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.losses[-1].append(self.total / max(1, self.batches))
        if self.start is not None:
            self.seen.trained |= any(not torch.equal(p, before) for p, before in self.start["live"])
            self.seen.drift += changed(self.start["frozen"], frozen_state(strategy.model, self.start["frozen"]))
            self.seen.guarded += len(self.start["frozen"]) + len(self.start["teachers"])
            now = dict(state_of(strategy))
            for path, (module, before) in self.start["teachers"].items():
                there = now.get(path)  # another one, if the plugin has put it in the teacher's place
                after = copy_state(there if isinstance(there, nn.Module) else module)
                self.seen.teachers += [f"{path}.{name}" for name in changed(before, after)]

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        new = self.start["new"] if self.start is not None else {}
        if new and all(torch.equal(p, before) for p, before in new.values()):
            self.seen.lost += [f"{name} (does not move)" for name in new]
        self.known_parameters = list(strategy.model.parameters())


def fork(running: Running) -> Running:
    """A copy of a run as it is now, which shares only the stream; what plugins hold is copied."""
    twin = copy.copy(running)
    twin.strategy = copy.deepcopy(running.strategy, {id(running.store): running.store})
    return twin


def evaluate(running: Running) -> torch.Tensor:
    """Outputs on all test samples, (samples, classes), float32 on the CPU. Raises Diverged if any is not finite."""
    probe = next((plugin for plugin in running.strategy.plugins if isinstance(plugin, Probe)), None)
    if probe is None:
        probe = Probe(Observation(running.toy), running.strategy.model)
        running.strategy.plugins.append(probe)
    running.strategy.eval(running.tests)
    outputs = torch.cat(probe.outputs).float()
    check_outputs(not_finite(outputs), running.strategy)
    return outputs


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference in a probability between two outputs, logits or log-probabilities."""
    return float((one.softmax(dim=1) - other.softmax(dim=1)).abs().max()) if one.shape == other.shape else 1.0


def observe(toy: Toy) -> Observation:
    """Run a strategy over the toy stream with every sample guarded; what the strategy raises is recorded."""
    seen = Observation(toy)
    try:
        with apart(toy):
            _watched(Running(toy), seen)
    except InputError as error:
        seen.error, seen.kind = str(error), "refused"
    except Diverged as error:
        seen.error, seen.kind = f"{toy.strategy['strategy']}: {error}", "diverged"
    except BROKEN as error:
        seen.error, seen.kind = reason_of(error), "failed"
    return seen


def _watched(running: Running, seen: Observation) -> None:
    strategy, store = running.strategy, running.store
    strategy.plugins.append(Probe(seen, strategy.model))
    samples = Samples(store.x)
    seen.labels = torch.cat([store.y[sorted(running.rows("test", e))].cpu() for e in range(EXPERIENCES)])
    limit = running.component.replay_limit()
    for index in range(EXPERIENCES):
        backbone = getattr(strategy.model, "backbone", None)
        if backbone is not None and any(p.requires_grad for p in backbone.parameters()):
            backbone = None  # it may move
        before = {} if backbone is None else copy_state(backbone)
        with _guards(running, seen, index, training=True):
            running.learn(index)
        if backbone is not None:
            seen.guarded += len(before)
            seen.drift += [f"backbone.{name}" for name in changed(before, copy_state(backbone))]
        so_far = set().union(*(running.rows("train", e) for e in range(index + 1)))
        held, where = held_samples(strategy, samples, so_far)
        seen.held.append(held)
        seen.held_in = seen.held_in or (where if limit is not None and held > limit else "")
        kept = replay_samples(strategy)
        seen.declared.append(kept)
        state = whole_state(strategy)
        with _guards(running, seen, index, training=False):
            seen.answers.append(evaluate(running))
        seen.eval_changes += changed(state, whole_state(strategy))
        extra, _ = state_bytes(strategy, strategy.model)
        size = round(megabytes(strategy.model) * 1e6) + extra + kept * store.x[0].numel() * store.x.element_size()
        seen.sizes.append(size)
    _influences(running, seen)
    seen.has_features = callable(getattr(strategy.model, "features", None))
    seen.lacks = lacking(strategy.model)
    seen.unrestored = "" if seen.lacks else restored_fault(running)


@contextmanager
def _guards(running: Running, seen: Observation, index: int, training: bool) -> Iterator[None]:
    """Note which samples of other experiences, or of splits not its own, are read in a block."""
    log: set[int] = set()
    store = running.store
    x, y = store.x, store.y
    store.x, store.y = Guarded(x, log), Guarded(y, log)  # type: ignore[assignment]
    try:
        yield
    finally:
        store.x, store.y = x, y
    when = f"in training on experience {index}" if training else f"in evaluation after experience {index}"
    past = set().union(*(running.rows("train", e) for e in range(index if training else index + 1)))
    seen.past.append(len(log & past))
    wanted = getattr(running.strategy, "wanted", None)  # evaluations that a plugin asks for while it trains
    own = {"train", *(wanted.streams if wanted is not None else ())} if training else {"test"}
    for split in ("train", "validation", "test"):
        for other in range(EXPERIENCES):
            its_own = split in own and (other == index or not training)
            rows = (log & running.rows(split, other)) - past
            if rows and not its_own:
                seen.outside.append(f"{len(rows)} {split} samples of experience {other} {when}")


def _influences(running: Running, seen: Observation) -> None:
    """Evaluate copies of the trained strategy: as it is, twice, with permuted labels, and in batches of 5."""
    try:
        copies = [fork(running) for _ in range(4)]
    except Exception:  # another check covers whether it can be copied
        return
    plain, again, permuted, small = copies
    answers = _seeded(plain)
    if not torch.equal(answers, _seeded(again)):
        return  # its answers differ anyway, which another check reports
    seen.influenced = True
    store, y = running.store, running.store.y
    tests = torch.tensor(sorted(set().union(*(running.rows("test", e) for e in range(EXPERIENCES)))))
    store.y = y.clone()
    store.y[tests] = (y[tests] + 1) % CLASSES
    try:
        seen.label_influence = difference(answers, _seeded(permuted))
    finally:
        store.y = y
    small.strategy.eval_mb_size = 5
    seen.batch_influence = difference(answers, _seeded(small))


def _seeded(running: Running) -> torch.Tensor:
    running.seed("evaluation")
    return evaluate(running)
