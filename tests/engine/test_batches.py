"""A last batch of one sample joins the one before it; a BatchNorm that meets a single sample all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lorisbench.common.errors import InputError
from lorisbench.conformance.toy import CLASSES, WIDTH, Mode, Running, Toy
from lorisbench.engine.batches import Joined, check_batches_of_one, cut, joined, normalise_single_samples
from lorisbench.model.models import Backbone

pytestmark = pytest.mark.usefixtures("one_thread")


class Sizes(SupervisedPlugin):
    """Notes how many samples each training batch of the stream has, before a method adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[list[int]] = []

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.sizes.append([])

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.sizes[-1].append(len(strategy.mb_y))


@pytest.mark.parametrize(
    ("samples", "batch_size", "sizes"),
    [(9, 8, [9]), (17, 8, [8, 9]), (16, 8, [8, 8]), (18, 8, [8, 8, 2]), (1, 8, [1]), (3, 1, [1, 1, 1]), (3, 2, [3])],
)
def test_no_sample_is_left_alone(samples: int, batch_size: int, sizes: list[int]) -> None:
    rows = torch.arange(samples)
    parts = cut(rows, batch_size)
    assert [len(part) for part in parts] == sizes and torch.equal(torch.cat(parts), rows)


STRATEGIES = [
    {"strategy": "naive"}, {"strategy": "lwf-avalanche"}, {"strategy": "der++", "memory": 1}, {"strategy": "joint"},
    {"strategy": "latent-replay", "replay_batch": 1}, {"strategy": "replay", "memory": 1}, {"strategy": "dnn"},
    {"strategy": "replay", "replay_batch": "epoch"}, {"strategy": "dgr", "generator_epochs": 1},
]  # fmt: skip


@pytest.mark.parametrize("mode", ["features", "images"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda entry: "-".join(map(str, entry.values())))
def test_the_remainder_joins_under_every_strategy(strategy: dict[str, Any], mode: Mode) -> None:
    running = Running(Toy(strategy, mode, samples=9, batch_size=8, epochs=(1, 1)))
    running.strategy.plugins.insert(1, sizes := Sizes())
    for index in range(2):
        running.learn(index)
    seen = 18 if strategy["strategy"] == "joint" else 9
    assert sizes.sizes[0] == [9] and sizes.sizes[1] == cut_sizes(seen, 8)
    assert all(parameter.isfinite().all() for parameter in running.strategy.model.parameters())


def cut_sizes(samples: int, batch_size: int) -> list[int]:
    return [len(part) for part in cut(torch.arange(samples), batch_size)]


def with_norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))


def test_an_experience_of_one_sample_is_trained_with_running_statistics() -> None:
    running = Running(Toy({"strategy": "naive"}, samples=1, epochs=(2, 1)))
    running.strategy = running.context().engine(with_norm(), [])
    before = {key: value.clone() for key, value in running.strategy.model.state_dict().items()}
    running.learn(0)
    after = running.strategy.model.state_dict()
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert torch.equal(before["1.running_mean"], after["1.running_mean"]) and running.strategy.model[1].training


def test_more_samples_are_normalised_as_ever() -> None:
    plain, treated = with_norm(), with_norm()
    normalise_single_samples(treated)
    normalise_single_samples(treated)
    assert len(treated[1]._forward_pre_hooks) == 1
    x = torch.randn(5, WIDTH)
    assert torch.equal(plain(x), treated(x)) and torch.equal(plain[1].running_var, treated[1].running_var)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        plain(x[:1])
    assert torch.equal(treated(x[:1]), plain.eval()(x[:1]))


class OwnLoader(Sizes):
    """Trains on a loader of its own, as plugins with a generator do."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        x, y = torch.randn(9, WIDTH), torch.arange(9) % CLASSES
        strategy.dataloader = DataLoader(TensorDataset(x, y, torch.zeros(9)), batch_size=4)


def test_a_plugins_own_loader_is_treated_alike() -> None:
    running = Running(Toy({"strategy": "naive"}, epochs=(1, 1)))
    running.strategy = running.context().engine(with_norm(), [sizes := OwnLoader()])
    running.learn(0)
    assert sizes.sizes == [[4, 5]]


def test_a_loader_without_a_remainder_of_one_is_left_as_it_is() -> None:
    for samples, size in ((8, 4), (10, 4), (1, 4), (3, 1)):
        loader = DataLoader(TensorDataset(torch.zeros(samples)), batch_size=size)
        assert joined(loader) is loader
    one = joined(DataLoader(TensorDataset(torch.arange(9)), batch_size=4))
    assert isinstance(one, Joined) and one.batch_size == 4
    assert [batch[0].tolist() for batch in one] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]


def test_batches_of_one_are_refused_where_a_norm_sees_one_value() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = Backbone(network, (0.5,) * 3, (0.2,) * 3)
    check_batches_of_one(backbone, 16, 1)
    check_batches_of_one(backbone, 8, 2)
    with pytest.raises(InputError, match=r"training\.batch_size 1: the BatchNorm network\.1 .* 8 x 8"):
        check_batches_of_one(backbone, 8, 1)
    assert backbone.network.training and not network[1]._forward_pre_hooks
