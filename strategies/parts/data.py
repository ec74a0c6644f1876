"""For plugins that pass over data: whole batches of a dataset, and a model that is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader


def batches(strategy: Any, dataset: Any, batch_size: int = 1024) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The samples of `dataset` in order, unshuffled, on the strategy's device.

    Parameters
    ----------
    strategy : any Avalanche strategy. The harness's engine offers `batches`, which slices tensors without
        collating sample by sample; for any other one a plain DataLoader is used.
    dataset : an AvalancheDataset whose items begin with (x, y). Pass `dataset.eval()` for samples free of
        augmentation.
    batch_size : samples per batch; the last batch may be smaller.

    Yields
    ------
    x, y : inputs (batch, ...) and int64 labels (batch,).
    """
    if hasattr(strategy, "batches"):
        yield from strategy.batches(dataset, batch_size)
        return
    # A DataLoader draws a seed even when it does not shuffle: a generator of its own keeps the global random
    # state, so looking at data never changes how a run goes on.
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        collate_fn=getattr(dataset, "collate_fn", None),
        generator=torch.Generator(),
    )
    for batch in loader:
        yield batch[0].to(strategy.device), batch[1].to(strategy.device)


@contextmanager
def without_tracking(model: nn.Module) -> Iterator[None]:
    """BatchNorm as in training, with the batch's statistics, but leaving no trace in the running ones."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, so that no statistics move and no dropout acts; each module's mode is restored."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
