"""Which head of a model answered each image of an evaluation, and with which probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from avalanche.models import MultiTaskModule
from torch import nn

from lorisbench.engine.answers import NO_HEAD

ANSWERED_BY = "answered_by"  # the attribute in which a model says it
_MOST = np.iinfo(np.int16).max


def heads_told(strategy: Any) -> torch.Tensor | None:
    """Which head answered each image of the present minibatch, integers (batch,); None if the model does not say.

    A model says it in its attribute `answered_by`, integers (batch,), -1 for none, which its forward pass (or a plugin)
    sets anew for each minibatch; it is taken away here, so that nothing is left of it. Of a multi-task module of
    Avalanche it is the task label, by which such a model chooses its output layer.

    Raises ValueError, naming the model's class, if the attribute holds anything else.
    """
    model: nn.Module = strategy.model
    told = getattr(model, ANSWERED_BY, None)
    if told is None:
        return strategy.mb_task_id if isinstance(model, MultiTaskModule) else None
    forget_heads(model)
    wanted = f"{type(model).__name__}.{ANSWERED_BY}: an integer for each of {len(strategy.mb_y)} images was expected, "
    if not isinstance(told, torch.Tensor | np.ndarray | list | tuple):
        raise ValueError(f"{wanted}not a {type(told).__name__}")
    try:
        heads = torch.as_tensor(told)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{wanted}not {told!r:.60}") from error
    if heads.shape != strategy.mb_y.shape or heads.is_floating_point() or heads.dtype == torch.bool:
        raise ValueError(f"{wanted}not {str(heads.dtype).removeprefix('torch.')} {tuple(heads.shape)}")
    return heads.detach().to(strategy.mb_y)


def forget_heads(model: nn.Module) -> None:
    """Take away what the model says of an earlier minibatch, unless it works it out when it is asked (a property)."""
    if ANSWERED_BY in vars(model) or ANSWERED_BY in model._buffers:
        setattr(model, ANSWERED_BY, None)


def joined_heads(told: Sequence[torch.Tensor | None], sizes: Sequence[int], model: str) -> np.ndarray | None:
    """int16 (images,) of what `heads_told` gave for each minibatch of an evaluation; None if it never gave any.

    sizes : images of each minibatch. Raises ValueError, naming the model, for a number that is no
    head's.
    """
    if all(heads is None for heads in told):
        return None
    device = next(heads.device for heads in told if heads is not None)
    pairs = zip(told, sizes, strict=True)
    each = [torch.full((size,), NO_HEAD, device=device) if of is None else of.long() for of, size in pairs]
    heads = torch.cat(each).cpu().numpy()
    if not NO_HEAD <= heads.min() <= heads.max() <= _MOST:
        raise ValueError(
            f"{model}.{ANSWERED_BY}: numbers of heads were expected, from 0, or {NO_HEAD} for none, not "
            f"{heads.min()} to {heads.max()}"
        )
    return heads.astype(np.int16)


def probabilities(outputs: torch.Tensor, classes: int) -> torch.Tensor:
    """The softmax of a model's outputs, (batch, any) -> float16 (batch, classes).

    A class that the model has no output for has probability 0; outputs beyond the classes are left out.
    """
    found = outputs.detach().float().softmax(dim=1)[:, :classes]
    return nn.functional.pad(found, (0, classes - found.shape[1])).to(torch.float16)
