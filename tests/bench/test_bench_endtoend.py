"""`lorisbench bench endtoend` at a tiny size: both sides train the same network on the same images."""

from __future__ import annotations

import pytest
import torch

from lorisbench.bench import endtoend
from lorisbench.bench.measured import Ratio
from lorisbench.suite.training import AugmentConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("augment", [None, AugmentConfig(views=1)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_both_sides_take_the_same_number_of_steps(
    monkeypatch: pytest.MonkeyPatch, augment: AugmentConfig | None, channels_last: bool
) -> None:
    sizes: list[tuple[int, ...]] = []
    real = torch.nn.functional.cross_entropy

    def watched(input: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        sizes.append(tuple(input.shape))
        return real(input, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", watched)
    monkeypatch.setattr(endtoend, "BATCH", 2)
    found = endtoend.training(
        "timm:test_resnet", 32, augment, channels_last, torch.device("cpu"), pairs=1, steps=2, limit=1.03
    )
    assert isinstance(found, Ratio) and len(found.values) == 1 and found.values[0] > 0
    assert sizes == [(2, endtoend.CLASSES)] * (2 * 2 * 2 * endtoend.EPOCHS)  # a pair to warm up, two sides, two steps
