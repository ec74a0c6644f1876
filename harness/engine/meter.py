"""What it costs to train on an experience: operations, training steps and samples, whatever a method does.

Counting an operation takes longer than a small one itself. All that a run does outside of training steps (before and
after them, in evaluations that a plugin asks for) is counted op by op. Of training steps, and of `alike` batches, the
1st, 64th, 4096th … of each size are, in the first experience the 2nd, 4th, 8th, 16th and 32nd, too, and each of them
stands for those after it. Up to the 8th, while a memory begins to fill up, the samples of each are counted there, and
operations are taken to go with them. So what is counted does not depend on the machine, and is exact if steps over
batches of one size cost the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.hooks import RemovableHandle

from lorisbench.engine.budget import Budget
from lorisbench.engine.flops import FlopCount


@dataclass
class _Kind:
    """Batches of one size: how many there were, and what the last one that was counted cost.

    given : rows of its minibatch as it came. rows : those that a plugin added included. others : samples that the model
    was given besides.
    """

    number: int = 0
    flops: int = 0
    given: int = 0
    rows: int = 0
    others: int = 0

    def counts_next(self, often: bool = False) -> bool:
        """Whether the next batch is counted. What it costs may have changed since: a memory fills up.

        often : as in a first experience, in which most of what fills up does: the 2nd, 4th, 8th … are counted, too.
        """
        self.number += 1
        if self.number & (self.number - 1):
            return False
        return self.number.bit_length() % 6 == 1 or (often and self.number < 64)

    def costs(self, given: int) -> dict[str, int]:
        """What a step on a minibatch of `given` rows costs, by kind of budget, going by what the last one did.

        With more or fewer rows, it is taken that as many are added, and that operations go with samples.
        """
        before = self.rows + self.others
        samples = max(1, before + given - self.given)
        return {"iterations": 1, "samples": samples, "flops": self.flops * samples // max(1, before)}


class Meter:
    """Counts what happens from entering to leaving it, for one experience of an Avalanche strategy.

    Attributes
    ----------
    steps : training steps. samples : those that the model was given in them with gradients on, or in an update in
        closed form, each as often as it was; replayed and generated ones included. flops : floating-point operations,
        see `lorisbench.engine.flops`. budget_used : the share of the budget, if there is one, when all is done.
    """

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.budget: Budget | None = getattr(strategy, "budget", None)
        self.steps = 0
        self.samples = 0
        self.budget_used: float | None = None
        self._count = FlopCount()
        self._on = self._closed = False
        self._kinds: defaultdict[tuple[bool, ...], defaultdict[Any, _Kind]] = defaultdict(lambda: defaultdict(_Kind))
        self._counted: _Kind | None = None  # the kind of the training step that was counted last
        self._given = 0
        self._hook: RemovableHandle | None = None

    @property
    def flops(self) -> int:
        return self._count.total

    def __enter__(self) -> Meter:
        global _current
        _current = self
        self.switch(True)
        return self

    def __exit__(self, *error: Any) -> None:
        global _current
        _current = None
        self._unwatch()
        self.switch(False)
        self._closed = True
        if self.budget is not None:
            self.budget_used = self.budget.settle(self)

    def journal(self) -> dict[str, Any]:
        """What a run's journal has of it."""
        used = {} if self.budget_used is None else {"budget_used": self.budget_used}
        return {"train_flops": self.flops, "train_samples": self.samples, "train_steps": self.steps, **used}

    def alike(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches; what is done with each of them costs the same for those of one size."""
        if not self._on:  # within a training step that is not counted, or with others of this kind
            yield from batches
            return
        kinds: defaultdict[Any, _Kind] = defaultdict(_Kind)
        self.switch(False)  # fetching a batch costs nothing that is counted
        try:
            for batch in batches:
                kind = kinds[_size(batch)]
                if kind.counts_next():
                    self.switch(True)
                    before = self.flops
                    yield batch
                    kind.flops = self.flops - before
                    self.switch(False)
                else:
                    yield batch
                    self._count.total += kind.flops
        finally:
            self.switch(True)

    def training_steps(self, loader: Any) -> Iterator[Any]:
        """The minibatches of an epoch, one for each training step, as far as the budget goes."""
        try:
            yield from self._steps(loader)
        finally:
            self.switch(True)
        if self.budget is None:
            return
        if self.steps:
            self.budget.foresee(self.strategy, self)
        else:  # there are no minibatches, and there never will be
            self.strategy.stop_training()

    def _steps(self, loader: Any) -> Iterator[Any]:
        strategy, budget = self.strategy, self.budget
        trained = tuple(parameter.requires_grad for parameter in strategy.model.parameters())
        kinds, first = self._kinds[trained], strategy.clock.train_exp_counter == 0
        self.switch(False)
        for batch in loader:
            if strategy._stop_training:  # Avalanche looks once it has the next minibatch
                return
            kind = kinds[_size(batch)]
            if budget is not None:
                like = kind if kind.number or self._counted is None else self._counted
                if not budget.begins(strategy, self, like.costs(len(batch[0]))):
                    strategy.stop_training()
                    return
            if kind.counts_next(often=first):
                self.watch()
                self.switch(True)
                before = self.flops
                yield batch
                kind.flops, kind.given, kind.rows = self.flops - before, len(batch[0]), _rows(strategy, batch)
                kind.others = self.stepped(kind.rows) - kind.rows
                self._counted = kind
                self.switch(False)
            elif first and kind.number < 8:
                self.watch()
                yield batch
                rows = _rows(strategy, batch)
                samples = self.stepped(rows)
                kind.flops = kind.flops * samples // max(1, kind.rows + kind.others)
                kind.rows, kind.others = rows, samples - rows
                self._count.total += kind.flops
            else:
                yield batch
                rows = _rows(strategy, batch)
                self._count.total += kind.flops if rows == kind.rows else kind.flops * rows // max(1, kind.rows)
                self.steps += 1
                self.samples += rows + kind.others

    def watch(self) -> None:
        """Count, until `stepped`, the samples that the model is given with gradients on."""
        self._given = 0
        # a hook of the model itself would be copied with it, into a teacher
        self._hook = register_module_forward_pre_hook(self._see)

    def stepped(self, rows: int) -> int:
        """A training step on a minibatch of `rows` samples is over; returns of how many it was in all."""
        self._unwatch()
        samples = max(rows, self._given)
        self.steps += 1
        self.samples += samples
        return samples

    def _see(self, module: Any, inputs: tuple[Any, ...]) -> None:
        if module is self.strategy.model and inputs and torch.is_grad_enabled():
            self._given += len(inputs[0])

    def _unwatch(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def switch(self, on: bool) -> bool:
        """Let operations be counted from now on, or no more; returns whether that is a change.

        Below a mode of torch's that a plugin has entered, counting goes on as it is.
        """
        if self._closed or on == self._on:
            return False
        if on:
            self._count.__enter__()
        elif _get_current_dispatch_mode() is self._count:
            self._count.__exit__(None, None, None)
        else:
            return False
        self._on = on
        return True


class Metered:
    """A loader in whose passes a meter sees each training step."""

    def __init__(self, meter: Meter, loader: Any) -> None:
        self._meter, self._loader = meter, loader

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        return self._meter.training_steps(self._loader)


_current: Meter | None = None


def current(strategy: Any = None) -> Meter | None:
    """The meter that counts now, if any; if a strategy is given, only if it is that one's."""
    return _current if strategy is None or (_current is not None and _current.strategy is strategy) else None


def metered(strategy: Any, loader: Any) -> Any:
    """The loader of a training epoch, as the meter that counts now wants to have it."""
    meter = current(strategy)
    return loader if meter is None else Metered(meter, loader)


def alike(batches: Iterable[Any]) -> Iterable[Any]:
    """The batches (tensors, or lists of them) of a loop that does the same with each.

    For loops of a plugin's own that take many small steps, such as the training of a generator: so not all of them are
    counted op by op, which takes time. Batches whose first tensors have one shape must cost the same.
    """
    return batches if _current is None else _current.alike(batches)


@contextmanager
def uncounted() -> Iterator[None]:
    """Within it nothing is counted: for what has no operations, such as copying a matrix row by row."""
    meter = _current
    on = meter is not None and meter.switch(False)
    try:
        yield
    finally:
        if meter is not None and on:
            meter.switch(True)


def learnt(strategy: Any, samples: int) -> None:
    """A method without training steps has learnt from this many samples."""
    meter = current(strategy)
    if meter is not None:
        meter.samples += samples


def _rows(strategy: Any, batch: Any) -> int:
    """The samples of a minibatch as plugins made it of the loader's, unless an evaluation has followed the step."""
    return len(batch[0] if strategy.mbatch is None else strategy.mbatch[0])


def _size(batch: Any) -> Any:
    return getattr(batch[0] if isinstance(batch, (list, tuple)) else batch, "shape", None)
