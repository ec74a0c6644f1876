"""Fitting a few tensors to feature vectors by gradients, apart from the run's own optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lorisbench.engine.meter import alike


def minimise(
    parameters: Sequence[torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    samples: int,
    generator: torch.Generator,
    *,
    epochs: int,
    lr: float,
    batch_size: int = 128,
) -> None:
    """Change `parameters` in place by Adam, to make the mean of `loss` small.

    loss : indices of samples, int64 (batch,), -> the loss of each, (batch,). samples : how many there are.
    generator : of the order of the samples, which is drawn on the CPU. Gradients are on within, whatever they are
    outside; the parameters need none afterwards.
    """
    with torch.enable_grad():
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.Adam(parameters, lr=lr)
        orders = (torch.randperm(samples, generator=generator) for _ in range(epochs))
        for rows in alike(rows for order in orders for rows in order.split(batch_size)):
            optimizer.zero_grad()
            loss(rows.to(parameters[0].device)).mean().backward()
            optimizer.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
