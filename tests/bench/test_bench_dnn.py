"""`lorisbench bench dnn` at tiny sizes; nothing is timed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lorisbench.bench import dnn as bench_dnn
from lorisbench.bench import latency as bench_latency
from lorisbench.model.models import Backbone
from lorisbench.reproduce.verification.tiny import plugin_of

WIDTH = 8


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    for module in (bench_dnn, bench_latency):
        monkeypatch.setattr(module, "CLASSES", 3)
    bench_latency._grown.cache_clear()
    layers = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(layers, (0.5,) * 3, (0.5,) * 3, WIDTH, frozen=True)


@pytest.fixture(autouse=True)
def threads_stay():
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before
    bench_latency._grown.cache_clear()


def test_an_adaptation_is_what_a_run_does_for_a_domain(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    strategies, seen = [], []
    make = bench_dnn._before_adapting
    monkeypatch.setattr(bench_dnn, "_before_adapting", lambda *a: strategies.append(make(*a)) or strategies[-1])
    backbone.network[0].register_forward_hook(lambda module, x, y: seen.append(len(x[0])))
    found = bench_dnn.adapting(backbone, images=70, size=16, rounds=1, heads=2)
    assert found.what.startswith("adapt_ratio: from 70 images of 16 pixels to a usable head beside 2 others, 10 epochs")
    assert seen == 2 * 2 * [64, 6], "a pass and an adaptation to warm up, then a round"
    assert len(strategies) == 2
    for strategy, experience in strategies:
        (row,) = plugin_of(strategy, bench_dnn_plugin).decisions
        assert (row["verdict"], row["head"], row["samples"]) == ("expand", 2, 70) and {"gap_0", "gap_1"} <= set(row)
        assert strategy.model.router.domains == 3 and strategy.model.router.counts[2].sum() == 70
        assert strategy.store.x[:70].abs().sum(1).min() > 0 and len(experience.dataset) == 70


def test_an_adaptation_without_a_new_head_is_an_error(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_dnn, "DNNPlugin", lambda expand_at: bench_dnn_plugin(expand_at=[]))
    with pytest.raises(RuntimeError, match="did not adapt"):
        bench_dnn.adapting(backbone, images=6, size=16, rounds=1, heads=2)


bench_dnn_plugin = bench_dnn.DNNPlugin


def test_bench_dnn_measures_adaptation(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_dnn, "make_backbone", lambda *_: nn.Identity())
    monkeypatch.setattr(nn.Identity, "freeze", lambda self: None, raising=False)
    monkeypatch.setattr(bench_dnn, "adapting", lambda _: "adapted")
    answer = cli("bench", "dnn")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[1:] == ["dnn: adapted"]
