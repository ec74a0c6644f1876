"""Replay of exemplars: for each class of each experience the samples whose mean feature is nearest to that of all."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import PositiveInt

from lorisbench import Context, Strategy
from lorisbench.strategies.parts.data import batches, evaluating


def herded(features: torch.Tensor, count: int) -> list[int]:
    """Indices of up to `count` samples, best first: each brings the mean of those chosen nearest to the mean of all.

    features : float32 (samples, F).
    """
    mean, total, chosen = features.mean(dim=0), torch.zeros_like(features[0]), []
    for number in range(1, min(count, len(features)) + 1):
        distance = (mean - (total + features) / number).square().sum(dim=1)
        distance[chosen] = torch.inf
        chosen.append(int(distance.argmin()))
        total = total + features[chosen[-1]]
    return chosen


class HerdingPlugin(SupervisedPlugin):
    """Every class of every experience so far has an equal share of the memory, and joins the data of later ones.

    `shares` are parts of the stream's data sets, in the order of `herded`: a share that has to shrink loses its end.
    Each sample is shown as often as makes up about as many as the experience has.
    """

    def __init__(self, memory: int) -> None:
        super().__init__()
        self.memory = memory
        self.shares: list[Any] = []

    @property
    def replay_samples(self) -> int:
        return sum(len(share) for share in self.shares)

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        data, held = strategy.adapted_dataset, self.replay_samples
        times = max(1, len(data) // held) if held else 0
        for share in self.shares:
            data = data.concat(share.subset([*range(len(share))] * times))
        strategy.adapted_dataset = data

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        data = strategy.experience.dataset.eval()
        with evaluating(strategy.model):
            features = torch.cat([strategy.model.features(x) for x, _ in batches(strategy, data)])
        features = torch.nn.functional.normalize(features).cpu()
        labels = torch.as_tensor(list(data.targets))
        rows = [torch.where(labels == label)[0] for label in labels.unique()]
        quota = self.memory // (len(self.shares) + len(rows))
        new = [data.subset(own[herded(features[own], quota)].tolist()) for own in rows]
        kept = [share.subset([*range(min(quota, len(share)))]) for share in self.shares]
        self.shares = [share for share in (*kept, *new) if len(share)]


class Herding(Strategy, name="herding"):
    """Replay of exemplars that are chosen by herding (Welling 2009; Rebuffi et al. 2017, iCaRL, algorithm 4).

    memory: samples kept in all (our choice).
    """

    state_growth = "samples"
    memory: PositiveInt = 200

    def replay_limit(self) -> int:
        return self.memory

    def plugins(self, context: Context) -> list[Any]:
        return [HerdingPlugin(self.memory)]
