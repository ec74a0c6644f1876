"""`backbone.norm: group`: what is replaced and carried over, and what a frozen backbone keeps under either norm."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_models import SMALL
from timm.layers import BatchNormAct2d
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.data.stream import Store, make_stream
from lorisbench.model.backbones import backbone_of, make_backbone
from lorisbench.model.models import Backbone
from lorisbench.model.norms import GroupNormAct, batch_to_group, groups_of
from lorisbench.runs.workbench import build, prepare
from lorisbench.suite.resolve import load_suite


@pytest.mark.parametrize(
    ("channels", "wanted", "groups"),
    [(1280, 32, 32), (112, 32, 28), (40, 32, 10), (16, 32, 4), (7, 32, 1), (3, 32, 1), (64, 1, 1), (64, 5, 4)],
)
def test_groups_divide_the_channels(channels: int, wanted: int, groups: int) -> None:
    assert groups_of(channels, wanted) == groups and channels % groups == 0


def with_some_affine(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, norm.num_features))
        norm.bias.copy_(torch.linspace(-1, 1, norm.num_features))
    return norm


def test_a_constant_in_each_group_becomes_the_bias() -> None:
    network = nn.Sequential(with_some_affine(nn.BatchNorm2d(16)))
    bias = network[0].bias
    assert batch_to_group(network, 32) == 1
    x = torch.tensor([1.0, -2.0, 30.0, 4.0]).repeat_interleave(4)[None, :, None, None].expand(2, 16, 3, 3)
    assert torch.allclose(network(x), bias[None, :, None, None].expand_as(x), atol=1e-3)


def test_the_output_is_that_of_the_formula() -> None:
    old = with_some_affine(nn.BatchNorm2d(12, eps=1e-3))
    network = nn.Sequential(old)
    batch_to_group(network, 3)
    x = torch.randn(2, 12, 5, 5)
    grouped = x.view(2, 3, -1)
    normal = (grouped - grouped.mean(2, keepdim=True)) / (grouped.var(2, unbiased=False, keepdim=True) + 1e-3).sqrt()
    expected = normal.view_as(x) * old.weight[:, None, None] + old.bias[:, None, None]
    assert torch.allclose(network(x), expected, atol=1e-5)


def test_timms_layer_keeps_its_activation_and_dropout() -> None:
    network = nn.Sequential(BatchNormAct2d(8, act_layer=nn.Hardswish, drop_layer=nn.Dropout))
    batch_to_group(network, 2)
    (new,) = network
    assert isinstance(new, GroupNormAct) and isinstance(new.act, nn.Hardswish) and isinstance(new.drop, nn.Dropout)
    x = 3 * torch.randn(2, 8, 4, 4)
    plain = nn.functional.group_norm(x, 2, new.weight, new.bias, new.eps)
    assert torch.equal(network.eval()(x), nn.functional.hardswish(plain))


def test_an_image_as_the_running_statistics_have_it_is_normalised_as_before() -> None:
    old = with_some_affine(nn.BatchNorm2d(12, eps=1e-3)).eval()
    x = torch.randn(1, 12, 40, 40) * torch.linspace(0.1, 3, 12)[:, None, None] + torch.arange(12.0)[:, None, None]
    old.running_mean, old.running_var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    network = nn.Sequential(old)
    expected = network(x)
    assert batch_to_group(network, 3) == 1
    assert torch.allclose(network(x), expected, atol=1e-4)


def test_a_pretrained_network_keeps_its_other_parameters() -> None:
    batch, group = make_backbone("efficientnet-lite0"), make_backbone("efficientnet-lite0", norm_groups=32)
    kinds = [[type(m) for m in b.network.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))]
             for b in (batch, group)]  # fmt: skip
    assert len(kinds[0]) == len(kinds[1]) == 49 and set(kinds[1]) == {GroupNormAct}
    before, after = batch.network.state_dict(), group.network.state_dict()
    assert set(before) - set(after) == {k for k in before if "running_" in k or "num_batches" in k}
    norms = {name for name, m in group.network.named_modules() if isinstance(m, nn.GroupNorm)}
    assert all(torch.equal(before[key], value) for key, value in after.items() if key.rpartition(".")[0] not in norms)


def test_an_image_alone_and_in_a_batch_give_the_same_in_either_mode() -> None:
    backbone = make_backbone("timm:test_resnet", "none", 32, norm_groups=8)
    images = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)
    for mode in (True, False):
        backbone.train(mode)
        with torch.no_grad():
            assert torch.allclose(backbone(images)[:1], backbone(images[:1]), atol=1e-5)


def test_the_swap_draws_nothing_and_leaves_other_norms() -> None:
    backbones = [make_backbone("timm:test_resnet", "none", 32, seed=3, norm_groups=g) for g in (None, 8)]
    plain, swapped = (b.network.state_dict() for b in backbones)
    assert all(torch.equal(plain[key], swapped[key]) for key in swapped)
    network = nn.Sequential(nn.LayerNorm(4), nn.BatchNorm1d(4), nn.InstanceNorm2d(4))
    assert batch_to_group(network, 2) == 0


def test_the_digest_tells_norms_and_groups_apart() -> None:
    digests = {make_backbone("timm:test_resnet", "none", 32, norm_groups=g).digest() for g in (None, 4, 8)}
    assert len(digests) == 3, "the features of two of them would share a cache entry"


def test_a_backbone_without_batch_norm_is_refused() -> None:
    with pytest.raises(InputError, match=r"vit_tiny.* has no BatchNorm for backbone\.norm: group") as error:
        make_backbone("timm:vit_tiny_patch16_224", "none", 224, norm_groups=32)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"norm": "layer"}, "backbone.norm: .*'batch' or 'group'"), ({"norm_groups": 0}, "backbone.norm_groups: .* 1")],
)
def test_wrong_settings_give_one_line(suite_file: Callable[..., Path], settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_suite(str(suite_file(backbone=settings)))
    assert "\n" not in str(error.value)


def test_only_group_norm_changes_the_run_id(suite_file: Callable[..., Path]) -> None:
    ids, stored = [], []
    for backbone in ({}, {"norm": "batch"}, {"norm": "group"}, {"norm": "group", "norm_groups": 8}):
        suite = load_suite(str(suite_file(backbone=backbone)))
        ids.append(suite.runs[0].run_id)
        stored.append(suite.resolved["backbone"])
    assert ids[0] == ids[1] and len(set(ids)) == 3
    assert [(each["norm"], each["norm_groups"]) for each in stored[1:3]] == [("batch", 32), ("group", 32)]


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_frozen_backbone_never_drifts(suite_file: Callable[..., Path], norm: str) -> None:
    settings = {**SMALL, "train": "never", "cache": False}
    suite = load_suite(str(suite_file(backbone={**settings, "norm": norm}, training={"epochs": 1, "batch_size": 6})))
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    store = Store(bench.x, bench.y)
    strategy = build(bench, suite.runs[0], store)
    backbone = strategy.model.backbone
    before = backbone.digest()
    for experience in make_stream(bench.manifest, store).train_stream[:2]:
        strategy.train(experience, reset_optimizer_state=True)
    assert backbone.digest() == before
    assert not any(p.requires_grad for p in backbone.parameters())
    assert {bool(m.num_groups) for m in backbone.modules() if isinstance(m, nn.GroupNorm)} == (
        {True} if norm == "group" else set()
    )


def test_settings_make_the_backbone(suite_file: Callable[..., Path]) -> None:
    settings = load_suite(
        str(suite_file(backbone={"norm": "group", "norm_groups": 8, "image_size": 32}))
    ).config.backbone
    backbone = backbone_of(settings)
    assert isinstance(backbone, Backbone) and backbone.feature_dim == 1280
    norms = [m for m in backbone.modules() if isinstance(m, nn.GroupNorm)]
    assert {m.num_groups for m in norms} == {groups_of(m.num_channels, 8) for m in norms} == {4, 6, 8}
