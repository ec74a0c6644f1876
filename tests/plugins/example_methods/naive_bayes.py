"""A classifier in closed form on features, of its own kind: the model answers by Gaussians, and nothing is trained."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import PositiveFloat

from lorisbench import Context, Strategy
from lorisbench.model.models import Classifier
from lorisbench.strategies.parts.data import batches, evaluating


class NaiveBayesModel(Classifier):
    """Log densities of the classes' Gaussians, whose covariances are diagonal, once there are statistics.

    The statistics are registered buffers: a checkpoint has them, they count as the method's memory, and the exported
    model answers by them.
    """

    counts: torch.Tensor
    sums: torch.Tensor
    squares: torch.Tensor

    def __init__(self, model: Any, context: Context, smoothing: float) -> None:
        super().__init__(model.backbone, model.head)
        self.smoothing = smoothing
        shape = (context.num_classes, context.feature_dim)
        self.register_buffer("counts", torch.zeros(shape[0], 1, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(shape, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        if self.training:  # by gradients, while a backbone is trained
            return self.head(features)
        counts = self.counts.clamp(min=1)
        means = self.sums / counts
        total = self.counts.sum().clamp(min=1)
        spread = self.squares.sum(dim=0) / total - (self.sums.sum(dim=0) / total).square()
        variances = (self.squares / counts - means.square()).clamp(min=0) + self.smoothing * spread.mean() + 1e-9
        apart = features.double().unsqueeze(1) - means
        density = -0.5 * (apart.square() / variances + variances.log()).sum(dim=2)
        return density.masked_fill(self.counts.squeeze(1) == 0, -torch.inf).float()


class NaiveBayesPlugin(SupervisedPlugin):
    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        backbone = strategy.model.backbone
        if backbone is None or not any(parameter.requires_grad for parameter in backbone.parameters()):
            strategy.stop_training()

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model = strategy.model
        if model.backbone is not None:
            model.backbone.freeze()
        with evaluating(model):
            for x, y in batches(strategy, strategy.experience.dataset.eval()):
                features = model.features(x).double()
                member = torch.nn.functional.one_hot(y, len(model.counts)).double().T
                model.counts += member.sum(dim=1, keepdim=True)
                model.sums += member @ features
                model.squares += member @ features.square()


class NaiveBayes(Strategy, name="naive-bayes"):
    """Gaussian naive Bayes: a mean and a variance of each feature for each class, all classes equally likely.

    smoothing: what is added to every variance, as a share of the features' mean variance over all samples (our choice).
    """

    task_heads = growing_heads = False
    deterministic = True
    tuned = {"smoothing": ("log", 1e-3, 10.0)}
    tuned_from = 1
    smoothing: PositiveFloat = 0.1

    def wrap(self, model: Any, context: Context) -> Any:
        return NaiveBayesModel(model, context, self.smoothing)

    def plugins(self, context: Context) -> list[Any]:
        return [NaiveBayesPlugin()]
