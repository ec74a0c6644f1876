"""Whole minibatches from a stream's store: reshuffled for training, gathered once for evaluations."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lorisbench.data.stream import Store, moved, rows_of, taken
from lorisbench.engine.batches import cut

MOST_GATHERED = 2**28
"""Bytes of features that are kept for the evaluations of a run."""

GATHERED_AT_ONCE = 2**21
"""Bytes of features that are copied together, to be cut into batches: what a core's cache has room for."""


class TensorLoader:
    """Minibatches [x, y, task labels] cut from a store as whole tensors on the device.

    With a generator, the rows are reshuffled in each pass (on the CPU, so that every device sees the same order). With
    a generator for views, each pass draws for each sample either the sample itself or one of the store's versions of
    it, all equally likely. With `join`, as in training, a last batch of one sample joins the one before it. Where the
    store has a `sequence`, samples come in this order where they would be reshuffled otherwise.
    """

    gives_on_device = True
    """That its minibatches are lists of tensors on the device."""

    def __init__(
        self,
        store: Store,
        rows: torch.Tensor,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        for_views: torch.Generator | None = None,
        join: bool = False,
    ) -> None:
        self.store, self.rows, self.batch_size, self.device = store, rows, batch_size, device
        self.generator, self.for_views = generator, for_views
        self.in_sequence = generator is not None and store.sequence is not None
        self.cut = cut if join else torch.split

    def __len__(self) -> int:
        return len(self.cut(self.rows, self.batch_size)) if len(self.rows) else 0

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        copied = self.device.type == "cuda" and self.store.y.device.type == "cpu"
        return ahead(self._batches()) if copied else self._batches()

    def _batches(self) -> Iterator[list[torch.Tensor]]:
        rows = self.rows
        if self.in_sequence:
            rows = rows[self.store.sequence[rows].argsort()]  # type: ignore[index]
        elif self.generator is not None:
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        views = None if self.for_views is None else self.store.views
        together = 1 if views is not None else self._at_once()
        if together > 1:
            for block in self.cut(rows, self.batch_size * together):
                yield from self._of_features(block)
            return
        for cpu_rows in self.cut(rows, self.batch_size):
            chunk = cpu_rows.to(self.store.y.device)
            x = moved(taken(self.store.x, chunk), self.device)
            if views is not None:
                x = views.pick(x, cpu_rows, torch.randint(views.count + 1, (len(chunk),), generator=self.for_views))
            x = self.store.inputs(x, chunk)
            yield [x, moved(taken(self.store.y, chunk), self.device), moved(taken(self.store.task, chunk), self.device)]

    def _at_once(self) -> int:
        """How many batches are gathered at once: several of features, as a copy for each takes longer."""
        if not _are_features(self.store, self.rows):
            return 1
        return max(1, GATHERED_AT_ONCE // (self.batch_size * self.store.x[0].nbytes))

    def _of_features(self, rows: torch.Tensor) -> Iterator[list[torch.Tensor]]:
        """Batches of these rows, parts of one copy."""
        chosen = rows.to(self.store.y.device)
        parts = (
            self.cut(moved(taken(of, chosen), self.device), self.batch_size)
            for of in (self.store.x, self.store.y, self.store.task)
        )
        return map(list, zip(*parts, strict=True))


def ahead(batches: Iterator[list[torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
    """The same batches, each made before the one before it is handed out."""
    for batch in batches:
        for following in batches:
            yield batch
            batch = following
        yield batch


_in_evaluation: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
_rows: weakref.WeakKeyDictionary[Any, torch.Tensor | None] = weakref.WeakKeyDictionary()


def for_evaluation(dataset: Any) -> Any:
    """`dataset.eval()` of Avalanche, which copies a dataset each time that it is asked, made once."""
    if dataset not in _in_evaluation:
        _in_evaluation[dataset] = dataset.eval()
    return _in_evaluation[dataset]


def rows_once(dataset: Any) -> torch.Tensor | None:
    """`rows_of` a dataset, worked out once."""
    if dataset not in _rows:
        _rows[dataset] = rows_of(dataset)
    return _rows[dataset]


def eval_loader(
    store: Store, rows: torch.Tensor, batch_size: int, device: torch.device
) -> TensorLoader | list[list[torch.Tensor]]:
    """Minibatches [x, y, task labels] of these rows, int64 (samples,), in their order, on the device."""
    found = gathered(store, rows, batch_size, device)
    return TensorLoader(store, rows, batch_size, device) if found is None else found


def gathered(
    store: Store, rows: torch.Tensor, batch_size: int, device: torch.device
) -> list[list[torch.Tensor]] | None:
    """Minibatches of features at these rows; None for images, where a backbone costs far more, and for too many.

    Features are gathered once for all evaluations: copying them takes longer than a linear layer does. A minibatch is
    a part of what is kept, so whoever changes one in place has the samples gathered anew for the next evaluation.
    """
    found = _gathered(store, rows)
    if found is None:
        return None
    return [list(batch) for batch in found.batches(batch_size, device)]


@dataclass
class _Gathered:
    """Samples copied out of a store, and by what is told that they still are what the store has at these rows."""

    rows: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    task: torch.Tensor
    source: weakref.ref[torch.Tensor]
    versions: list[int]

    _cut: tuple[int, list[tuple[torch.Tensor, ...]]] = (0, [])  # how large minibatches were last, and these

    def batches(self, size: int, device: torch.device) -> list[tuple[torch.Tensor, ...]]:
        """Minibatches (x, y, task labels) on a device: parts of what is kept, unless it lies elsewhere."""
        here = device == self.x.device
        if here and self._cut[0] == size:
            return self._cut[1]
        parts = (of.to(device, non_blocking=True).split(size) for of in (self.x, self.y, self.task))
        cut = list(zip(*parts, strict=True))
        if here:
            self._cut = size, cut
        return cut

    def fits(self, store: Store, rows: torch.Tensor) -> bool:
        return (
            self.source() is store.x
            and self.versions == _versions(store, self.x, self.y, self.task)
            and (self.rows is rows or torch.equal(self.rows, rows))
        )


_kept: weakref.WeakKeyDictionary[Store, dict[tuple[int, int], _Gathered]] = weakref.WeakKeyDictionary()


def _versions(store: Store, *gathered: torch.Tensor) -> list[int]:
    """Numbers that rise with each change in place."""
    return [tensor._version for tensor in (store.x, store.y, store.task, *gathered)]


def _are_features(store: Store, rows: torch.Tensor) -> bool:
    """Whether there are samples at `rows`, and they are features without task labels: all a model is given of them."""
    return isinstance(store.x, torch.Tensor) and store.x.ndim == 2 and not store.labelled and len(rows) > 0


def _gathered(store: Store, rows: torch.Tensor) -> _Gathered | None:
    if not _are_features(store, rows):
        return None
    kept = _kept.setdefault(store, {})
    place = (int(rows[0]), len(rows))
    found = kept.get(place)
    if found is not None and found.fits(store, rows):
        return found
    there = sum(of.x.nbytes for at, of in kept.items() if at != place)
    if there + len(rows) * store.x[0].nbytes > MOST_GATHERED:
        return None
    chosen = rows.to(store.x.device)
    x, y, task = (taken(of, chosen) for of in (store.x, store.y, store.task))
    kept[place] = _Gathered(rows, x, y, task, weakref.ref(store.x), _versions(store, x, y, task))
    return kept[place]
