"""An evaluation in which nothing happens from one experience to the next: one pass over the samples of all of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch

from lorisbench.data.stream import Store, rows_of
from lorisbench.engine.callbacks import IN_EVALUATION, NOT_IN_EVALUATION, acts
from lorisbench.engine.evaluation import NoMetrics
from lorisbench.engine.loader import gathered
from lorisbench.engine.own_plugins import HarnessPlugin

_BETWEEN = (
    "before_eval_dataset_adaptation", "after_eval_dataset_adaptation", "before_eval_exp", "after_eval_exp",
)  # fmt: skip
_OF_OTHERS = ("before_eval", *_BETWEEN, *IN_EVALUATION)
AT_ONCE = 2048  # features in a minibatch, which nobody but the model sees
_SAMPLE_BY_SAMPLE = ("torch.nn.", "lorisbench.model.")


def minibatches_of_all(strategy: Any, experiences: Iterable[Any]) -> list[list[torch.Tensor]] | None:
    """Minibatches [x, y, task labels] of all experiences, in their order; None where each needs a pass of its own.

    One does if a plugin acts between them or sees their minibatches (the harness's own take any), if metrics are
    measured, or if the model might adapt to an experience or answer for a sample by those beside it in a minibatch: of
    layers from elsewhere than torch and `lorisbench.model` nobody knows that.
    """
    if strategy.wanted is not None or any(map(_tells_experiences_apart, strategy.plugins)):
        return None
    if not all(type(module).__module__.startswith(_SAMPLE_BY_SAMPLE) for module in strategy.model.modules()):
        return None
    rows = _rows_of([experience.dataset for experience in experiences], strategy.store)
    return None if rows is None else gathered(strategy.store, rows, AT_ONCE, strategy.device)


_known: weakref.WeakKeyDictionary[Store, tuple[list[weakref.ref[Any]], torch.Tensor]] = weakref.WeakKeyDictionary()


def _rows_of(datasets: list[Any], store: Store) -> torch.Tensor | None:
    """Rows of a store, int64 (samples,), of all datasets; None if one holds samples from elsewhere, or there is none.

    Each row of the accuracy matrix asks for the same ones, so they are remembered.
    """
    last, rows = _known.get(store, ([], None))
    if (
        rows is not None
        and len(last) == len(datasets)
        and all(ref() is of for ref, of in zip(last, datasets, strict=True))
    ):
        return rows
    found = [each for dataset in datasets if (each := rows_of(dataset)) is not None]
    if not found or len(found) < len(datasets):
        return None
    rows = torch.cat(found)
    _known[store] = [weakref.ref(dataset) for dataset in datasets], rows
    return rows


def _tells_experiences_apart(plugin: Any) -> bool:
    if isinstance(plugin, (*NOT_IN_EVALUATION, NoMetrics)):
        return False
    return acts(plugin, _BETWEEN if isinstance(plugin, HarnessPlugin) else _OF_OTHERS)
