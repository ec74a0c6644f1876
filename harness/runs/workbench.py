"""What all runs of a stream share: data, backbone, inputs; and what a run is built from."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.common.registry import apart
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import Store, Views
from lorisbench.engine.assembly import assemble, restored_model
from lorisbench.model import features, views
from lorisbench.model.backbones import backbone_of
from lorisbench.model.grey import GreyPixels, is_grey
from lorisbench.model.models import Backbone
from lorisbench.runs.checks import check_batch_sizes, check_features, check_precision, check_runtime
from lorisbench.suite.config import BackboneConfig
from lorisbench.suite.entries import kinds_of
from lorisbench.suite.orders import permutation
from lorisbench.suite.resolve import ResolvedConfig
from lorisbench.suite.spec import RunSpec


@dataclass
class Workbench:
    """What all runs of a stream share in one process.

    Attributes
    ----------
    x : inputs of all images in manifest order: float32 features if they are given or cached, else uint8 images
        (n, 3, s, s), also where a run trains a backbone on whose features it then learns. Where each run has a stream
        of its own (`Manifest.draw`), those of the stream as it is told; see `of_seed`.
    y, task : int64 labels and task labels.
    backbone : the pretrained backbone; a run that trains it works on a copy.
    device : where runs train. `device: auto` trains heads on cached features on the CPU even where there is a GPU:
        their steps are too small to be worth kernel launches (quickstart's LwF: 4.6 s on an H100, 1.9 s on its host).
    accelerator : where backbones run: features are extracted and latency is measured there.
    pixels : where a run's own backbone has been trained, and `x` is its features: the images as `x` was.
    anew : makes all of this again, after a run has changed some of it; `prepare` with config and manifest if None.
    """

    config: ResolvedConfig
    manifest: Manifest
    device: torch.device
    accelerator: torch.device
    backbone: Backbone
    x: torch.Tensor
    y: torch.Tensor
    task: torch.Tensor
    pixels: torch.Tensor | None = None
    anew: Callable[[], Workbench] | None = None

    @property
    def on_features(self) -> bool:
        return self.config.backbone.on_features


def device_of(name: str) -> torch.device:
    """The device of this name; `auto` is the GPU if there is one.

    Raises InputError for a name that is none of auto, cpu, cuda and cuda:N, and for a GPU that does not exist.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise InputError(f"device {name!r}: it is auto, cpu, cuda or cuda:N")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise InputError(f"device {name!r}: this machine has {torch.cuda.device_count()} GPUs")
    return torch.device(name)


def prepare(
    config: ResolvedConfig,
    manifest: Manifest,
    backbone: Backbone | None = None,
    extracted_on: torch.device | None = None,
    extract: features.Extract | None = None,
) -> Workbench:
    """Load the backbone, unless given, and the inputs (features or images, from the cache or computed now).

    manifest : one that `usable` gave for the split that fills the accuracy matrix.
    extracted_on : the device that features which another machine has sent were extracted on; it need not be here.
    extract : what extracts features that are not in the cache, by default `features.extract`.

    Raises InputError if batches of one sample cannot train the backbone, or if features are not finite.
    """
    accelerator = device_of(config.device)
    if extracted_on is not None and config.backbone.on_features and config.device == "auto":
        accelerator = extracted_on
    if accelerator.type == "cuda":
        _make_cuda_deterministic()
    settings = config.backbone
    backbone = backbone or backbone_of(settings, width=manifest.width)
    size = settings.image_size
    if settings.train == "never":
        backbone.freeze()
    check_batch_sizes(config, backbone)
    check_precision(config, accelerator)
    check_runtime(config, accelerator)
    device = torch.device("cpu") if settings.on_features and config.device == "auto" else accelerator
    # Here, where all cores are used and no other process waits for them
    for seeded in _of_seeds(config, manifest):
        if settings.same_features:  # orders differ in who comes first
            origin = seeded.origin  # what came later is never augmented
            ordered = [origin.in_order(permutation(order, origin.experiences)) for order in config.orders]
            for augment, stream in itertools.product(views.wanted(config), ordered):
                extracted = views.cached(stream, backbone, size, accelerator, augment, extract).extracted
                check_features(extracted.flatten(1), views.rows_of(stream, augment), "augmented ", config, stream)
        x = _inputs(config, seeded, backbone, accelerator, extract)
        if isinstance(x, torch.Tensor) and settings.same_features:
            check_features(x, np.arange(len(x)), "", config, manifest)
    x = x.to(device) if settings.same_features else x
    y = torch.tensor(manifest.table.label.to_numpy(dtype=np.int64))
    task = torch.tensor(manifest.task_labels())
    return Workbench(config, manifest, device, accelerator, backbone, x, y.to(x.device), task.to(x.device))


def _of_seeds(config: ResolvedConfig, manifest: Manifest) -> list[Manifest]:
    """The streams that the runs of a suite have, which differ by seed only where each run has one of its own."""
    return [manifest] if manifest.draw is None else [manifest.for_seed(seed) for seed in config.seeds]


def _inputs(
    config: ResolvedConfig, manifest: Manifest, backbone: Backbone, on: torch.device, extract: features.Extract | None
) -> torch.Tensor:
    """What runs are given of a stream, see `Workbench.x`; on the CPU. It is made now if the cache has none."""
    size = config.backbone.image_size
    if manifest.parts is not None:
        parts = [_inputs(config, part, backbone, on, extract) for part in manifest.parts]
        return torch.cat([part if isinstance(part, torch.Tensor) else part[:] for part in parts])
    if config.backbone.same_features:
        return features.inputs(manifest, backbone, size, on, extract)
    return torch.from_numpy(images.cached(manifest, size)).permute(0, 3, 1, 2)


def of_seed(bench: Workbench, seed: int) -> Workbench:
    """The same for a run of this seed, with images of its own if the stream is drawn from it; `prepare` made them."""
    manifest = bench.manifest.for_seed(seed)
    if manifest is bench.manifest:
        return bench
    x: Any = bench.x
    if isinstance(x, GreyPixels) and manifest.moves is not None:
        x = x.moved(manifest.moves)
    else:
        x = _inputs(bench.config, manifest, bench.backbone, bench.accelerator, None).to(x.device)
    return replace(bench, manifest=manifest, x=x)


def cache_files(bench: Workbench) -> list[Path]:
    """The files of the cache that `prepare` reads, and runs after it."""
    size = bench.config.backbone.image_size
    if bench.manifest.features is not None:
        return [bench.manifest.features]
    at = bench.backbone, size, bench.accelerator
    found = []
    for seeded in _of_seeds(bench.config, bench.manifest):
        if not bench.config.backbone.same_features:
            found.append(images.entry_of(seeded, size).path)
            continue
        grey = seeded.pixels is not None and is_grey(seeded, bench.backbone, size)
        found.append(seeded.pixels if grey else features.entry_of(seeded, *at).path)  # type: ignore[arg-type]
        for augment, order in itertools.product(views.wanted(bench.config), bench.config.orders):
            ordered = seeded.in_order(permutation(order, seeded.experiences))
            found.append(views.entry_of(ordered, *at, augment).path)
    return list(dict.fromkeys(found))


def views_of(bench: Workbench, spec: RunSpec) -> Views | None:
    """Augmented views as a run's training asks for them: of features if its settings say that it learns on these."""
    augment = spec.training.augment
    if augment is None:
        return None
    if spec.backbone.on_features:
        size = bench.config.backbone.image_size
        return views.cached(bench.manifest, bench.backbone, size, bench.accelerator, augment, pixels=bench.pixels)
    return views.image_views(bench.manifest, augment)


def _make_cuda_deterministic() -> None:
    """Make runs repeatable on one GPU: no algorithm is chosen by timing, none sums in an arbitrary order."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True)


def build(bench: Workbench, spec: RunSpec, store: Store) -> Any:
    """The Avalanche strategy of a run, with a fresh model, optimizer and plugin list. `store`: see `store_of`."""
    classes, experiences = len(bench.manifest.classes), bench.manifest.experiences
    return assemble(spec, bench.backbone, store, classes, experiences, bench.device)


def rebuilt(bench: Workbench, spec: RunSpec, folder: Path, attach: bool = True) -> nn.Module:
    """The trained model of a run from its folder, built anew beside its own code; see `assembly.restored_model`."""
    classes, experiences = len(bench.manifest.classes), bench.manifest.experiences
    with apart(kinds_of(spec.strategy)):
        return restored_model(
            spec, bench.backbone, store_of(bench), classes, experiences, bench.device, folder, attach=attach
        )


def store_of(bench: Workbench) -> Store:
    """The samples as strategies see them, for one run."""
    return Store(bench.x, bench.y, bench.task, labelled=bench.config.head.per_task)


def store_for(bench: Workbench, spec: RunSpec) -> Store:
    """The same, with the augmented views and in the order that the run's training asks for."""
    store = store_of(bench)
    store.views = views_of(bench, spec)
    if spec.training.stream == "instance":
        store.sequence = torch.from_numpy(bench.manifest.recorded_order())
    return store


def compile_backbone(model: Any, spec: RunSpec) -> None:
    """Let torch compile the backbone of a model that is about to be trained, if `training.compile` says so.

    Names of tensors stay as they are, and copies of the model are not compiled.
    """
    if spec.training.compile and spec.backbone.train == "always":
        model.backbone.network.compile()


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def store_without_content(settings: BackboneConfig, width: int, manifest: Manifest | None, labelled: bool) -> Store:
    """Samples as `store_of` gives them, all zeros that take no memory, for building a model; none without a manifest.

    width : features of the backbone.
    """
    one = torch.zeros(1, width) if settings.on_features else torch.zeros(1, 3, settings.image_size, settings.image_size)
    y, task = torch.zeros(2, 0, dtype=torch.int64)
    if manifest is not None:
        y = torch.tensor(manifest.table.label.to_numpy(dtype=np.int64))
        task = torch.tensor(manifest.task_labels())
    return Store(one.expand(len(y), *one.shape[1:]), y, task, labelled=labelled)
