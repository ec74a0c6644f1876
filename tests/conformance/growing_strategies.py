"""Methods written as an author would who has read the README alone: what they know grows while they learn."""

from __future__ import annotations

import copy
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn
from torch.nn.functional import kl_div

from lorisbench import Context, Strategy
from lorisbench.model.models import Classifier


class Routed(Classifier):
    """A head for each domain; the nearest of all k-means centres says whose head answers."""

    centres: torch.Tensor
    owner: torch.Tensor

    def __init__(self, model: Any, context: Context) -> None:
        super().__init__(model.backbone, model.head)
        self.heads = nn.ModuleList()
        self.register_buffer("centres", torch.zeros(0, context.feature_dim))
        self.register_buffer("owner", torch.zeros(0, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        if self.training or not len(self.centres):
            return (self.heads[-1] if len(self.heads) else self.head)(features)
        scores = torch.stack([head(features) for head in self.heads], dim=1)
        chosen = self.owner[torch.cdist(features, self.centres).argmin(dim=1)]
        return scores[torch.arange(len(x), device=x.device), chosen]


class Routes(SupervisedPlugin):
    """Adds a head before each experience, and centres of its features after it."""

    def __init__(self, context: Context, clusters: int) -> None:
        super().__init__()
        self.context, self.clusters = context, clusters
        self.tables: dict[str, list[dict[str, Any]]] = {"routing": []}
        self.table_plots = {"routing": {"x": "experience", "y": "spread", "by": "head"}}

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        for head in strategy.model.heads:
            head.requires_grad_(False)
        strategy.model.heads.append(self.context.new_head().to(strategy.device))

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model = strategy.model.eval()
        dataset = strategy.experience.dataset.eval()
        x = torch.cat([model.features(dataset[i][0][None].to(strategy.device)) for i in range(len(dataset))])
        generator = torch.Generator().manual_seed(self.context.seed)
        centres = x[torch.randperm(len(x), generator=generator)[: self.clusters].to(x.device)].clone()
        for _ in range(10):
            nearest = torch.cdist(x, centres).argmin(dim=1)
            for k in range(len(centres)):
                if (nearest == k).any():
                    centres[k] = x[nearest == k].mean(dim=0)
        head = len(model.heads) - 1
        model.centres = torch.cat([model.centres, centres])
        model.owner = torch.cat([model.owner, torch.full((len(centres),), head).to(model.owner)])
        spread = float(torch.cdist(x, centres).min(dim=1).values.mean())
        self.tables["routing"].append({"experience": strategy.clock.train_exp_counter, "head": head, "spread": spread})


class KMeansRouter(Strategy, name="kmeans-router"):
    """A head for each domain, chosen by k-means centres.

    clusters: centres of each domain.
    """

    state_growth = "experiences"
    growing_heads = False
    task_heads = False
    clusters: int = 12

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return Routed(model, context)

    def plugins(self, context: Context) -> list[Any]:
        return [Routes(context, self.clusters)]


class ClassWise(Classifier):
    """The class at the least Mahalanobis distance; a class has statistics once it has been seen."""

    means: torch.Tensor | None
    precisions: torch.Tensor | None
    labels: torch.Tensor | None

    def __init__(self, backbone: nn.Module | None, head: nn.Module) -> None:
        super().__init__(backbone, head)
        for name in ("means", "precisions", "labels", "counts"):
            self.register_buffer(name, None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        logits = self.head(features)
        if self.training or self.means is None or self.precisions is None or self.labels is None:
            return logits
        apart = features[:, None] - self.means
        distance = torch.einsum("bkf,kfg,bkg->bk", apart, self.precisions, apart)
        return torch.full_like(logits, -torch.inf).index_copy(1, self.labels, -distance)


class Measures(SupervisedPlugin):
    """Adds the classes of an experience to the model's statistics, which keep means and precisions only."""

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.model.backbone is None or not any(p.requires_grad for p in strategy.model.backbone.parameters()):
            strategy.stop_training()  # there is nothing to learn by gradients

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model = strategy.model.eval()
        dataset = strategy.experience.dataset.eval()
        pairs = [dataset[i][:2] for i in range(len(dataset))]
        x = torch.cat([model.features(each[None].to(strategy.device)) for each, _ in pairs])
        y = torch.tensor([label for _, label in pairs]).to(x.device)
        known = {} if model.labels is None else {int(label): i for i, label in enumerate(model.labels)}
        means, precisions, counts = [], [], []
        labels = sorted(known | {int(label): 0 for label in y})
        for label in labels:
            own = x[y == label]
            mean = own.mean(dim=0) if len(own) else None
            if mean is not None:
                covariance = (own - mean).T @ (own - mean) / len(own)
                precision = torch.linalg.inv(covariance + torch.eye(x.shape[1]).to(x))
            if label in known:
                i, n = known[label], int(model.counts[known[label]])
                share = n / (n + len(own))
                mean = model.means[i] if mean is None else share * model.means[i] + (1 - share) * mean
                precision = model.precisions[i] if not len(own) else (model.precisions[i] + precision) / 2
            means.append(mean)
            precisions.append(precision)
            counts.append(len(own) + (int(model.counts[known[label]]) if label in known else 0))
        model.means, model.precisions = torch.stack(means), torch.stack(precisions)
        model.labels, model.counts = torch.tensor(labels).to(x.device), torch.tensor(counts)


class ClassMahalanobis(Strategy, name="class-mahalanobis"):
    """Mahalanobis distances to each class seen so far, on features."""

    state_growth = "experiences"
    growing_heads = False
    task_heads = False

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return ClassWise(model.backbone, model.head)

    def plugins(self, context: Context) -> list[Any]:
        return [Measures()]


class Herds(SupervisedPlugin):
    """Keeps the samples that are nearest to their class's mean feature, and distils from the last model on them."""

    def __init__(self, per_class: int, batch: int, seed: int) -> None:
        super().__init__()
        self.per_class, self.batch = per_class, batch
        self.rows: dict[int, list[Any]] = {}
        self.teacher: nn.Module | None = None
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def replay_samples(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    owns_samples = True

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is None or not self.rows:
            return
        kept = [(x, label) for label, rows in self.rows.items() for x in rows]
        chosen = torch.randperm(len(kept), generator=self.generator)[: self.batch].tolist()
        x = torch.stack([kept[i][0] for i in chosen]).to(strategy.device)
        y = torch.tensor([kept[i][1] for i in chosen]).to(strategy.device)
        given = strategy.model(x)
        with torch.no_grad():
            wanted = (self.teacher(x) / 2).softmax(dim=1)
        strategy.loss += nn.functional.cross_entropy(given, y)
        strategy.loss += kl_div((given / 2).log_softmax(dim=1), wanted, reduction="batchmean")

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model = strategy.model.eval()
        dataset = strategy.experience.dataset.eval()
        pairs = [dataset[i][:2] for i in range(len(dataset))]
        for label in sorted({int(label) for _, label in pairs}):
            own = torch.stack([x for x, each in pairs if int(each) == label])
            features = model.features(own.to(strategy.device))
            order = (features - features.mean(dim=0)).norm(dim=1).argsort()[: self.per_class]
            self.rows[label] = [own[i].clone() for i in order.tolist()]
        self.teacher = copy.deepcopy(model).eval().requires_grad_(False)


class HerdingReplay(Strategy, name="herding-replay"):
    """Exemplars by herding, replayed with distillation.

    per_class: exemplars of each class. batch: of them in each step.
    """

    state_growth = "samples"
    task_heads = False
    growing_heads = False
    per_class: int = 5
    batch: int = 16

    def replay_limit(self) -> int:
        return 50 * self.per_class

    def plugins(self, context: Context) -> list[Any]:
        return [Herds(self.per_class, self.batch, context.seed)]
