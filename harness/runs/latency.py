"""Latency of a finished run's model, its calls alternating with those of the bare backbone with one head."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from lorisbench.common.files import write_json
from lorisbench.common.registry import apart
from lorisbench.common.restored import restored
from lorisbench.data import images
from lorisbench.data.stream import with_task
from lorisbench.engine.divergence import not_finite, share_text
from lorisbench.engine.strategy import kinds_of
from lorisbench.metrics.costs import on_features
from lorisbench.model.checkpoint import load_checkpoint
from lorisbench.model.features import BATCH, extract, to_tensor
from lorisbench.model.models import Classifier, make_head
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.one_run import Workbench, build, store_of
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
    frozen = bench.config.backbone.train == "never"
    with apart(kinds_of(spec.strategy)):
        model = build(bench, spec, store_of(bench)).model
    return load_checkpoint(model, directory.path, bench.backbone, frozen).to(bench.accelerator)


def forward_cost(bench: Workbench, calls: int = 3) -> dict[str, Any]:
    """The cost per image of a forward pass of the bare backbone, measured the way features are extracted.

    That is, in batches of `features.BATCH` decoded images, on the accelerator or on all of torch's threads. The cost
    does not depend on the weights, so one measurement serves all runs of a suite.

    Returns
    -------
    Keys of latency.json: forward_ms_per_image (median of `calls` passes after a warm-up pass), forward_images (per
    pass), forward_threads. Empty if experiences are not trained on features, or if the images are gone.
    """
    if not on_features(bench.config.backbone.model_dump()):
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


@restored()
def measure(bench: Workbench, spec: RunSpec, directory: RunDirectory, forward: Mapping[str, Any]) -> None:
    """Write a finished run's latency.json: timed forward passes from uint8 images to class scores.

    The images are spread evenly over the evaluated split and decoded beforehand; a head per task is timed on task 0, as
    its layers are alike. `forward` is the result of `forward_cost`. If the model cannot be restored, or its outputs are
    not finite, the file holds `{"error": reason}`.
    """
    settings = bench.config.latency
    try:
        model = restore(bench, spec, directory)
        bare = Classifier(
            model.get_submodule("backbone"), make_head(bench.backbone.feature_dim, len(bench.manifest.classes))
        )
        bare = bare.to(bench.accelerator).eval()
        images = _inputs(bench, settings.batch)
        inputs = [with_task(x, torch.zeros(len(x))) for x in images] if bench.config.head.per_task else images
        torch.set_num_threads(settings.threads)
        answers: list[torch.Tensor] = []
        with torch.inference_mode():
            ms, bare_ms = alternate(
                lambda call: answers.append(model(inputs[call % len(inputs)])),
                lambda call: bare(images[call % len(images)]),
                settings.calls,
                settings.warmup,
                bench.accelerator,
            )
        if (bad := torch.cat([not_finite(answer) for answer in answers])).any():
            raise ValueError(f"{share_text(bad)}: how long they take means nothing")
    except (OSError, ValueError, RuntimeError, AttributeError, SafetensorError) as error:
        write_json(directory.path / "latency.json", {"error": f"{type(error).__name__}: {error}"})
        return
    write_json(
        directory.path / "latency.json",
        {
            "calls": settings.calls,
            "batch": settings.batch,
            "threads": settings.threads,
            "device": str(bench.accelerator),
            "image_size": bench.config.backbone.image_size,
            "ms": [round(value, 4) for value in ms],
            "bare_ms": [round(value, 4) for value in bare_ms],
            **forward,
        },
    )


def _inputs(bench: Workbench, batch: int, distinct: int = 16) -> list[torch.Tensor]:
    """`distinct` batches of decoded images, uint8 (batch, 3, size, size), channels last, on the device."""
    return list(to_tensor(_decoded(bench, distinct * batch), bench.accelerator).split(batch))


def _decoded(bench: Workbench, count: int) -> np.ndarray:
    """uint8 (count, size, size, 3), spread evenly over the evaluated split; images of a small split repeat."""
    rows = np.flatnonzero(bench.manifest.table.split == bench.config.evaluation.split)
    chosen = np.resize(rows[np.linspace(0, len(rows) - 1, count).astype(int)], count)
    sources = bench.manifest.sources()
    size = bench.config.backbone.image_size
    return np.stack([images.decode(sources[row], size) for row in chosen])
