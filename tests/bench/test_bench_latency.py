"""`lorisbench bench latency` at tiny sizes; nothing is timed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from lorisbench.bench import latency as bench
from lorisbench.bench import measured
from lorisbench.bench.measured import Ratio
from lorisbench.model.models import Backbone

WIDTH = 8


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backbone]:
    monkeypatch.setattr(bench, "CLASSES", 3)
    monkeypatch.setattr(bench, "HEADS", 4)
    bench._grown.cache_clear()
    layers = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = torch.get_num_threads()
    yield Backbone(layers, (0.5,) * 3, (0.5,) * 3, WIDTH, frozen=True)
    assert torch.get_num_threads() == before
    bench._grown.cache_clear()


def test_the_network_has_its_heads_domains_and_answers(backbone: Backbone) -> None:
    model = bench.grown(backbone, WIDTH, 4, "agreement")
    assert len(model.heads) == model.router.domains == 4 and model.router.domain_head.tolist() == [0, 1, 2, 3]
    assert model.router.weight.shape == (4 * 3, WIDTH) and not model.training
    assert bench.grown(backbone, WIDTH, 4, "agreement").heads[0] is not model.heads[0]


def test_each_answer_is_compared_with_one_head(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, list[torch.Tensor]] = {"many": [], "one": []}
    many, one = bench.DynamicNetwork.forward, bench.Classifier.forward
    monkeypatch.setattr(bench.DynamicNetwork, "forward", lambda self, x: given["many"].append(many(self, x)))
    monkeypatch.setattr(bench.Classifier, "forward", lambda self, x: given["one"].append(one(self, x)))
    threads, blocks = [], []

    def paired(what: str, ours: Callable[[], Any], other: Callable[[], Any], limit: Any, pairs: int, clock: Any) -> Any:
        blocks.append((limit, pairs, clock))
        threads.append(torch.get_num_threads())
        ours()
        other()
        return Ratio(what, (1.5, 1.25), 7.0, limit)

    monkeypatch.setattr(measured, "paired", paired)
    found = list(bench.answering(backbone, 16, 1, 7, pairs=2)) + list(bench.answering(backbone, 16, 2, 7, pairs=2))
    wide = found.pop(1)
    outputs = 4 * 3 + bench.grown(backbone, WIDTH).router.weight.shape[0]
    assert f"as many outputs ({outputs})" in wide.what and "16 pixels, batch 1," in wide.what
    assert [each.shape[1] for each in given["one"]].count(outputs) == 7 and wide.milliseconds == 1.0
    given["one"] = [each for each in given["one"] if each.shape[1] != outputs]
    assert [re.search(r"answer ([\w-]+),", each.what)[1] for each in found] == 2 * list(bench.ANSWERS)
    assert found[0].what.startswith("4 heads of 3 classes and their router") and "16 pixels, batch 1" in found[0].what
    assert {each.milliseconds for each in found} == {1.0}, "of a call, not of a block"
    assert [limit for limit, _, _ in blocks] == [1.03] + [None] * 8, "of the default answer, for one image"
    assert {(pairs, clock) for _, pairs, clock in blocks} == {(2, time.process_time)} and set(threads) == {1}
    assert [len(each) for each in given.values()] == [8 * 7, 9 * 7]
    assert {each.shape for each in given["many"]} == {each.shape for each in given["one"]} == {(1, 3), (2, 3)}
    assert not torch.equal(given["many"][0], given["many"][14]), "the answers differ"


def test_bench_latency_measures_both_sizes_and_batches(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "make_backbone", lambda *_: nn.Identity())
    monkeypatch.setattr(nn.Identity, "freeze", lambda self: None, raising=False)
    monkeypatch.setattr(
        bench,
        "answering",
        lambda _, size, batch, calls, pairs, device, name, answers: [
            Ratio(f"{name} {size} at {batch}, {len(answers)}", (1.04,), 1, 1.03)
        ],
    )
    answer = cli("bench", "latency")
    assert answer.code == 0, answer.err
    *lines, kept = answer.out.splitlines()[1:]
    measured = [line.split(":")[1].strip() for line in lines]
    sizes = ["128 at 1", "224 at 1", "128 at 32", "224 at 32"]
    assert measured[:4] == [f"efficientnet-lite0 {size}, 4" for size in sizes]
    assert measured[4:] == [f"resnet18 {size}, 1" for size in sizes]
    assert all("MISSED" in line for line in lines) and kept == "0 of 8 limits kept"
