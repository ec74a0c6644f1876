"""Minibatches: made one ahead, and laid out in memory as the store is."""

from __future__ import annotations

import torch

from lorisbench.data.stream import taken
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
