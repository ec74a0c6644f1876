"""Batch norms are folded into convolutions for extraction, where this gives the same features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lorisbench.model import features
from lorisbench.model.backbones import make_backbone
from lorisbench.model.folding import folded
from lorisbench.model.models import Backbone

pytestmark = pytest.mark.usefixtures("one_thread")


def lived_in(network: nn.Module) -> nn.Module:
    """A network whose batch norms have statistics, and weights of their own, in evaluation mode."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight, module.bias):
                if tensor is not None:
                    nn.init.normal_(tensor, 0.5, 0.3)
            if module.running_var is not None:
                nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-lite0", "mobilenetv3_small_050", "densenet121"])
def test_a_network_gives_the_same_features_without_its_norms(name: str) -> None:
    network = lived_in(make_backbone(name, "none", 32).network)
    x = torch.randn(2, 3, 32, 32)
    found = folded(network, x)
    assert norms(found) < norms(network)
    if name != "densenet121":  # whose norms mostly come first
        assert norms(found) == 0
    with torch.no_grad():
        wanted, got = network(x), found(x)
    assert torch.allclose(wanted, got, atol=1e-4 * float(wanted.abs().max()), rtol=0)
    assert norms(network), "the network itself is left as it is"


class Crossed(nn.Module):
    """Has a norm beside a convolution that it does not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x).relu()).mean(dim=(2, 3))


class Normed(nn.Module):
    def __init__(self, norm: nn.Module, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3)
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).mean(dim=(2, 3))


@pytest.mark.parametrize(
    "network",
    [
        Crossed(),
        Normed(nn.BatchNorm2d(4, track_running_stats=False)),
        Normed(nn.GroupNorm(2, 4)),
        Normed(nn.Identity()),
        nn.Flatten(),
    ],
    ids=["other order", "no statistics", "group norm", "no norm", "no parts"],
)
def test_what_cannot_be_folded_stays(network: nn.Module) -> None:
    lived_in(network)
    assert folded(network, torch.randn(2, 3, 8, 8)) is network


def test_extraction_gives_what_the_backbone_does(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(features, "folded", lambda network, x: calls.append(x) or folded(network, x))
    backbone = Backbone(lived_in(Normed(nn.BatchNorm2d(4))), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 4)
    blocks = [np.random.default_rng(i).integers(0, 256, (3, 8, 8, 3), np.uint8) for i in range(2)]
    found = np.concatenate(list(features.extract(backbone, iter(blocks), torch.device("cpu"))))
    with torch.no_grad():
        wanted = torch.cat([backbone(features.to_tensor(block, torch.device("cpu"))) for block in blocks]).numpy()
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max() and len(calls) == 1
    assert norms(backbone) == 1
