"""`backbone.train: first`: the backbone is trained on the first experience, once for all runs that train the same.

What is trained there is no strategy's: fine-tuning of the pretrained backbone with a head of its own, which is thrown
away, by the run's recipe for the first experience. The frozen backbone lies in the cache, named by all that it depends
on, and every strategy then learns on its features, from the first experience on, as it does on a pretrained one's.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lorisbench.common.cache import cache_root, cached_file, in_turn
from lorisbench.common.console import say, track
from lorisbench.common.environment import cores, versions
from lorisbench.common.files import digest_of
from lorisbench.common.timings import remember
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import make_stream
from lorisbench.engine.assembly import context_of, own_backbone, seed_everything
from lorisbench.engine.divergence import Diverged, check_weights
from lorisbench.engine.evaluation import learn
from lorisbench.engine.own_plugins import HarnessPlugin
from lorisbench.engine.stopping import StopRequest
from lorisbench.model import features
from lorisbench.model.augment import AUGMENTATION
from lorisbench.model.checkpoint import load_backbone, storable
from lorisbench.model.models import Backbone, megabytes
from lorisbench.runs.checks import not_finite_rows
from lorisbench.runs.memory import PeakMemory
from lorisbench.runs.workbench import Workbench, compile_backbone, store_for, synchronise
from lorisbench.suite.spec import RunSpec

KIND = "backbones"  # its part of the cache
_ABOUT = "about"  # in a file's metadata, what is known of it


class Entry(NamedTuple):
    """A trained backbone in the cache: its file, and what the time for training it depends on (`timings`)."""

    path: Path
    rate: Any


@dataclass(frozen=True)
class TrainedBackbone:
    """A frozen backbone, and what training it cost, by the keys that a run's journal has."""

    backbone: Backbone
    cost: dict[str, Any]


def entry_of(spec: RunSpec, manifest: Manifest, pretrained: Backbone, device: torch.device) -> Entry:
    """The file in the cache: named by the images, the recipe for the first experience, and where it is trained.

    manifest : the run's own stream, in its order.
    """
    unused: Any = {"later": True, "reset_optimizer": True, "augment": {"experiences"}}  # in the first experience
    key = {
        "content": manifest.content_hash, "experience": manifest.order[0] if manifest.order else 0,
        "preprocessing": images.PREPROCESSING, "augmentation": AUGMENTATION, "size": spec.backbone.image_size,
        "weights": own_backbone(_plain(spec).backbone, pretrained, spec.seed).digest(),
        "head": spec.head.model_dump(mode="json"), "training": spec.training.model_dump(mode="json", exclude=unused),
        "seed": spec.seed, "device": device.type, **versions(("lorisbench", "torch")),
    }  # fmt: skip
    alike = {name: value for name, value in key.items() if name not in ("seed", "experience")}
    return Entry(cache_root() / KIND / f"{digest_of(key)}.safetensors", ["a trained backbone", alike])


def with_backbone(bench: Workbench, spec: RunSpec, stop: Callable[[], bool]) -> tuple[Workbench, dict[str, Any]]:
    """What a run stands on once the backbone has been trained on the first experience: its features, if they are kept.

    Also returns what that cost, by the keys of the journal; nothing where a finished run goes on, which has told it.

    bench : with the run's own stream in its order, and images. stop : asked after each training step, and while another
        process trains the backbone; once it says so, Stopped is raised.

    Raises Diverged if the backbone's weights or features are not finite.
    """
    if bench.manifest.parts is not None:
        trained = TrainedBackbone(_of_finished(bench), {})
    else:
        entry = entry_of(spec, bench.manifest, bench.backbone, bench.accelerator)
        read = partial(_read, pretrained=bench.backbone)
        make = partial(_trained_in_turn, bench, spec, entry, stop)
        weights = round(1e6 * megabytes(bench.backbone))
        trained = cached_file(entry.path, weights, f"{spec.told}: training the backbone", read, make, stop)
    size = spec.backbone.image_size
    if not bench.on_features:
        return replace(bench, backbone=trained.backbone), trained.cost
    extracted = features.of_pixels(bench.manifest, trained.backbone, size, bench.accelerator, bench.x)
    bad = not_finite_rows(extracted)
    if len(bad):
        share = f"{100 * len(bad) / len(extracted):.3g} %"
        raise Diverged(f"the features of {share} of the images are not finite after the backbone was trained")
    x = extracted.to(bench.device)
    own = replace(
        bench, backbone=trained.backbone, pixels=bench.x, x=x, y=bench.y.to(x.device), task=bench.task.to(x.device)
    )
    return own, trained.cost


def _plain(spec: RunSpec) -> RunSpec:
    """The settings of the run that trains the backbone, and nothing but the backbone and a head."""
    return replace(spec, backbone=spec.backbone.model_copy(update={"train": "always"}))


def _of_finished(bench: Workbench) -> Backbone:
    """The backbone of the finished run that goes on."""
    backbone = bench.backbone.copied()
    load_backbone(backbone, Path(bench.config.benchmark.run))
    backbone.freeze()
    return backbone


def _trained_in_turn(bench: Workbench, spec: RunSpec, entry: Entry, stop: Callable[[], bool]) -> bytes:
    """Train the backbone while no other process on this machine trains one on the same cores or GPU.

    Side by side, those of two seeds would each take many times as long, as their threads wait for one another, and what
    it took would be told wrongly. Processes of one thread keep out of each other's way.
    """
    device, threads = bench.accelerator, torch.get_num_threads()
    if device.type == "cpu":
        if threads == 1:
            return _trained(bench, spec, entry, stop)
        place = f"cores {os.getpid() % max(1, (cores() or 1) // threads)}"  # as many at a time as have room
    else:
        place = f"{device} of {os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}".replace("/", "-")
    with in_turn(f"{KIND}/{place}", f"{spec.told}: training the backbone", "training one", stop):
        return _trained(bench, spec, entry, stop)


def _trained(bench: Workbench, spec: RunSpec, entry: Entry, stop: Callable[[], bool]) -> bytes:
    """Train the backbone; the file with its weights."""
    from safetensors.torch import save

    say(f"{spec.told}: the backbone is trained on the first experience, once for all runs with this recipe")
    plain, device = _plain(spec), bench.accelerator
    store = store_for(bench, plain)
    context = context_of(plain, bench.backbone, store, len(bench.manifest.classes), bench.manifest.experiences, device)
    compile_backbone(context.model, plain)
    engine = context.engine(context.model, [])
    memory, start = PeakMemory(device), time.perf_counter()
    with track(f"{spec.told}: epochs of the backbone", spec.training.epochs, spec.training.budget is None) as advance:
        engine.plugins += [_Epochs(advance), StopRequest(stop)]
        seed_everything(spec.seed, 0)
        meter = learn(engine, make_stream(bench.manifest, store), 0)
        synchronise(device)
    check_weights(engine)
    told = meter.journal()
    cost = {key: told[key] for key in ("train_flops", "train_samples", "train_steps")}
    cost |= {"train_seconds": time.perf_counter() - start, "peak_memory_mb": memory.megabytes()}
    remember(entry.rate, seconds=cost["train_seconds"])
    backbone: Any = context.model.backbone
    tensors = {name: storable(value) for name, value in backbone.state_dict().items()}
    return save(tensors, {_ABOUT: json.dumps({"digest": backbone.digest(), "cost": cost})})


def _read(path: Path, pretrained: Backbone) -> TrainedBackbone | None:
    """The backbone in a file of the cache; None if there is none, or what is there is damaged."""
    from safetensors import SafetensorError, safe_open

    backbone = pretrained.copied()
    try:
        with safe_open(path, "pt") as stored:
            about = json.loads(stored.metadata()[_ABOUT])
            backbone.load_state_dict({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118 - no mapping
        if backbone.digest() != about["digest"]:
            return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None
    backbone.freeze()
    return TrainedBackbone(backbone, about["cost"])


class _Epochs(HarnessPlugin):
    """Tells of each epoch."""

    passing = ("advance",)

    def __init__(self, advance: Callable[[int], None]) -> None:
        super().__init__()
        self.advance = advance

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.advance(1)
