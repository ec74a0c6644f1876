"""Strategies that keep or make samples in the harness: on features, and end to end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_models import SMALL

from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.state import sizes_of, state_bytes
from lorisbench.runs.workbench import build, prepare
from lorisbench.suite.resolve import load_suite

SETTINGS: dict[str, dict[str, Any]] = {
    "replay": {"memory": 7, "replay_batch": 3},
    "der++": {"memory": 18, "replay_batch": 3},
    "agem": {"memory": 7, "reference_batch": 4},
    "gem": {"memory": 18},
    "gdumb": {"memory": 7},
    "latent-replay": {"memory": 7, "replay_batch": 3},
    "dgr": {"hidden": 8, "latent": 3, "generator_epochs": 1},
}
KEPT = {"der++": 18, "gem": 6, "dgr": 0}  # after three of nine experiences


pytestmark = pytest.mark.usefixtures("one_thread")


def run(suite_file: Callable, label: str, mode: str, cache: bool = True) -> tuple[Any, Any, list[Any], list[Any]]:
    """Three experiences of a run: its workbench, strategy, states of the model and sizes after each."""
    backbone = {**SMALL, "train": mode, "cache": cache}
    suite = load_suite(str(suite_file(backbone=backbone, strategies={label: SETTINGS[label]},
                                      training={"epochs": 2, "batch_size": 4, "lr": 0.001})))  # fmt: skip
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    store = Store(bench.x, bench.y, bench.task)
    strategy = build(bench, suite.runs[0], store)
    states, sizes = [copy.deepcopy(strategy.model.state_dict())], []
    for experience in make_stream(bench.manifest, store).train_stream[:3]:
        strategy.train(experience, reset_optimizer_state=True)
        states.append(copy.deepcopy(strategy.model.state_dict()))
        sizes.append(sizes_of(strategy, bench.backbone, store))
    return bench, strategy, states, sizes


def changed(states: list[Any], index: int) -> set[str]:
    """The parts of the model, backbone or head, that experience `index` changed."""
    before, after = states[index], states[index + 1]
    return {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("label", SETTINGS)
@pytest.mark.parametrize(
    ("mode", "cache"),
    [("never", True), ("never", False), pytest.param("always", True, marks=pytest.mark.heavy)],
)
def test_every_way_to_train_the_backbone(suite_file: Callable, label: str, mode: str, cache: bool) -> None:
    _, _, states, sizes = run(suite_file, label, mode, cache)
    assert changed(states, 0) == ({"head", "backbone"} if mode == "always" else {"head"})
    frozen = mode != "always" or label in ("latent-replay", "dgr")
    assert changed(states, 2) == ({"head"} if frozen else {"head", "backbone"})
    assert all(torch.isfinite(value).all() for value in states[-1].values())
    assert sizes[-1]["replay_samples"] == KEPT.get(label, 7)


def test_samples_count_once_whoever_holds_them(suite_file: Callable) -> None:
    bytes_of = {}
    for label, mode in [
        ("replay", "never"), ("gem", "never"), ("gdumb", "never"), ("replay", "always"), ("latent-replay", "always"),
    ]:  # fmt: skip
        bench, _, _, sizes = run(suite_file, label, mode)
        bytes_of[label, mode] = 1e6 * sizes[-1]["state_mb"]
        width = bench.backbone.feature_dim
    features, image = 4 * width, 3 * 32 * 32
    # a sample's own bytes, and 8 for each of its label, task label and key
    assert bytes_of["replay", "never"] == pytest.approx(7 * (features + 24))
    assert bytes_of["gem", "never"] == pytest.approx(6 * (features + 24))  # in three memories
    initial = 4 * 3 * (width + 1)  # of the head, to train from scratch again
    assert bytes_of["gdumb", "never"] == pytest.approx(7 * (features + 8) + initial)
    assert bytes_of["replay", "always"] == pytest.approx(7 * (image + 24))
    assert bytes_of["latent-replay", "always"] == pytest.approx(7 * (features + 24))


def test_a_generator_keeps_no_sample_and_does_not_grow(suite_file: Callable) -> None:
    _, _, _, sizes = run(suite_file, "dgr", "never")
    assert sizes[0]["state_mb"] == sizes[1]["state_mb"] == sizes[2]["state_mb"] > 0
    assert [size["replay_samples"] for size in sizes] == [0, 0, 0]


def test_every_one_of_many_parts_counts() -> None:
    part = type("Part", (), {"__module__": "lorisbench.strategies.some"})
    plugin = type("Plugin", (), {"__module__": "lorisbench.strategies.some"})()
    plugin.parts = [part() for _ in range(50)]
    for number, item in enumerate(plugin.parts):
        item.first, item.second = torch.zeros(1), [torch.zeros(2), number]
    for _ in range(2):  # as after each experience
        assert state_bytes(SimpleNamespace(plugins=[plugin]), torch.nn.Linear(1, 1)) == (50 * 12, 0)
