"""A head for each experience, and clusters of its features that choose among the heads; tables tell which answered."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import PositiveInt
from torch import nn

from lorisbench import Context, Strategy
from lorisbench.model.models import Classifier
from lorisbench.strategies.parts.data import batches, evaluating


def clustered(x: torch.Tensor, count: int, generator: torch.Generator, rounds: int = 20) -> torch.Tensor:
    """Centres of up to `count` clusters of x, float32 (samples, F), by Lloyd's algorithm: (clusters, F).

    It starts from the means of random parts of x. A cluster of a single sample is left out: it would be a kept sample.
    """
    shuffled = x[torch.randperm(len(x), generator=generator).to(x.device)]
    centres = torch.stack([part.mean(dim=0) for part in shuffled.tensor_split(min(count, len(x)))])
    for _ in range(rounds):
        member = nn.functional.one_hot(torch.cdist(x, centres).argmin(dim=1), len(centres)).to(x)
        sizes = member.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, member.T @ x / sizes.clamp(min=1), centres)
    crowded = centres[sizes.squeeze(1) > 1]
    return crowded if len(crowded) else x.mean(dim=0, keepdim=True)


class NearestClusterModel(Classifier):
    """In training the newest head; else the head of the experience that the nearest cluster is of.

    `heads`, `centres` (clusters, F) and `owners` (clusters,) grow; they are restored from a checkpoint as they were.
    """

    centres: torch.Tensor
    owners: torch.Tensor

    def __init__(self, model: Any, context: Context) -> None:
        super().__init__(model.backbone, nn.Identity())
        self.new_head, self.heads = context.new_head, nn.ModuleList([model.head])
        self.register_buffer("centres", torch.zeros(0, context.feature_dim))
        self.register_buffer("owners", torch.zeros(0, dtype=torch.int64))
        self.answered_by: torch.Tensor | None = None

    def chosen(self, features: torch.Tensor) -> torch.Tensor:
        """The head that answers each sample: float32 (batch, F) -> int64 (batch,)."""
        distances = (features.unsqueeze(1) - self.centres).square().sum(dim=2)
        return self.owners[distances.argmin(dim=1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        if self.training or len(self.heads) == 1:
            return self.heads[-1](features)
        logits = torch.stack([head(features) for head in self.heads], dim=1)
        choice = self.chosen(features)[:, None, None].expand(-1, 1, logits.shape[2])
        return logits.gather(1, choice).squeeze(1)


class NearestClusterPlugin(SupervisedPlugin):
    def __init__(self, clusters: int, seed: int) -> None:
        super().__init__()
        self.clusters = clusters
        self.generator = torch.Generator().manual_seed(seed)
        self.tables: dict[str, list[dict[str, Any]]] = {"decisions": []}

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter > 0:
            strategy.model.heads.requires_grad_(False).append(strategy.model.new_head().to(strategy.device))

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model, data = strategy.model, strategy.experience.dataset.eval()
        if model.backbone is not None:
            model.backbone.freeze()
        with evaluating(model):
            features = torch.cat([model.features(x) for x, _ in batches(strategy, data)])
        centres, head = clustered(features, self.clusters, self.generator), len(model.heads) - 1
        model.centres = torch.cat([model.centres, centres])
        model.owners = torch.cat([model.owners, torch.full_like(centres[:, 0], head, dtype=torch.int64)])
        self.tables["decisions"].append({"experience": head, "head": head, "clusters": len(centres)})


class AnswersPlugin(SupervisedPlugin):
    """Only watches: which head answers which experience's test images, for `answers.csv` and `routing_accuracy`.

    Tensors are as they were when an evaluation is over: `lorisbench check` lets it change nothing but tables.
    """

    answers_unchanged = True

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[dict[str, Any]]] = {"answers": []}
        self.counts = torch.zeros(0)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.counts = torch.zeros(len(strategy.model.heads), device=strategy.device)

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        choice = strategy.model.chosen(strategy.model.features(strategy.mb_x))
        self.counts += choice.bincount(minlength=len(self.counts))
        strategy.model.answered_by = choice  # kept with the answer to each image

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        at = {
            "after_experience": len(strategy.model.heads) - 1,
            "test_experience": strategy.experience.current_experience,
        }
        strategy.model.answered_by = None
        shares, self.counts = (self.counts / self.counts.sum()).tolist(), torch.zeros(0)
        earlier = [row for row in self.tables["answers"] if not at.items() <= row.items()]
        self.tables["answers"] = earlier + [{**at, "head": head, "share": share} for head, share in enumerate(shares)]


class NearestCluster(Strategy, name="nearest-cluster"):
    """A head for each experience, chosen by the nearest of a few k-means centres of its features.

    The rule is that of S-Prompts (Wang et al. 2022, arXiv 2207.12819), with L2 in place of L1 distances.

    clusters: for each experience, 5 as in the paper.
    """

    state_growth = "experiences"
    task_heads = growing_heads = False
    clusters: PositiveInt = 5

    def wrap(self, model: Any, context: Context) -> Any:
        return NearestClusterModel(model, context)

    def plugins(self, context: Context) -> list[Any]:
        return [NearestClusterPlugin(self.clusters, context.seed), AnswersPlugin()]
