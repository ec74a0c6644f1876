"""`lorisbench bench dnn`: what many heads cost in a forward pass, and what adapting to a new domain costs."""

from __future__ import annotations

import copy
import functools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from lorisbench.bench.timing import one_experience
from lorisbench.common.threads import one_thread
from lorisbench.data.stream import Store
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.model import features
from lorisbench.model.models import Backbone, Classifier, make_backbone
from lorisbench.runs.latency import alternate
from lorisbench.strategies.dnn.network import Answer, DynamicNetwork
from lorisbench.strategies.dnn.strategy import DNNPlugin
from lorisbench.suite.config import TrainingConfig

CPU = torch.device("cpu")
HEADS, CLASSES = 12, 40  # the domains and categories of a stream of OpenLORIS-Object
ANSWERS: tuple[Answer, ...] = ("open-bounded", "prototype", "agreement", "confidence")
BACKBONE = "efficientnet-lite0"
SAMPLES_PER_CLASS = 2  # for the router's statistics, whose size does not depend on it


def measure() -> Iterator[str]:
    """Latency at 128 and 224 pixels, batch 1 and 32, then adaptation to 1,000 images at 224."""
    frozen = make_backbone(BACKBONE, "imagenet", 224)
    frozen.freeze()
    for size, batch, calls in ((128, 1, 60), (128, 32, 4), (224, 1, 25), (224, 32, 2)):
        yield from answering(frozen, size, batch, calls)
    yield from adapting(frozen)


def grown(backbone: Backbone | None, width: int, heads: int = HEADS, answer: Answer = ANSWERS[0]) -> DynamicNetwork:
    """A DynamicNetwork in evaluation mode with this many heads, each of which has a domain of random features."""
    network = copy.deepcopy(_grown(width, heads, answer))
    network.backbone = backbone
    return network.eval()


@functools.cache
def _grown(width: int, heads: int, answer: Answer) -> DynamicNetwork:
    generator = torch.Generator().manual_seed(0)
    network = DynamicNetwork(None, lambda: nn.Linear(width, CLASSES), answer=answer)
    labels = torch.arange(CLASSES).repeat(SAMPLES_PER_CLASS)
    for head in range(heads):
        if head:
            network.add_head()
        network.train_only(head)
        means = torch.randn(CLASSES, width, generator=generator)
        noise = torch.randn(len(labels), width, generator=generator)
        network.record_domain([((means[labels] + noise).relu(), labels)])  # pooled features are not negative either
    return network


def answering(backbone: Backbone, size: int, batch: int, calls: int, rounds: int = 5) -> Iterator[str]:
    """Twelve heads with each kind of answer against one linear head on the same backbone, on one CPU thread.

    Calls alternate; each round gives the ratio of the two medians, and the median over the rounds is reported.
    """
    backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    one = Classifier(backbone, nn.Linear(backbone.feature_dim, CLASSES)).eval()
    images = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    x = features.to_tensor(images.numpy(), CPU)
    with one_thread():
        for answer in ANSWERS:
            network = grown(backbone, backbone.feature_dim, answer=answer)
            ratios, bare = [], []
            for _ in range(rounds):
                with torch.inference_mode():
                    many_ms, one_ms = alternate(
                        functools.partial(_answer, network, x),
                        functools.partial(_answer, one, x),
                        calls,
                        max(1, calls // 10),
                        CPU,
                    )
                ratios.append(statistics.median(many_ms) / statistics.median(one_ms))
                bare.append(statistics.median(one_ms))
            yield (
                f"{HEADS} heads of {CLASSES} classes, as many domains, answer {answer}, {size} pixels, batch {batch}: "
                f"{_told(ratios)} x one head ({statistics.median(bare):.1f} ms)"
            )


def _answer(model: nn.Module, x: torch.Tensor, call: int) -> torch.Tensor:
    return model(x)


def adapting(
    backbone: Backbone, images: int = 1000, size: int = 224, rounds: int = 3, heads: int = HEADS - 1
) -> list[str]:
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
    next(features.extract(backbone, iter([pixels[: features.BATCH]]), CPU))
    ratios, passes = [], []
    for number in range(rounds):
        strategy, experience = _before_adapting(backbone.feature_dim, images, heads)
        taken = {}
        for name in ("adapt", "forward") if number % 2 else ("forward", "adapt"):
            start = time.perf_counter()
            if name == "adapt":
                adapt(strategy, experience)
            else:
                forward()
            taken[name] = time.perf_counter() - start
        if len(strategy.model.heads) != heads + 1 or strategy.model.router.domains != heads + 1:
            raise RuntimeError("the strategy did not adapt by adding a head")
        ratios.append(taken["adapt"] / taken["forward"])
        passes.append(taken["forward"])
    training = TrainingConfig()
    return [
        f"adapt_ratio: from {images:,} images of {size} pixels to a usable head beside {heads} others, "
        f"{training.epochs} epochs at batch {training.batch_size}: {_told(ratios)} x one forward pass "
        f"({statistics.median(passes):.1f} s on {threads} threads)"
    ]


def _told(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} rounds)"


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
