"""Deep generative replay: a generator makes inputs like those of the past, and the previous model labels them."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from pydantic import PositiveFloat, PositiveInt
from torch import nn
from torch.nn.functional import cross_entropy

from lorisbench.engine.batches import cut
from lorisbench.engine.meter import alike
from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.data import batches
from lorisbench.strategies.parts.distillation import distillation
from lorisbench.strategies.parts.latent import features_of, freeze_backbone, skip_frozen_backbone
from lorisbench.strategies.parts.vae import VAE

_GENERATOR_BATCH = 128


class DGRPlugin(SupervisedPlugin):
    """Replays generated features, labelled by the solver (what follows the backbone) of the previous experience.

    After t experiences the loss is 1 / (t + 1) times that of the batch plus t / (t + 1) times that of the replayed
    features, so that every experience counts the same. Generated batches are as large as the stream's. When an
    experience ends, the next generator is trained on its features and on those that the present generator makes,
    weighted in the same way.

    Parameters
    ----------
    distill, temperature, hidden, latent, generator_epochs, generator_lr : see `DGR`. seed : of the generator.

    Attributes
    ----------
    generator, solver : those of the experiences before the current one; None until the first has ended.
    """

    def __init__(
        self,
        distill: Literal["hard", "soft"] = "hard",
        temperature: float = 2.0,
        hidden: int = 256,
        latent: int = 32,
        generator_epochs: int = 30,
        generator_lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.distill = distill
        self.temperature = temperature
        self.hidden = hidden
        self.latent = latent
        self.generator_epochs = generator_epochs
        self.generator_lr = generator_lr
        self.seed = seed
        self.past = 0
        self.generator: VAE | None = None
        self.solver: nn.Module | None = None
        self._random = torch.Generator().manual_seed(seed)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        skip_frozen_backbone(strategy)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.generator is None or self.solver is None:
            return
        x = self.generator.generate(self._noise(len(strategy.mb_y), strategy.device))
        with torch.no_grad():
            target = self.solver(x)
        logits = strategy.model(x)
        if self.distill == "hard":
            replayed = cross_entropy(logits, target.argmax(dim=1))
        else:
            replayed = distillation(logits, target, self.temperature)
        # written as a difference, so that what other plugins have added to the loss keeps its full weight
        share = self.past / (self.past + 1)
        strategy.loss += share * (replayed - cross_entropy(strategy.mb_output, strategy.mb_y))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Train the next generator, on the features of this experience, and keep the solver."""
        model = strategy.model
        freeze_backbone(model)
        data = batches(strategy, strategy.experience.dataset.eval())
        self.generator = self._next_generator(torch.cat([features_of(model, x) for x, _ in data]))
        # a model of the harness's kind passes features to its head, any other takes them itself
        self.solver = copy.deepcopy(getattr(model, "head", model)).eval().requires_grad_(False)
        self.past += 1

    def _next_generator(self, x: torch.Tensor) -> VAE:
        """A generator of features like x (samples, width) and, in proportion, like the present generator's."""
        before = self.generator
        new = VAE(x.shape[1], self.hidden, self.latent, self.seed).to(x.device)
        if before is None:
            new.standardise(x)
        else:
            new.load_state_dict(before.state_dict())
        optimizer = torch.optim.Adam(new.parameters(), lr=self.generator_lr)
        share = self.past / (self.past + 1)
        orders = (torch.randperm(len(x), generator=self._random).to(x.device) for _ in range(self.generator_epochs))
        for rows in alike(rows for order in orders for rows in cut(order, _GENERATOR_BATCH)):
            loss = (1 - share) * new.losses(x[rows], self._noise(len(rows), x.device)).mean()
            if before is not None:
                replayed = before.generate(self._noise(len(rows), x.device))
                loss += share * new.losses(replayed, self._noise(len(rows), x.device)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return new.eval().requires_grad_(False)

    def _noise(self, count: int, device: torch.device) -> torch.Tensor:
        # drawn on the CPU, so that every device sees the same noise
        return torch.randn(count, self.latent, generator=self._random).to(device)


class DGR(Strategy, name="dgr"):
    """Deep Generative Replay (Shin et al. 2017, arXiv 1705.08690), of features rather than of images.

    The generator is a variational autoencoder of what the head sees; the paper's is a GAN of images. No sample is kept.
    So that features stay comparable between experiences the backbone, if it is trained at all, is frozen after the
    first: nothing is replayed into it. The paper's ratio between new and replayed data is set to weight all experiences
    equally (our choice).

    distill: `hard`, replayed features get the class that the previous solver predicts for them, as in the paper;
    `soft`, its softened outputs are matched (the variant "DGR + distillation" in She et al. 2020, Fig. 7). temperature:
    for `soft`; 2 as in LwF.
    hidden, latent, generator_epochs, generator_lr: of the autoencoder and its training with Adam, in which each
    generator starts from the previous one (our choice).
    """

    task_heads = False
    growing_heads = False

    distill: Literal["hard", "soft"] = "hard"
    temperature: PositiveFloat = 2.0
    hidden: PositiveInt = 256
    latent: PositiveInt = 32
    generator_epochs: PositiveInt = 30
    generator_lr: PositiveFloat = 0.001

    def plugins(self, context: Context) -> list[Any]:
        return [DGRPlugin(**self.model_dump(), seed=context.seed)]
