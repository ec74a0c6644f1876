"""A network with shared layers and a growing number of heads."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from lorisbench.strategies.dnn import answers as dnn_answers
from lorisbench.strategies.dnn.domains import Domains
from lorisbench.strategies.dnn.open import BOUND, OpenRouter
from lorisbench.strategies.dnn.router import GaussianRouter
from lorisbench.strategies.dnn.stacked import Stacked, is_plain
from lorisbench.strategies.parts.shrinkage import Shrinkage

Answer = Literal[
    "open-bounded", "open", "prototype", "agreement", "confidence", "batch", "mean", "newest", "oracle", "gaussians"
]
OPEN = {"open-bounded": BOUND, "open": 1.0}  # the bound of each, see `OpenRouter`
ROUTED = (*OPEN, "prototype", "agreement", "oracle", "gaussians")  # the answers that need statistics of the features
BY_ITSELF = tuple(answer for answer in get_args(Answer) if answer not in ("batch", "oracle"))  # each image alone


def _in_graph() -> bool:
    """Whether what is computed now becomes part of a graph: of gradients, of a trace or of compiled code."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()


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
    answer : `prototype`: every head's probabilities, weighted for each image by how likely it is, under the Gaussians
        of `GaussianRouter`, that the image comes from the head's domain. A head gets weight once its first experience
        has ended. `agreement`: as `prototype`, but the Gaussians also vote on the class, see `GaussianRouter.joint`.
        `open` and `open-bounded`: as `agreement` if an image looks like those of a domain already seen, else by what
        the classes have in common over all domains, see `OpenRouter`. `confidence`: the head with the highest maximal
        probability. `mean`: the mean of all heads' probabilities. `newest`: the head made last. `batch`: one head for
        the whole batch, see `dnn_answers.batch`. `oracle`: the head with index `told`, or as `agreement` if that is
        None. `gaussians`: as `agreement` without any head.
    shrinkage, router_temperature : see `GaussianRouter`.
    router : what `prototype` weighs the heads by, if not those Gaussians.

    Attributes
    ----------
    heads : ModuleList of all heads, oldest first.
    active : index of the head in training.
    told : index of the head that `oracle` uses, set from outside; None if it is not known.
    last_features : what the active head saw in the last forward pass in training mode, detached, or None.
    watch : if set, called in evaluation mode whenever several heads are weighed, with their log-probabilities
        (batch, heads, classes) and the router's scores (batch, D * K) or None.
    answered_by : which head answered each image of the last minibatch, int64 (batch,), -1 for none; only while
        somebody watches, else None.
    """

    _new_head: Callable[[], nn.Module]

    def __init__(
        self,
        backbone: nn.Module | None,
        new_head: Callable[[], nn.Module],
        head: nn.Module | None = None,
        answer: Answer = "open-bounded",
        shrinkage: Shrinkage = "oas",
        router_temperature: float = 20.0,
        router: Domains | None = None,
    ) -> None:
        super().__init__()
        if answer not in get_args(Answer):
            raise ValueError(f"answer {answer!r} is none of {', '.join(get_args(Answer))}")
        self.backbone = backbone
        self.heads = nn.ModuleList([new_head() if head is None else head])
        self.router: Any = router
        if router is None and answer in OPEN:
            self.router = OpenRouter(shrinkage, router_temperature, OPEN[answer])
        elif router is None:
            self.router = GaussianRouter(shrinkage, router_temperature)
        self.answer = answer
        self.active = 0
        self.told: int | None = None
        self.last_features: torch.Tensor | None = None
        self.watch: Callable[[torch.Tensor, torch.Tensor | None], None] | None = None
        self.answered_by: torch.Tensor | None = None
        self._new_head = new_head
        self._stack: Stacked | None = None

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the heads see: the backbone's output, or x itself if two-dimensional or without a backbone."""
        return x if x.ndim == 2 or self.backbone is None else self.backbone(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        if self.training:
            self.last_features = features.detach()
            return self.heads[self.active](features)
        heads, router = self.heads, self.router
        if len(heads) == 1 or self.answer == "newest":
            return heads[-1](features).log_softmax(dim=1)
        if self.answer == "oracle" and self.told is not None:
            return heads[self.told](features).log_softmax(dim=1)
        logits, scores, owner = self._logits_and_scores(features, heads, router if self.answer in ROUTED else None)
        if self.watch is not None:
            self.watch(logits.log_softmax(dim=2), scores)
        if self.answer == "prototype" and scores is not None:
            weights = router.domain_weights(scores) @ owner
            # One product in place of a sum of logarithms; what underflows becomes the type's smallest number
            mixed = (weights.unsqueeze(1) @ logits.softmax(dim=2)).squeeze(1)
            return mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log()
        log_p = logits.log_softmax(dim=2)
        if scores is None:
            rule = {"confidence": dnn_answers.confidence, "batch": dnn_answers.batch}
            return rule.get(self.answer, dnn_answers.mean)(log_p)
        return router.joint(scores, torch.zeros_like(log_p) if self.answer == "gaussians" else log_p)

    def all_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of every head: features (batch, feature_dim) -> (batch, heads, classes)."""
        return self._logits_and_scores(features, self.heads, None)[0]

    def _logits_and_scores(
        self, features: torch.Tensor, heads: nn.ModuleList, router: Domains | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Logits (batch, heads, classes) and, of a router with domains, its scores (batch, D * K), owners (D, heads).

        Linear heads and the router are one matrix product, so that many heads cost about as much as one.
        """
        layers = cast(list[nn.Linear], [*heads._modules.values()])
        stack = self._stacked(layers, router)
        if stack is None:
            logits = torch.stack([head(features) for head in layers], dim=1)
        else:
            flat, scores = stack(features).split_with_sizes(stack.rows, dim=1)
            # Not -1: there may be no images
            logits = flat.view(flat.shape[0], len(layers), stack.rows[0] // len(layers))
            if stack.owner is not None:
                return logits, scores, stack.owner
        if router is None or router.domains == 0:
            return logits, None, None
        return logits, router.scores(features), router.owners(len(layers)).to(features.dtype)

    def _stacked(self, heads: list[nn.Linear], router: Domains | None) -> Stacked | None:
        """The heads, then a router of Gaussians, as one layer; None where a head is more than a linear layer.

        Stacking costs more than the product at batch size 1, so it is kept while it fits (`Stacked.fits`, which a write
        through `.data` passes by: call `eval()` after one). With gradients, or while the module is traced, nothing is
        kept.
        """
        keep, kept = not _in_graph(), self._stack
        if keep and kept is not None and kept.fits(heads, router):
            return kept
        self._stack = None
        if not all(map(is_plain, heads)):
            return None
        stack = Stacked(heads, router)
        if keep and stack.keep():
            self._stack = stack
        return stack

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
        """Record an experience's data, pairs (x, y), in the active head's domain (see `GaussianRouter`).

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
        self.router.fit(self.all_logits)
        self.train(training)

    def not_exportable(self) -> str | None:
        """Why a single graph cannot give its answers, for `lorisbench export`; None if it can."""
        if self.answer in BY_ITSELF:
            return None
        return (
            f"answer {str(self.answer)!r} takes more than the image itself and cannot be exported; "
            f"these can: {', '.join(BY_ITSELF)}"
        )

    def router_bytes(self) -> int:
        """Bytes of the statistics kept to choose a head."""
        return self.router.statistics_bytes()

    def _apply(self, *args: Any, **kwargs: Any) -> DynamicNetwork:
        self._stack = None  # moving a parameter to another device or type does not raise its version
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stack": None}  # the parameters of a copy count their versions from 0 again
