"""A trained model and the one that was restored from its state: whether they answer alike, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

ALIKE = 1e-4  # what rounding may do to a probability
PLAIN = (bool, int, float, str, list, tuple, dict, set, torch.Tensor, np.ndarray)
_OF_TORCH = frozenset(vars(nn.Module()))


def lacking(model: nn.Module) -> str:
    """What a model has not that latency and export read of it, or an empty string."""
    kind = type(model).__name__
    advice = "derive it from lorisbench.model.models.Classifier, or set self.backbone = model.backbone in it"
    if not hasattr(model, "backbone"):
        return (
            f"the model that wrap() returns, a {kind}, has no `backbone`, which is frozen, timed and exported, and put "
            f"there where features were cached: {advice}"
        )
    return ""


def told_apart(model: nn.Module, restored: nn.Module, x: torch.Tensor) -> str:
    """How a restored model answers otherwise than the trained one, and what its state lacks; empty if it does not.

    x : what both are given, (batch, ...). A model that cannot be called with inputs alone, or that does not answer
    alike twice, is not compared.
    """
    try:
        wanted, again = answers_of(model, x), answers_of(model, x)
    except Exception:  # such as a model that wants task labels too
        return ""
    if wanted.shape != again.shape or not torch.equal(wanted.nan_to_num(), again.nan_to_num()):
        return ""
    if alike(wanted, answers_of(restored, x)):
        return ""
    unsaved = list(_unsaved(model, restored))
    if unsaved:
        most = ", ".join(unsaved[:3]) + (f" and {len(unsaved) - 3} more" if len(unsaved) > 3 else "")
        return (
            f"built anew and loaded, it answers otherwise: {most} changed in training and is in no state; keep it in a "
            "buffer (register_buffer), or give it by get_extra_state()"
        )
    return "built anew and loaded, it answers otherwise: what it answers by is not in its parameters and buffers"


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two outputs, logits or log-probabilities (batch, classes), stand for the same probabilities."""
    return one.shape == other.shape and float((one.softmax(1) - other.softmax(1)).abs().max()) <= ALIKE


def answers_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a model in eval mode says of inputs, float32 (batch, classes). Raises TypeError if these are no scores."""
    with torch.no_grad():
        answers = model.eval()(x.clone())
    if not isinstance(answers, torch.Tensor) or answers.ndim != 2:
        raise TypeError("no scores of classes")
    return answers.float()


def _unsaved(model: nn.Module, restored: nn.Module) -> Iterator[str]:
    """Plain attributes of a model, or of a part of it, that the restored one has otherwise."""
    fresh = dict(restored.named_modules())
    for path, module in model.named_modules():
        if path not in fresh or type(module).__module__.startswith("torch.nn.modules."):
            continue
        known = vars(fresh[path])
        for name, value in vars(module).items():
            if name not in _OF_TORCH and isinstance(value, PLAIN) and not _same(value, known.get(name)):
                yield f"{path}.{name}".lstrip(".") + f" (a {type(value).__name__})"


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
