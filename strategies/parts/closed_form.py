"""Heads worked out from statistics of the features in one pass over each experience, without gradients."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from avalanche.core import SupervisedPlugin
from torch import nn
from torch.nn.functional import one_hot

from lorisbench.engine.meter import alike, learnt, uncounted
from lorisbench.engine.strategy import Context
from lorisbench.strategies.parts.data import batches, evaluating

NO_STEPS = "it learns in one pass over the images, in closed form"
BATCH = 128  # samples a pass takes at a time; their pairs are compared, so more is slower
BLOCK = 160  # columns of a block of a Gram matrix: smaller ones waste less on what symmetry gives, but multiply slower


class Statistics(Protocol):
    """What is kept of the samples seen."""

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add samples: inputs of the classifier, float64 (batch, F), and labels, int64 (batch,)."""
        ...


class Linear(Statistics, Protocol):
    """Statistics that give a linear classifier."""

    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (classes, F) and bias (classes,), float64; the class with the highest score is the answer."""
        ...


class ClosedFormPlugin(SupervisedPlugin):
    """Adds each experience to `statistics` once and writes the classifier they give into `strategy.model.head`.

    The model must have `features` (inputs -> what the head sees), `head` (an `nn.Linear`, or a Sequential that ends
    in one; what comes before it is left as it is) and `backbone`, a module or None, as
    `lorisbench.model.models.Classifier` has. Features are taken in evaluation mode from `experience.dataset` as it
    is, without augmentation.

    Statistics fit only the features that they were taken from. A backbone that has gradients is therefore trained in
    the first experience, with the head, by gradients as under any strategy; then it is frozen and the head replaced. If
    nothing is trained, no epoch is run: the plugin asks Avalanche to stop before the first minibatch.

    Attributes
    ----------
    replay_samples : 0.
    """

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.statistics = statistics
        self.replay_samples = 0

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if not _trains(_checked(strategy.model).backbone):
            strategy.stop_training()

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model = _checked(strategy.model)
        if model.backbone is not None:
            model.backbone.requires_grad_(False)
        before, linear = _parts(model.head)
        with evaluating(model):
            for x, y in alike(batches(strategy, strategy.experience.dataset.eval(), BATCH)):
                self.statistics.update(before(model.features(x)).double(), y)
                learnt(strategy, len(y))
        self.write(linear)

    def write(self, layer: nn.Linear) -> None:
        """Put what the statistics give into the head's last layer; a subclass may have one that is more than linear."""
        weight, bias = cast(Linear, self.statistics).linear()
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def _checked(model: Any) -> Any:
    if not all(hasattr(model, name) for name in ("backbone", "features", "head")):
        raise TypeError(
            "a closed-form head needs a model with backbone, features and head, as lorisbench.model.models.Classifier "
            f"has; {type(model).__name__} lacks some"
        )
    return model


def _trains(backbone: nn.Module | None) -> bool:
    return backbone is not None and any(parameter.requires_grad for parameter in backbone.parameters())


def _parts(head: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """What comes before the last layer of a head, and that layer. Raises TypeError if it is not linear."""
    before, last = (head[:-1], head[-1]) if isinstance(head, nn.Sequential) else (nn.Identity(), head)
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the head must end in a linear layer, not in a {type(last).__name__}")
    return before, last


def with_linear_head(model: nn.Module, context: Context) -> nn.Module:
    """The model with one linear layer as its head, also where `head.hidden` asks for more."""
    if not isinstance(model.head, nn.Linear):
        model.head = nn.Linear(context.feature_dim, context.num_classes)
    return model


def earlier(member: torch.Tensor) -> torch.Tensor:
    """Which samples of a batch come before which others of their class: 1 at (i, j) if j comes before i, else 0.

    member : one-hot labels, (batch, classes). Returns (batch, batch), of the same dtype.
    """
    return (member @ member.T).tril(-1)


class Means:
    """Number and mean of the samples of each class.

    Attributes
    ----------
    counts : int64 (classes,). means : float64 (classes, F), 0 for classes not yet seen; no columns before the first
        sample.
    """

    def __init__(self, classes: int) -> None:
        self.counts = torch.zeros(classes, dtype=torch.int64)
        self.means = torch.zeros(classes, 0, dtype=torch.float64)

    def update(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add samples, float64 (batch, F) and int64 (batch,), as if one by one.

        Returns
        -------
        The earlier samples of each sample's class: how many, int64 (batch,), and their mean, float64 (batch, F), 0
        where there were none.
        """
        if not self.means.shape[1]:
            self.counts = self.counts.to(x.device)
            self.means = x.new_zeros(len(self.counts), x.shape[1])
        # Products with masks, not index_add or cumsum: on a GPU those have no fixed order of summation
        member = one_hot(y, len(self.counts)).to(x.dtype)
        before = earlier(member)
        known = self.counts[y]
        met = known + before.sum(dim=1).long()
        met_mean = (self.means[y] * known[:, None] + before @ x) / met.clamp(min=1)[:, None]
        total = self.counts + member.sum(dim=0).long()
        self.means = (self.means * self.counts[:, None] + member.T @ x) / total.clamp(min=1)[:, None]
        self.counts = total
        return met, met_mean


def scoring(counts: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear classifier in which a class without a sample never answers: its score is minus infinity."""
    seen = counts > 0
    return (
        torch.where(seen[:, None], weight, torch.zeros_like(weight)),
        torch.where(seen, bias, torch.full_like(bias, -torch.inf)),
    )


class SymmetricSum:
    """A sum of symmetric matrices (F, F), float64: only the lower triangle is computed and, once packed, kept.

    Attributes
    ----------
    packed : (F (F + 1) / 2,), the triangle row by row; empty while the sum is not packed.
    """

    def __init__(self) -> None:
        self.packed = torch.zeros(0, dtype=torch.float64)
        self._lower: torch.Tensor | None = None  # valid in the lower triangle only
        self._width = 0

    def add(self, a: torch.Tensor, b: torch.Tensor) -> None:
        """Add a' b, for a and b (batch, F) whose product is symmetric."""
        if not self._width:
            self._width = a.shape[1]
            self._lower = a.new_zeros(self._width, self._width)
        lower = self._unpacked()
        for start in range(0, self._width, BLOCK):  # row by row of blocks, up to the diagonal: half the products
            end = start + BLOCK
            lower[start:end, :end].addmm_(a[:, start:end].T, b[:, :end])

    def merge(self, other: SymmetricSum) -> None:
        """Add another sum."""
        if not self._width:
            self._width, self._lower = other._width, other._unpacked().clone()
        else:
            self._unpacked().add_(other._unpacked())

    def matrix(self) -> torch.Tensor:
        """The sum, (F, F), valid until more is added: it is not a copy, which would take longer than the rest."""
        whole = self._unpacked()
        for start in range(0, self._width, BLOCK):
            end = start + BLOCK
            whole[start:end, end:] = whole[end:, start:end].T
            corner = whole[start:end, start:end]
            corner.copy_(corner.tril() + corner.tril(-1).T)
        return whole

    def pack(self) -> None:
        """Keep only the triangle: half the memory."""
        if self._lower is not None:
            with uncounted():
                self.packed, self._lower = torch.cat([row[: i + 1] for i, row in enumerate(self._lower)]), None

    def _unpacked(self) -> torch.Tensor:
        if self._lower is None:
            self._lower = self.packed.new_zeros(self._width, self._width)
            with uncounted():
                for i, part in enumerate(self.packed.split(list(range(1, self._width + 1)))):
                    self._lower[i, : i + 1] = part
            self.packed = self.packed[:0].clone()
        return self._lower
