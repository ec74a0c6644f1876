"""What a prediction takes, counted: parameters, MACs and memory against closed forms and published counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lorisbench.engine.prediction import prediction_cost
from lorisbench.model.backbones import make_backbone
from lorisbench.model.models import Classifier, make_head
from lorisbench.strategies.dnn.network import DynamicNetwork

FLOAT = 4  # bytes


def test_layers_cost_what_their_shapes_say() -> None:
    layers = nn.Sequential(nn.Linear(100, 1000), nn.ReLU(), nn.Linear(1000, 10))
    layers.register_buffer("aside", torch.zeros(7))
    cost = prediction_cost(layers, torch.zeros(3, 100)[:1])
    weights = 101 * 1000 + 1001 * 10
    assert (cost["parameters"], cost["macs"]) == (weights, 100 * 1000 + 1000 * 10)
    at_most = 100 + 2 * 1000  # the sample, and the inner layer before and after the ReLU
    assert cost["inference_mb"] == pytest.approx(FLOAT * (weights + 7 + at_most) / 1e6)


def test_parts_that_are_shared_count_once_and_what_is_kept_between_calls_counts() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(8, 8, bias=False)
            self.kept: torch.Tensor | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.second(self.first(x))
            if self.kept is None:  # after the layers, beside which it lies from the second call on
                self.kept = self.first.weight.repeat(9, 1)
            return x

    cost = prediction_cost(Keeps(), torch.zeros(1, 8))
    assert (cost["parameters"], cost["macs"]) == (64, 128)
    assert cost["inference_mb"] == pytest.approx(FLOAT * (64 + 9 * 64 + 3 * 8) / 1e6)


def test_resnet18_has_the_macs_that_are_published() -> None:
    """1.82 G at 224 pixels, as torchvision's table of models and fvcore have it up to what they count beside layers."""
    model = Classifier(make_backbone("resnet18", "none", 224), make_head(512, 1000)).eval()
    image = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    cost = prediction_cost(model, image)
    assert 1.814e9 <= cost["macs"] <= 1.824e9 and cost["parameters"] == 11_689_512
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        model(image)
    assert 2 * cost["macs"] == theirs.get_total_flops()


def test_twelve_heads_and_their_router_are_in_it() -> None:
    width, classes, heads = 32, 5, 12
    network = DynamicNetwork(None, lambda: nn.Linear(width, classes), answer="agreement")
    labels = torch.arange(classes).repeat(4)
    for head in range(heads):
        if head:
            network.add_head()
        network.train_only(head)
        network.record_domain([(torch.randn(len(labels), width), labels)])
    cost = prediction_cost(network.eval(), torch.zeros(1, width))
    assert cost["parameters"] == heads * classes * (width + 1)
    assert cost["macs"] == 2 * heads * classes * width, "all heads, and the Gaussians of as many domains"
    held = sum(tensor.numel() * tensor.element_size() for tensor in [*network.parameters(), *network.buffers()])
    stacked = FLOAT * 2 * heads * classes * (width + 1)
    assert cost["inference_mb"] * 1e6 > held + stacked
