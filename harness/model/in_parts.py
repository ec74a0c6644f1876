"""A network's answers to many images on a CPU, worked out a few images at a time."""

from __future__ import annotations

import torch
from torch import fx, nn

PIXELS_AT_A_TIME = 2**19
"""What lies between the layers then takes some 50 MB in place of gigabytes, and a process that gives back what it frees
(`lorisbench.common.allocator`) has fewer pages cleared for it. Larger parts gain nothing (AMD EPYC, two threads)."""
FEWEST = 4  # images


def in_parts(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The network's answers to images (batch, channels, height, width), (batch, ...).

    For networks whose answer to an image does not depend on others in the batch. On a GPU, while somebody traces the
    network, and in training mode the images are given to it at once.
    """
    if isinstance(images, fx.Proxy) or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return network(images)
    at_a_time = max(FEWEST, PIXELS_AT_A_TIME // (images.shape[-1] * images.shape[-2]))
    if network.training or images.is_cuda or len(images) <= at_a_time:
        return network(images)
    return torch.cat([network(part) for part in images.tensor_split(-(-len(images) // at_a_time))])
