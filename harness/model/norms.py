"""GroupNorm in place of BatchNorm: normalisation that looks at one image and keeps no statistics."""

from __future__ import annotations

import torch
from torch import nn

LEAST_CHANNELS = 4  # per group: one channel alone is an instance norm, which makes a 1 x 1 map a constant


class GroupNormAct(nn.GroupNorm):
    """GroupNorm followed by the dropout and the activation of the timm layer (`BatchNormAct2d`) it replaces."""

    def __init__(self, groups: int, channels: int, eps: float, affine: bool, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(groups, channels, eps, affine)
        self.drop = drop
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(super().forward(x)))


def groups_of(channels: int, wanted: int) -> int:
    """The number of groups: the largest divisor of `channels` up to `wanted` that leaves each group `LEAST_CHANNELS`.

    With 32 wanted (Wu & He 2018, section 4.1): 32 of 1280 channels, 28 of 112, 4 of 16, 1 of 7.
    """
    most = max(1, min(wanted, channels // LEAST_CHANNELS))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


def batch_to_group(network: nn.Module, wanted: int) -> int:
    """Replace every BatchNorm2d inside a network by a GroupNorm, in place; returns how many there were.

    Epsilon, device, dtype and, from timm's `BatchNormAct2d`, dropout and activation are carried over. Weight and bias
    are set so that the new layer does what the old one did to an image whose groups have the mean and variance that
    the running statistics of their channels imply, see `_affine`. Other images have others, so the features of a
    pretrained network change, and are good again only after some training.

    Parameters
    ----------
    network : a module that holds the layers (it is not one of them itself).
    wanted : groups for each layer, reduced as in `groups_of`.
    """
    replaced = 0
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _group_norm(child, wanted))
                replaced += 1
    return replaced


def _group_norm(old: nn.BatchNorm2d, wanted: int) -> nn.GroupNorm:
    channels = old.num_features
    groups, affine = groups_of(channels, wanted), bool(old.affine)
    drop, act = getattr(old, "drop", None), getattr(old, "act", None)
    new: nn.GroupNorm
    if isinstance(drop, nn.Module) and isinstance(act, nn.Module):
        new = GroupNormAct(groups, channels, old.eps, affine, drop, act)
    else:
        new = nn.GroupNorm(groups, channels, old.eps, affine)
    if affine:
        new.weight, new.bias = old.weight, old.bias
        if old.running_mean is not None and old.running_var is not None:
            new.weight.data, new.bias.data = _affine(old, groups)
    return new.train(old.training)


@torch.no_grad()
def _affine(old: nn.BatchNorm2d, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias, (channels,), of the group norm that stands for a batch norm in evaluation mode.

    With a channel's running mean m and variance v, the values of its group of channels have the mean M of their m and
    the variance V, which is the mean of their v plus the variance of their m. Then w (x - m) / sqrt(v) + b, the batch
    norm, is W (x - M) / sqrt(V) + B with W = w sqrt(V / v) and B = b + w (M - m) / sqrt(v); epsilon is added
    to v and V.
    """
    assert old.running_mean is not None and old.running_var is not None
    every = (old.running_mean, old.running_var, old.weight, old.bias)
    mean, variance, weight, bias = (each.double().view(groups, -1) for each in every)
    of_group = mean.mean(dim=1, keepdim=True)
    spread = variance.mean(dim=1, keepdim=True) + mean.var(dim=1, keepdim=True, correction=0)
    slope = weight / (variance + old.eps).sqrt()
    shift = bias + slope * (of_group - mean)
    return (slope * (spread + old.eps).sqrt()).flatten().to(old.weight), shift.flatten().to(old.bias)
