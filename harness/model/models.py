"""Models: a backbone, a head, and the classifier of both."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections.abc import Sequence

import torch
from torch import fx, nn

from lorisbench.model.in_parts import in_parts


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


def megabytes(module: nn.Module) -> float:
    """Size of all parameters and buffers in MB (10^6 bytes)."""
    tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(math.prod(t.shape) * t.element_size() for t in tensors.values()) / 1e6
