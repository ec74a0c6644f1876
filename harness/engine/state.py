"""What a strategy keeps between experiences: bytes of tensors beyond the model, replayed samples, heads."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

from lorisbench.data.stream import Store
from lorisbench.engine.own_plugins import HarnessPlugin
from lorisbench.engine.reach import walk
from lorisbench.model.models import megabytes

MODEL_PARTS = (
    "backbone",
    "head",
    "heads",
)  # what answers by itself; a model's other buffers are state (a router's)


def heads_of(model: nn.Module) -> int:
    """Number of heads of a model: the length of its `heads`, else 1."""
    heads = getattr(model, "heads", None)
    return len(heads) if isinstance(heads, nn.ModuleList) else 1


def replay_samples(strategy: Any, referred_only: bool = False) -> int:
    """Samples of earlier experiences that an Avalanche strategy and its plugins hold.

    Of each, its `replay_samples`, or the size of its storage policy's buffer, as Avalanche's own strategies have one.
    referred_only : without those that are tensors of a plugin that `owns_samples`, rather than parts of the stream's
        data.
    """
    total = 0
    for owner in (*strategy.plugins, strategy):
        policy = getattr(owner, "storage_policy", None)
        if referred_only and getattr(owner, "owns_samples", False):
            continue
        if hasattr(owner, "replay_samples"):
            total += int(owner.replay_samples)
        elif policy is not None and hasattr(policy, "buffer"):
            total += len(policy.buffer)
    return total


def sizes_of(strategy: Any, backbone: nn.Module, store: Store) -> dict[str, Any]:
    """The sizes of a run that its journal has. backbone : what runs in front of a model that is given features."""
    model = strategy.model
    attached = getattr(model, "backbone", None) is not None
    parameters = megabytes(model) + (0.0 if attached else megabytes(backbone))
    extra, router = state_bytes(strategy, model)
    sample = store.x[0].nbytes
    return {
        "model_mb": parameters - router / 1e6,
        "state_mb": (extra + router + replay_samples(strategy, referred_only=True) * sample) / 1e6,
        "replay_samples": replay_samples(strategy),
        "heads": heads_of(model),
    }


def state_bytes(strategy: Any, model: nn.Module) -> tuple[int, int]:
    """Bytes beyond the model kept by plugins (importances, teachers), and bytes of router buffers in the model."""
    own = {_storage(t) for t in (*model.parameters(), *model.buffers())}
    # as `megabytes` counts them: a buffer may be a view of a larger storage
    router = {
        id(buffer): buffer.nbytes for name, buffer in model.named_buffers() if name.partition(".")[0] not in MODEL_PARTS
    }
    held: dict[int, int] = {}
    for plugin in strategy.plugins:
        if isinstance(plugin, HarnessPlugin | EvaluationPlugin):
            continue
        for _, tensor in walk(plugin, "", inside=True):
            if isinstance(tensor, torch.Tensor) and _storage(tensor) not in own:
                held[_storage(tensor)] = tensor.untyped_storage().nbytes()
    return sum(held.values()), sum(router.values())


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())
