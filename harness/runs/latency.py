"""Latency of a finished run's model, its calls alternating with those of the bare backbone with one head."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from lorisbench.common.errors import reason_of
from lorisbench.common.files import digest_of, write_json
from lorisbench.common.restored import restored
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import with_task
from lorisbench.engine.divergence import not_finite, share_text
from lorisbench.engine.prediction import prediction_cost
from lorisbench.metrics.costs import on_features
from lorisbench.model.features import BATCH, extract, to_tensor
from lorisbench.model.models import Classifier, make_head
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.workbench import Workbench, rebuilt
from lorisbench.suite.config import LatencyConfig
from lorisbench.suite.entries import settings_of
from lorisbench.suite.spec import RunSpec


def alternate(
    first: Callable[[int], Any], second: Callable[[int], Any], calls: int, warmup: int, device: torch.device
) -> tuple[list[float], list[float]]:
    """Milliseconds taken by each of `calls` calls to two functions (which get the call's number), in alternation.

    Which of the two goes first alternates from pair to pair; the device is synchronised around each call.
    """
    cuda = device.type == "cuda"
    taken: tuple[list[float], list[float]] = ([], [])
    for call in range(-warmup, calls):
        for which in (0, 1) if call % 2 else (1, 0):
            if cuda:
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            (first, second)[which](call)
            if cuda:
                torch.cuda.synchronize(device)
            if call >= 0:
                taken[which].append(1000 * (time.perf_counter() - start))
    return taken


def restore(bench: Workbench, spec: RunSpec, directory: RunDirectory) -> nn.Module:
    """The trained model of a finished run with its backbone, in eval mode. Raises OSError if it has no checkpoint."""
    return rebuilt(bench, spec, directory.path).to(bench.accelerator)


def frozen(spec: RunSpec) -> bool:
    """Whether the checkpoint of a run leaves its backbone out."""
    return spec.backbone.train == "never"


def forward_cost(bench: Workbench, calls: int = 3) -> dict[str, Any]:
    """The cost per image of a forward pass of the bare backbone, measured the way features are extracted.

    That is, in batches of `features.BATCH` decoded images, on the accelerator or on all of torch's threads. The cost
    does not depend on the weights, so one measurement serves all runs of a suite.

    Returns
    -------
    Keys of latency.json: forward_ms_per_image (median of `calls` passes after a warm-up pass), forward_images (per
    pass), forward_threads. Empty if experiences are not trained on features, or if there are no images (any more).
    """
    if not on_features(bench.config.backbone.model_dump()) or bench.manifest.features is not None:
        return {}
    try:
        block = _decoded(bench, BATCH)
    except OSError:
        return {}
    taken = []
    for call in range(-1, calls):
        start = time.perf_counter()
        for _ in extract(bench.backbone, iter([block]), bench.accelerator):  # copies to the host, so the pass is over
            pass
        if call >= 0:
            taken.append(1000 * (time.perf_counter() - start) / len(block))
    return {
        "forward_ms_per_image": round(float(np.median(taken)), 5),
        "forward_images": len(block),
        "forward_threads": torch.get_num_threads(),
    }


DISTINCT = 16  # different batches that are timed in turn
IMAGES = 64  # in all of them, unless one alone is larger
FAULTS = (OSError, ValueError, RuntimeError, AttributeError, SafetensorError)
"""What restoring a model, or calling it, raises if the model cannot be measured."""


OWN_CODE = ("torch.", "torchvision.", "timm.", "lorisbench.model.")
"""Packages whose modules do what their class and settings (`extra_repr`) say, whatever strategy trained them."""


def architecture_of(model: nn.Module, spec: RunSpec) -> str:
    """16 hex digits that are the same for models that take the same time, whatever was learnt.

    They stand for the classes and settings of a model's modules, the names, shapes, types and layouts of its tensors,
    and the settings of backbone and head; and for the settings of the strategy unless the model is a plain classifier,
    whose layers are all of torch, of the backbone's package or of the harness, without hooks and with their class's own
    `forward`. The number of classes is among the shapes.
    """
    modules = [
        (name, f"{type(each).__module__}.{type(each).__qualname__}", each.extra_repr())
        for name, each in model.named_modules()
    ]
    named = itertools.chain(model.named_parameters(), model.named_buffers())  # those that are worked out, too
    tensors = [(name, list(tensor.shape), str(tensor.dtype), str(tensor.layout)) for name, tensor in named]
    plain = type(model) is Classifier and all(
        kind.startswith(OWN_CODE) and not (each._forward_hooks or each._forward_pre_hooks or "forward" in vars(each))
        for each, (_, kind, _) in zip(model.modules(), modules, strict=True)
    )
    settings = [spec.backbone.model_dump(mode="json"), spec.head.model_dump(mode="json")]
    settings += [] if plain else [settings_of(spec.strategy)]
    return digest_of([modules, tensors, *settings])[:16]


def timed(
    model: nn.Module, bare: nn.Module, inputs: Mapping[int, Sequence[torch.Tensor]], per_task: bool,
    settings: LatencyConfig, device: torch.device,
) -> dict[str, Any]:  # fmt: skip
    """Timed forward passes of a model that is on `device`, from uint8 images, or given features, to class scores.

    bare : what it is compared with (`bare_of`). inputs : batches by their size (`inputs_of`), uint8 (size, 3, s, s), on
        the device, or float32 (size, width) where features were given, so that heads alone are timed.
    per_task : whether images carry a task label; task 0 is timed, as the layers of the heads are alike.

    Returns
    -------
    Keys of latency.json: calls, batch, ms, bare_ms of the smallest size; batches, a list with these of each larger one;
    threads, device, image_size (or features); parameters, macs, inference_mb (`prediction_cost`); load, the processes
    that ran or waited on this machine, on average over the minute before, and its cores, where the system tells them.
    Raises one of `FAULTS` if the model cannot be called, or if its outputs are not finite.
    """
    load = load_before()
    bare = bare.to(device).eval()
    torch.set_num_threads(settings.threads)
    smallest, *larger = sorted(inputs)
    image = inputs[smallest][0][:1]
    cost = prediction_cost(model, _labelled([image], per_task)[0])
    found = {size: _calls(model, bare, inputs[size], per_task, settings, device) for size in (smallest, *larger)}
    return {
        **found[smallest],
        "batches": [found[size] for size in larger],
        "threads": settings.threads,
        "device": str(device),
        "image_size" if image.ndim == 4 else "features": image.shape[-1],
        **cost,
        **load,
    }


def load_before() -> dict[str, Any]:
    """Keys of latency.json: how loaded this machine was over the last minute, and its cores; none where it is unknown.

    Windows does not tell it.
    """
    try:
        return {"load": round(os.getloadavg()[0], 2), "cores": os.cpu_count() or 0}
    except (AttributeError, OSError):
        return {}


def _calls(
    model: nn.Module, bare: nn.Module, images: Sequence[torch.Tensor], per_task: bool, settings: LatencyConfig,
    device: torch.device,
) -> dict[str, Any]:  # fmt: skip
    """The calls of both with batches of one size: batch, calls, ms, bare_ms."""
    size, inputs = len(images[0]), _labelled(images, per_task)
    calls = settings.calls_of(size)
    answers: list[torch.Tensor] = []
    with torch.inference_mode():
        ms, bare_ms = alternate(
            lambda call: answers.append(model(inputs[call % len(inputs)])),
            lambda call: bare(images[call % len(images)]),
            calls,
            settings.warmup_of(size),
            device,
        )
    _check_finite(answers)
    return {
        "batch": size,
        "calls": calls,
        "ms": [round(value, 4) for value in ms],
        "bare_ms": [round(value, 4) for value in bare_ms],
    }


def bare_of(model: nn.Module, width: int, classes: int) -> nn.Module:
    """The backbone of a model, of so many features, with one linear head."""
    backbone: Any = model.get_submodule("backbone")
    return Classifier(backbone, make_head(width, classes))


def check_answers(model: nn.Module, inputs: Mapping[int, Sequence[torch.Tensor]], per_task: bool) -> None:
    """Raise one of `FAULTS` if a model does not answer the first batch, as for `timed`, or not with finite numbers."""
    with torch.inference_mode():
        _check_finite([model(_labelled(inputs[min(inputs)][:1], per_task)[0])])


def inputs_of(settings: LatencyConfig, drawn: Callable[[int], torch.Tensor]) -> dict[int, list[torch.Tensor]]:
    """Different batches of each size that is to be timed; `drawn` gives so many samples, see `samples`."""
    counts = {size: max(1, min(DISTINCT, IMAGES // size)) for size in settings.batch}
    return {size: list(drawn(count * size).split(size)) for size, count in counts.items()}


class Latencies:
    """The latency of a stream's runs: one measurement for each architecture, one set of images for all."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._known: dict[str, dict[str, Any]] = {}

    @cached_property
    def _forward(self) -> dict[str, Any]:
        return forward_cost(self.bench)

    @cached_property
    def _inputs(self) -> dict[int, list[torch.Tensor]]:
        config, manifest, place = self.bench.config, self.bench.manifest, self.bench.accelerator
        at = config.evaluation.split, config.backbone.image_size
        return inputs_of(config.latency, lambda count: samples(manifest, *at, count, place))

    @restored()
    def measure(self, spec: RunSpec, directory: RunDirectory) -> dict[str, Any]:
        """Write and return a finished run's latency.json: that of its architecture, measured now if it was not before.

        The images are spread evenly over the evaluated split and decoded beforehand. If the model cannot be restored,
        or its outputs are not finite, the file holds `{"error": reason}`.
        """
        bench, per_task, forward = self.bench, self.bench.config.head.per_task, self._forward
        try:
            model = restore(bench, spec, directory)
            architecture = architecture_of(model, spec)
            if architecture in self._known:
                check_answers(model, self._inputs, per_task)
            else:
                bare = bare_of(model, bench.backbone.feature_dim, len(bench.manifest.classes))
                times = timed(model, bare, self._inputs, per_task, bench.config.latency, bench.accelerator)
                told = {"architecture": architecture, "measured_on": spec.run_id}
                self._known[architecture] = {**times, **forward, **told}
            content = self._known[architecture]
        except FAULTS as error:
            content = {"error": reason_of(error)}
        write_json(directory.path / "latency.json", content)
        return content


def _labelled(images: Sequence[torch.Tensor], per_task: bool) -> Sequence[torch.Tensor]:
    return [with_task(x, torch.zeros(len(x))) for x in images] if per_task else images


def _check_finite(answers: Sequence[torch.Tensor]) -> None:
    if (bad := torch.cat([not_finite(answer) for answer in answers])).any():
        raise ValueError(f"{share_text(bad)}: how long they take means nothing")


def _decoded(bench: Workbench, count: int) -> np.ndarray:
    config = bench.config
    return decoded(bench.manifest, config.evaluation.split, config.backbone.image_size, count)


def samples(manifest: Manifest, split: str, size: int, count: int, device: torch.device) -> torch.Tensor:
    """What a model is given, on the device: uint8 (count, 3, size, size), channels last, or features (count, width)."""
    if manifest.features is None:
        return to_tensor(decoded(manifest, split, size, count), device)
    return torch.from_numpy(manifest.given_features()[_spread(manifest, split, count)]).to(device)


def decoded(manifest: Manifest, split: str, size: int, count: int) -> np.ndarray:
    """uint8 (count, size, size, 3), spread evenly over a split; images of a small split repeat."""
    sources = manifest.sources()
    return np.stack([images.decode(sources[row], size) for row in _spread(manifest, split, count)])


def _spread(manifest: Manifest, split: str, count: int) -> np.ndarray:
    rows = np.flatnonzero(manifest.table.split == split)
    return np.resize(rows[np.linspace(0, len(rows) - 1, count).astype(int)], count)
