"""Gradients of the trainable parameters as one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lorisbench.strategies.parts.data import evaluating


def flat(parameters: Sequence[nn.Parameter], gradients: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """The gradients, None counting as 0, as one vector: (parameters in all,)."""
    pairs = zip(parameters, gradients, strict=True)
    return torch.cat([(torch.zeros_like(p) if gradient is None else gradient).flatten() for p, gradient in pairs])


def memory_gradient(
    model: nn.Module, parameters: Sequence[nn.Parameter], x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Gradient of the mean cross-entropy on (x, y), (parameters in all,); no `.grad` and no statistic changes.

    The model is in evaluation mode meanwhile, as it will be when it is tested on such samples.
    """
    with evaluating(model), torch.enable_grad():
        loss = cross_entropy(model(x), y)
    return flat(parameters, torch.autograd.grad(loss, parameters, allow_unused=True))


def write(parameters: Sequence[nn.Parameter], gradient: torch.Tensor) -> None:
    """Make the parts of a flat gradient the `.grad` of the parameters.

    A parameter that neither the batch nor the memory moves, such as the output layer of another task, keeps no `.grad`
    at all, so that weight decay does not wear it down either.
    """
    for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
        if parameter.grad is not None or bool(part.any()):
            parameter.grad = part.view_as(parameter).clone()
