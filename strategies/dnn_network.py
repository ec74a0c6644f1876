"""A network with shared layers and a growing number of heads."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast, get_args

import torch
from torch import nn
from torch.nn import functional as F

from strategies.dnn_router import GaussianRouter, Shrinkage

Answer = Literal["prototype", "agreement", "confidence", "mean", "newest"]
ROUTED = ("prototype", "agreement")  # the answers that need statistics of the features


class DynamicNetwork(nn.Module):
    """Shared layers, several heads, and a rule that says which head answers.

    In training mode it gives the logits of the active head, in evaluation mode the log-probabilities of the
    answer, both (batch, classes). An input with two dimensions is taken as features and skips the backbone.
    With one head all rules give that head's softmax.

    Parameters
    ----------
    backbone : the shared layers, images -> features (batch, feature_dim); None where inputs are features.
        Once its parameters no longer require gradients, `train()` leaves it in evaluation mode.
    new_head : makes a freshly initialised head, features -> logits (batch, classes).
    head : the first head; made by `new_head` if not given.
    answer : `prototype`: every head's probabilities, weighted for each image by how likely the Gaussians of
        `GaussianRouter` hold that the image comes from one of the head's domains. A head gets weight once its
        first experience has ended. `confidence`: the head with the highest maximal probability. `mean`: the
        mean of all heads' probabilities. `newest`: the head made last.
    shrinkage, router_temperature : see `GaussianRouter`.

    Attributes
    ----------
    heads : ModuleList of all heads, oldest first.
    active : index of the head in training.
    last_features : what the active head saw in the last forward pass in training mode, detached, or None.
    """

    _new_head: Callable[[], nn.Module]

    def __init__(
        self,
        backbone: nn.Module | None,
        new_head: Callable[[], nn.Module],
        head: nn.Module | None = None,
        answer: Answer = "prototype",
        shrinkage: Shrinkage = "oas",
        router_temperature: float = 5.0,
    ) -> None:
        super().__init__()
        if answer not in get_args(Answer):
            raise ValueError(f"answer {answer!r} is none of {', '.join(get_args(Answer))}")
        self.backbone = backbone
        self.heads = nn.ModuleList([new_head() if head is None else head])
        self.router = GaussianRouter(shrinkage, router_temperature)
        self.answer = answer
        self.active = 0
        self.last_features: torch.Tensor | None = None
        self._new_head = new_head
        self._stack: tuple[list[tuple[torch.Tensor, int]], torch.Tensor, torch.Tensor] | None = None

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the heads see: the backbone's output, or x itself if two-dimensional or without a backbone."""
        return x if x.ndim == 2 or self.backbone is None else self.backbone(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        if self.training:
            self.last_features = features.detach()
            return self.heads[self.active](features)
        if len(self.heads) == 1 or self.answer == "newest":
            return self.heads[-1](features).log_softmax(dim=1)
        routed = self.answer in ROUTED and self.router.domains > 0
        logits, scores = self._logits_and_scores(features, routed)
        log_p = logits.log_softmax(dim=2)
        if self.answer == "confidence":
            surest = log_p.amax(dim=2).argmax(dim=1)
            # Not take_along_dim: traced for an export, it fixes the batch size
            return log_p.gather(1, surest[:, None, None].expand(-1, 1, log_p.shape[2])).squeeze(1)
        if scores is None:
            return log_p.logsumexp(dim=1) - math.log(len(self.heads))
        if self.answer == "agreement":
            return self.router.joint(scores, log_p)
        weights = self.router.head_weights(scores, len(self.heads))
        return (weights.log()[:, :, None] + log_p).logsumexp(dim=1)

    def all_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of every head: features (batch, feature_dim) -> (batch, heads, classes)."""
        return self._logits_and_scores(features, False)[0]

    def _logits_and_scores(self, features: torch.Tensor, routed: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits (batch, heads, classes) and, if asked for, the router's scores (batch, D * K).

        Linear heads and the router are one matrix product, so that many heads cost about as much as one.
        """
        if not all(isinstance(head, nn.Linear) for head in self.heads):
            logits = torch.stack([head(features) for head in self.heads], dim=1)
            scores = F.linear(features, self.router.weight, self.router.bias) if routed else None
            return logits, scores
        output = F.linear(features, *self._stacked(routed))
        width = output.shape[1] - (len(self.router.bias) if routed else 0)
        return output[:, :width].unflatten(1, (len(self.heads), -1)), output[:, width:] if routed else None

    def _stacked(self, routed: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and biases of all linear heads, then of the router, one below the other.

        Stacking costs more than the product at batch size 1, so it is kept until one of its parts changes: a
        part is the same while it is the same tensor in the same version, which every change in place raises.
        With gradients, or while the module is traced, nothing is kept.
        """
        linear = [cast(nn.Linear, head) for head in self.heads]
        pairs: list[tuple[torch.Tensor, torch.Tensor | None]] = [(head.weight, head.bias) for head in linear]
        if routed:
            pairs.append((self.router.weight, self.router.bias))
        parts = [part for pair in pairs for part in pair if part is not None]
        keep = not (
            torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()
            or any(part.is_inference() for part in parts)
        )
        if keep and self._stack is not None and len(self._stack[0]) == len(parts):
            known = zip(self._stack[0], parts, strict=True)
            if all(old is new and version == new._version for (old, version), new in known):
                return self._stack[1], self._stack[2]
        weight = torch.cat([weight for weight, _ in pairs])
        bias = torch.cat([torch.zeros_like(w[:, 0]) if b is None else b for w, b in pairs])
        self._stack = ([(part, part._version) for part in parts], weight, bias) if keep else None
        return weight, bias

    def add_head(self, like: int | None = None) -> int:
        """Append a head, freshly initialised or a copy of head `like`, and return its index."""
        head = self._new_head() if like is None else copy.deepcopy(self.heads[like])
        first = next(self.heads[0].parameters())
        self.heads.append(head.to(first.device, first.dtype))
        return len(self.heads) - 1

    def frozen_copy(self, head: int) -> nn.Module:
        """A copy of a head in evaluation mode and without gradients, to distil from."""
        return copy.deepcopy(self.heads[head]).eval().requires_grad_(False)

    def train_only(self, active: int) -> None:
        """Make `active` the head in training; every other head neither gets gradients nor changes."""
        self.active = active
        for index, head in enumerate(self.heads):
            head.requires_grad_(index == active)
            for parameter in head.parameters():
                parameter.grad = None
        self.train(self.training)

    def freeze_backbone(self) -> None:
        """No more gradients for the shared layers, and evaluation mode for good."""
        if self.backbone is not None:
            self.backbone.requires_grad_(False)
            self.backbone.eval()

    def train(self, mode: bool = True) -> DynamicNetwork:
        """Set the mode, but leave a frozen backbone and the heads not in training in evaluation mode."""
        super().train(mode)
        self._stack = None
        self.last_features = None
        if self.backbone is not None and not any(p.requires_grad for p in self.backbone.parameters()):
            self.backbone.eval()
        for index, head in enumerate(self.heads):
            head.train(mode and index == self.active)
        return self

    @torch.no_grad()
    def record_domain(self, data: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Record an experience's data, pairs (x, y), as a domain of the active head (see `GaussianRouter`).

        Raises ValueError if there are no samples.
        """
        training = self.training
        self.eval()
        pairs = ((self.features(x), y) for x, y in data)
        first = next(pairs, None)
        if first is None:
            raise ValueError("a domain needs at least one sample")
        classes = self.heads[self.active](first[0][:1]).shape[-1]
        self.router.record(itertools.chain([first], pairs), classes, self.active)
        self.train(training)

    def router_bytes(self) -> int:
        """Bytes of the statistics kept to choose a head."""
        return self.router.statistics_bytes()

    def _apply(self, *args: Any, **kwargs: Any) -> DynamicNetwork:
        self._stack = None  # moving a parameter to another device or type does not raise its version
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Grow to the number of heads of the state before its tensors are loaded."""
        start = f"{prefix}heads."
        stored = {int(key[len(start) :].partition(".")[0]) for key in state_dict if key.startswith(start)}
        if len(self.heads) <= max(stored, default=0):
            while len(self.heads) <= max(stored):
                self.add_head()
            self.train_only(self.active)
        super()._load_from_state_dict(state_dict, prefix, *args)
