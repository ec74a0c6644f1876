"""Models small enough for tests that train or export them."""

from __future__ import annotations

import torch
from torch import nn

from lorisbench.model import models


def small_backbone(name: str, weights: str, seed: int) -> models.Backbone:
    """Two layers in place of EfficientNet, whose export takes a quarter of a minute; `none` gives other weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed if weights == "imagenet" else seed + 1)
        network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(3))
    return models.Backbone(nn.Sequential(network, nn.Flatten()), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
