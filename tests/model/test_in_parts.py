"""Many images on a CPU are given to a network a few at a time, and answered as at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lorisbench.model import in_parts
from lorisbench.model.backbones import make_backbone


@pytest.mark.parametrize("count", [1, 4, 5, 11])
def test_answers_are_the_same_in_parts(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_parts, "PIXELS_AT_A_TIME", 5 * 32 * 32)
    sizes: list[int] = []
    backbone = make_backbone("resnet18", "none", 32).eval()
    backbone.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        found, wanted = backbone(images), torch.cat([backbone.network(backbone.normalised(x[None])) for x in images])
    assert sizes[: -count or None] == {1: [1], 4: [4], 5: [5], 11: [4, 4, 3]}[count], "at most five, and about as many"
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_networks_in_training_and_graphs_get_all_images_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_parts, "PIXELS_AT_A_TIME", 1)
    sizes: list[int] = []

    class Watched(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return x.mean(dim=(2, 3))

    x = torch.rand(9, 3, 2, 2)
    assert in_parts.in_parts(Watched().train(), x).shape == (9, 3) and sizes == [9], "batch norm needs them all"
    network = Watched().eval()
    torch.jit.trace(lambda given: in_parts.in_parts(network, given), (x,), check_trace=False)
    assert sizes == [9, 9]
    in_parts.in_parts(network, x)
    assert sizes == [9, 9, 3, 3, 3]
