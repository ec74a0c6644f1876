"""Features as the inputs of training: a backbone that is frozen, and minibatches that skip it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lorisbench.strategies.parts.data import evaluating


def freeze_backbone(model: nn.Module) -> None:
    """No more gradients for `model.backbone`, if it has one, and no drift of its statistics."""
    backbone = getattr(model, "backbone", None)
    if backbone is None:
        return
    backbone.requires_grad_(False)
    if hasattr(backbone, "freeze"):  # the harness's own then stays in evaluation mode by itself
        backbone.freeze()


def features_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the head sees of a batch of inputs, (batch, features), without a gradient; 2-D inputs are features already.

    Raises TypeError for a model that takes images and offers no `features`.
    """
    if x.ndim == 2:
        return x
    if not hasattr(model, "features"):
        raise TypeError(f"a {type(model).__name__} that takes images needs a method features(x) -> (batch, features)")
    with torch.no_grad(), evaluating(model):
        return model.features(x)  # type: ignore[operator]


def skip_frozen_backbone(strategy: Any) -> None:
    """Replace the minibatch's images by their features, once the backbone is frozen.

    The harness's models give the same logits for both, so other plugins can use the minibatch as before.
    """
    backbone = getattr(strategy.model, "backbone", None)
    if backbone is not None and not any(p.requires_grad for p in backbone.parameters()):
        strategy.mbatch = [features_of(strategy.model, strategy.mb_x), *strategy.mbatch[1:]]
