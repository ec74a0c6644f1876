"""Models and settings small enough for tests that train, measure or export."""

from __future__ import annotations

import torch
from torch import nn

from lorisbench.model import models

SMALL = {"name": "timm:test_resnet", "weights": "none", "image_size": 32}
"""A backbone of 15 convolutions; its weights are drawn, so no file and no network is needed."""
FEATURES = 96
"""The number of its features."""
TWO_CALLS = {"calls": 2, "warmup": 0}
"""The smallest settings with which latency can be measured."""


def small_backbone(name: str, weights: str, seed: int) -> models.Backbone:
    """Two layers in place of EfficientNet, whose export takes a quarter of a minute; `none` gives other weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed if weights == "imagenet" else seed + 1)
        network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(3))
    return models.Backbone(nn.Sequential(network, nn.Flatten()), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def rounding_of(network: nn.Module) -> float:
    """The share of their norm by which outputs may differ when the same sums are added up in another order.

    A sum of n products is off by about sqrt(n) roundings of its size; each layer passes on the error it
    received and adds its own.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return torch.finfo(torch.float32).eps * sum(layer.weight[0].numel() ** 0.5 for layer in layers)
