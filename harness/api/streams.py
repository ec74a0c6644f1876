"""`lorisbench.stream`: the harness's data as an Avalanche benchmark, for a script that needs nothing else from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lorisbench.common.errors import InputError
from lorisbench.data import images
from lorisbench.data.benchmark import Benchmark
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import Store, make_stream
from lorisbench.data.usable import checked
from lorisbench.model import features
from lorisbench.model.backbones import backbone_of
from lorisbench.runs.workbench import device_of
from lorisbench.suite.benchmarks import resolve_benchmark, settings_of_benchmark
from lorisbench.suite.config import BackboneConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.streams import written_out


class FloatStore(Store):
    """Images as plain Avalanche scripts expect them: float32 from 0 to 1."""

    def inputs(self, x: torch.Tensor, rows: torch.Tensor | slice) -> torch.Tensor:
        return super().inputs(x, rows).float() / 255


def stream(
    benchmark: str | Mapping[str, Any] | Benchmark | Manifest,
    *,
    image_size: int = 128,
    backbone: str | Mapping[str, Any] | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> Any:
    """An Avalanche benchmark with `train_stream`, `validation_stream` and `test_stream`, with one experience per task.

    Every experience has its own test set, so that the whole accuracy matrix can be measured. Inputs are images,
    float32 (3, image_size, image_size) from 0 to 1; with `backbone`, features of that frozen network, float32
    (feature_dim,), extracted once and kept in the cache; a benchmark of features gives these as they are. Targets are
    class numbers, task labels those of the stream (0 if it has none). The returned object's `manifest` holds class
    names, experience names and where the data come from.

    Parameters
    ----------
    benchmark : a name, its settings, a `Benchmark` or a `Manifest`.
    image_size : width and height to which images are scaled and cropped, in pixels.
    backbone : a name such as `"efficientnet-lite0"`, or settings as in a suite (`{"name": ..., "weights": ...}`).
    data_root : folder of the real data set, in place of the benchmark's.

    Raises
    ------
    InputError : in one line, for an unknown name or key, or data that cannot be read.
    """
    if isinstance(benchmark, Manifest):
        manifest = checked(benchmark, "test")
    else:
        manifest = _component(benchmark, data_root).usable()
    if manifest.features is not None and backbone is not None:
        raise InputError(f"backbone: {manifest.name} holds features already, and no images; leave it out")
    labels = torch.tensor(manifest.table.label.to_numpy())
    tasks = torch.tensor(manifest.task_labels())
    if manifest.features is not None:
        store: Store = Store(torch.from_numpy(manifest.given_features()), labels, tasks)
    elif backbone is None:
        pixels = torch.from_numpy(images.cached(manifest, image_size)).permute(0, 3, 1, 2)
        store = FloatStore(pixels, labels, tasks)
    else:
        given = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
        settings = parse(BackboneConfig, {"image_size": image_size, **given}, "backbone")
        if not settings.same_features:
            raise InputError("backbone: only a frozen one provides features (train: never, cache: true)")
        network = backbone_of(settings)
        network.freeze()
        store = Store(features.inputs(manifest, network, settings.image_size, device_of("auto")), labels, tasks)
    made = make_stream(manifest, store)
    made.manifest = manifest
    return made


def _component(benchmark: str | Mapping[str, Any] | Benchmark, data_root: str | os.PathLike[str] | None) -> Benchmark:
    if isinstance(benchmark, Benchmark):
        settings = settings_of_benchmark(benchmark)
    else:
        settings = {"name": benchmark} if isinstance(benchmark, str) else dict(benchmark)
    made: Benchmark = resolve_benchmark(written_out(settings), None if data_root is None else Path(data_root))
    return made
