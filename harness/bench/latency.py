"""`lorisbench bench latency`: what many heads and the choice between them cost in a forward pass."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from lorisbench.bench.measured import Ratio, in_blocks
from lorisbench.bench.synthetic import CPU
from lorisbench.bench.timing import clock_of
from lorisbench.common.threads import one_thread
from lorisbench.model import features
from lorisbench.model.backbones import make_backbone
from lorisbench.model.models import Backbone, Classifier
from lorisbench.strategies.dnn.network import Answer, DynamicNetwork

HEADS, CLASSES = 12, 40  # the domains and categories of a stream of OpenLORIS-Object
ANSWERS: tuple[Answer, ...] = ("open-bounded", "prototype", "agreement", "confidence")
BACKBONE = "efficientnet-lite0"
BACKBONES = {BACKBONE: ANSWERS, "resnet18": ANSWERS[:1]}  # a lean one with all answers, and an ordinary one
SAMPLES_PER_CLASS = 2  # for the router's statistics, whose size does not depend on it
LIMIT = 1.03  # of the default answer, for one image
# pixels, images in a batch, calls in a block, pairs of blocks
BLOCKS = ((128, 1, 20, 31), (224, 1, 10, 31), (128, 32, 2, 15), (224, 32, 1, 15))


def measure(device: torch.device = CPU) -> Iterator[Ratio]:
    """Latency at 128 and 224 pixels, batch 1 and 32, with backbones of random weights."""
    for name, answers in BACKBONES.items():
        backbone = make_backbone(name, "none", 224)
        backbone.freeze()
        for size, batch, calls, pairs in BLOCKS:
            yield from answering(backbone, size, batch, calls, pairs, device, name, answers)


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


def answering(
    backbone: Backbone,
    size: int,
    batch: int,
    calls: int,
    pairs: int,
    device: torch.device = CPU,
    name: str = BACKBONE,
    answers: Sequence[Answer] = ANSWERS,
) -> Iterator[Ratio]:
    """Twelve heads with these answers against one linear head on the same backbone, `name`, on one CPU thread or a GPU.

    For one image also a single linear layer with as many outputs as the heads and the router of the default answer
    have together: what reading their weights takes, whatever is done with the outputs. Blocks of so many calls
    alternate, timed as `clock_of` says; the milliseconds are those of a call.
    """
    backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    one = Classifier(backbone, nn.Linear(backbone.feature_dim, CLASSES)).eval().to(device)
    images = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
    x = features.to_tensor(images.numpy(), device)

    def to_one(model: nn.Module, which: str, limit: float | None = None) -> Ratio:
        what = f"{which}, {name} at {size} pixels, batch {batch}, to the backbone with one head"
        with torch.inference_mode():
            return in_blocks(
                what, functools.partial(model, x), functools.partial(one, x), calls, limit, pairs, clock_of(device)
            )

    with one_thread():
        for answer in answers:
            many = grown(backbone, backbone.feature_dim, answer=answer).to(device)
            limited = answer == ANSWERS[0] and batch == 1
            which = f"{HEADS} heads of {CLASSES} classes and their router, answer {answer}"
            yield to_one(many, which, LIMIT if limited else None)
            if limited:
                outputs = HEADS * CLASSES + len(many.router.weight)
                wide = Classifier(backbone, nn.Linear(backbone.feature_dim, outputs)).eval().to(device)
                yield to_one(wide, f"one linear layer of as many outputs ({outputs}) and nothing else")
