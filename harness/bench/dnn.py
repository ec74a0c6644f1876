"""`lorisbench bench dnn`: what adapting to a new domain costs, beside a pass over its images."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lorisbench.bench.latency import BACKBONE, CLASSES, HEADS, grown
from lorisbench.bench.measured import Finding, Ratio
from lorisbench.bench.synthetic import one_experience
from lorisbench.bench.timing import in_turn, timed
from lorisbench.common.threads import one_thread
from lorisbench.data.stream import Store
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.model import features
from lorisbench.model.backbones import make_backbone
from lorisbench.model.models import Backbone
from lorisbench.strategies.dnn.strategy import DNNPlugin
from lorisbench.suite.config import TrainingConfig

CPU = torch.device("cpu")


def measure() -> Iterator[Finding]:
    """Adaptation to 400 images of 224 pixels."""
    frozen = make_backbone(BACKBONE, "imagenet", 224)
    frozen.freeze()
    yield adapting(frozen)


def adapting(backbone: Backbone, images: int = 400, size: int = 224, rounds: int = 7, heads: int = HEADS - 1) -> Ratio:
    """The ratio `adapt_ratio` end to end: time from a domain's images to a usable head / time of one pass over them.

    Both start with decoded uint8 images in memory and extract their features in the harness's batches, on all
    threads. Adapting continues, on one thread as in a run on cached features, with all that `strategy.train` does
    for the domain: it measures the gap of the `heads` existing heads, makes a new one, trains it with the default
    settings of a suite, and records the domain's statistics. Passes and adaptations alternate.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), np.uint8)

    def forward() -> np.ndarray:
        blocks = (pixels[start : start + features.BATCH] for start in range(0, images, features.BATCH))
        return np.concatenate(list(features.extract(backbone, blocks, CPU)))

    def adapt(strategy: Engine, experience: Any) -> None:
        strategy.store.x[:images] = torch.from_numpy(forward())
        with one_thread():
            strategy.train(experience, reset_optimizer_state=True)

    threads = torch.get_num_threads()

    def adapted() -> float:
        strategy, experience = _before_adapting(backbone.feature_dim, images, heads)
        seconds = timed(functools.partial(adapt, strategy, experience))()
        if len(strategy.model.heads) != heads + 1 or strategy.model.router.domains != heads + 1:
            raise RuntimeError("the strategy did not adapt by adding a head")
        return seconds

    taken = in_turn({"adapt": adapted, "forward": timed(forward)}, rounds)
    training = TrainingConfig()
    what = (
        f"adapt_ratio: from {images:,} images of {size} pixels to a usable head beside {heads} others, "
        f"{training.epochs} epochs at batch {training.batch_size}, to one forward pass on {threads} threads"
    )
    return Ratio.of(what, taken["adapt"], taken["forward"])


def _before_adapting(width: int, images: int, heads: int) -> tuple[Engine, Any]:
    """An engine whose network has `heads` heads and domains, and its next experience: the first rows of the store.

    Their features are still unset.
    """
    # two samples more than are trained on: the stream needs a validation and a test split
    labels = torch.arange(images + 2) % CLASSES
    store = Store(torch.zeros(images + 2, width), labels)
    training = TrainingConfig()
    model = grown(None, width, heads)
    strategy = Engine(
        model=model, optimizer=make_optimizer(model, training), plugins=[DNNPlugin(expand_at=[1])], store=store,
        training=training, device=CPU, seed=0,
    )  # fmt: skip
    strategy.clock.train_exp_counter = 1  # the heads are there as if experiences had been trained
    return strategy, one_experience(store, images)
