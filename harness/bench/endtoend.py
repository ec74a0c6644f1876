"""`lorisbench bench endtoend`: training a backbone in the engine beside a loop written by hand over the same images.

The loop takes the same steps over the same uint8 images in memory and does nothing else: no plugins, no counting of
operations. Its images lie in memory as its network is faster with; what torch's default layout would take is told
besides. Where images are augmented, it applies torchvision's transforms to each image that is drawn for it. Times are
of one thread, in CPU seconds, or with a GPU seconds until that is done: images and views of them then lie in the CPU's
memory, and batches are copied, while the GPU works, by either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

from lorisbench.bench.measured import Finding, Ratio, paired
from lorisbench.bench.synthetic import CPU, one_experience
from lorisbench.bench.timing import clock_of
from lorisbench.common.threads import one_thread
from lorisbench.data.stream import Store
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.engine.meter import Meter
from lorisbench.engine.own_plugins import Recorder
from lorisbench.model.backbones import make_backbone
from lorisbench.model.models import Backbone, Classifier
from lorisbench.model.views import ImageViews
from lorisbench.suite.training import AugmentConfig, TrainingConfig

PAIRS = 11
MORE = 4  # times as many steps on a GPU: operations are counted in the 2nd, 4th, 8th …, which takes longer there
BATCH, STEPS, EPOCHS, CLASSES = 32, 8, 2, 16
LIMIT = 1.03

Transform = Callable[[torch.Tensor], torch.Tensor]


def measure(device: torch.device = CPU, pairs: int = PAIRS, steps: int = STEPS) -> Iterator[Finding]:
    """Two networks, one of them with augmentation, and the second also beside a loop in torch's default layout."""
    steps *= MORE if device.type == "cuda" else 1
    with one_thread():
        yield training("resnet18", 64, None, False, device, pairs, steps, LIMIT)
        for channels_last in (True, False):
            limit = LIMIT if channels_last else None
            yield training("efficientnet-lite0", 128, AugmentConfig(), channels_last, device, pairs, steps, limit)


def training(
    name: str, size: int, augment: AugmentConfig | None, channels_last: bool, device: torch.device, pairs: int,
    steps: int, limit: float | None,
) -> Ratio:  # fmt: skip
    """Some epochs by the engine and by hand.

    name, size : of the backbone, and of its images. augment : as in `training.augment`. channels_last : how images and
    weights of the loop by hand lie in memory.
    """
    samples = BATCH * steps
    shape = (samples + 2, size, size, 3)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    store = Store(pixels.permute(0, 3, 1, 2), torch.arange(samples + 2) % CLASSES)
    if augment is not None:
        store.views = ImageViews(augment, samples + 2, np.arange(samples))
    experience = one_experience(store, samples)
    values = {"epochs": EPOCHS, "batch_size": BATCH, "lr": 1e-4, "augment": augment}
    settings = TrainingConfig.model_validate(values)

    backbone = make_backbone(name, "none", size)
    model = Classifier(backbone, nn.Linear(backbone.feature_dim, CLASSES)).to(device)
    optimizer = make_optimizer(model, settings)
    engine = Engine(
        model=model, optimizer=optimizer, plugins=[Recorder()], store=store, training=settings, device=device, seed=0
    )
    # the views of a run's first experience, in each that is timed
    engine.augment = None if augment is None else augment.model_copy(update={"experiences": "all"})

    def by_engine() -> None:
        with Meter(engine):  # as every run does
            engine.train(experience)

    by_hand = _by_hand(name, size, store, samples, settings, channels_last, device)
    layout = "" if channels_last or augment is None else " in torch's default layout"
    what = f"training {name} at {size} px{', augmented' if augment else ''}, batch {BATCH}, to a loop by hand{layout}"
    return paired(what, by_engine, by_hand, limit, pairs, clock=clock_of(device))


def _by_hand(
    name: str, size: int, store: Store, samples: int, settings: TrainingConfig, channels_last: bool,
    device: torch.device,
) -> Callable[[], None]:  # fmt: skip
    layout = torch.channels_last if channels_last else torch.contiguous_format
    backbone: Backbone = make_backbone(name, "none", size).to(device)
    network, mean, std = backbone.network.to(memory_format=layout), backbone.mean, backbone.std  # type: ignore[call-overload]
    head = nn.Linear(backbone.feature_dim, CLASSES).to(device)
    optimizer = make_optimizer(nn.ModuleList([network, head]), settings)
    images = store.x.contiguous(memory_format=layout)
    transform = None if settings.augment is None else _transform(settings.augment, size)
    views = 0 if settings.augment is None else settings.augment.views

    def to_device(part: torch.Tensor) -> torch.Tensor:
        return part.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else part

    def loop() -> None:
        for _ in range(settings.epochs):
            for rows in torch.randperm(samples).split(BATCH):
                x = to_device(images[rows])
                if transform is not None:
                    x = torch.stack([transform(image) if torch.randint(views + 1, ()) else image for image in x])
                x = (x.contiguous(memory_format=layout).float() - mean) / std
                optimizer.zero_grad()
                F.cross_entropy(head(network(x)), to_device(store.y[rows])).backward()
                optimizer.step()

    return loop


def _transform(settings: AugmentConfig, size: int) -> Transform:
    """torchvision's transforms of one image, uint8 (3, size, size), of the kinds and strengths of the settings."""
    colours = v2.ColorJitter(settings.brightness, settings.contrast, settings.saturation)
    parts = [v2.RandomResizedCrop(size, scale=(settings.crop, 1.0)), v2.RandomHorizontalFlip(), colours]
    return v2.Compose(parts)
