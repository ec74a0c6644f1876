"""Minibatches: made one ahead, and laid out in memory as the store is."""

from __future__ import annotations

import pytest
import torch

from lorisbench.data.stream import Store, taken
from lorisbench.engine import loader
from lorisbench.engine.loader import ahead


def test_each_batch_is_made_before_the_one_before_it_is_handed_out() -> None:
    told: list[str] = []

    def batches():
        for number in range(3):
            told.append(f"made {number}")
            yield [torch.tensor(number)]

    for (number,) in ahead(batches()):
        told.append(f"trained {int(number)}")
    assert told == ["made 0", "made 1", "trained 0", "made 2", "trained 1", "trained 2"]
    assert list(ahead(iter([]))) == [] and list(ahead(iter([[torch.zeros(1)]]))) == [[torch.zeros(1)]]


def test_images_that_lie_channels_last_stay_so() -> None:
    rows = torch.tensor([3, 0, 3])
    pixels = torch.randint(0, 256, (4, 5, 6, 3), dtype=torch.uint8)
    last = pixels.permute(0, 3, 1, 2)
    assert taken(last, rows).is_contiguous(memory_format=torch.channels_last)
    assert taken(last.contiguous(), rows).is_contiguous()
    for x in (last, last.contiguous(), pixels.flatten(1)):
        assert torch.equal(taken(x, rows), x[rows]) and taken(x, rows).data_ptr() != x.data_ptr()


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("count", [1, 8, 9, 25, 32, 33, 40])
def test_batches_are_the_same_however_many_are_gathered_at_once(
    count: int, join: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(torch.randn(50, 3), torch.arange(50))
    rows = torch.randperm(50, generator=torch.Generator().manual_seed(1))[:count]

    def of(at_once: int) -> list[list[torch.Tensor]]:
        monkeypatch.setattr(loader, "GATHERED_AT_ONCE", at_once * 8 * 3 * 4)
        order = torch.Generator().manual_seed(0)
        return list(loader.TensorLoader(store, rows, 8, torch.device("cpu"), order, join=join))

    one, three = of(1), of(3)
    assert [len(x) for x, _, _ in one] == [len(x) for x, _, _ in three]
    assert all(torch.equal(a, b) for each in zip(one, three, strict=True) for a, b in zip(*each, strict=True))
