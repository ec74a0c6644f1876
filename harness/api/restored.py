"""A run's model out of its files, and what it makes of images that are on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lorisbench.common.console import hide_warnings
from lorisbench.common.errors import InputError
from lorisbench.common.restored import restored
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.streams import benchmarks_of

if TYPE_CHECKING:
    from torch import nn

    from lorisbench.api.results import Results
    from lorisbench.data.manifest import Manifest
    from lorisbench.export.trained import TrainedRun

BATCH = 64
Numbers = ArrayLike
Given = ArrayLike | Sequence[str | Path]


def read(folder: Path, plugins: Sequence[str | Path]) -> TrainedRun:
    """A finished run as its folder describes it. Raises InputError, in one line, if it is none."""
    from lorisbench.export.trained import read_run

    return read_run(folder, [Path(plugin) for plugin in plugins])


@restored()
def model_of(run: TrainedRun) -> nn.Module:
    """See `Results.model`."""
    from lorisbench.export.trained import restore_run

    hide_warnings()  # until the decorator puts the filters back
    return restore_run(run)


def features_of(results: Results, run: TrainedRun, images: Given | None) -> np.ndarray:
    """See `Results.features`."""
    import torch

    model: Any = model_of(run)
    name = f"{run.spec.run_id}: {type(model).__name__}"
    if not callable(getattr(model, "features", None)):
        raise InputError(f"{name} has no `features`: its model does not say what its last layers see")
    found = []
    with torch.inference_mode():
        for block in _inputs(results, run, images):
            x = torch.from_numpy(np.ascontiguousarray(block))
            seen = model.features(x.permute(0, 3, 1, 2) if x.ndim == 4 else x)
            if not isinstance(seen, torch.Tensor) or len(seen) != len(block):
                raise InputError(f"{name}.features gave no features of each image")
            found.append(seen.float().flatten(1).numpy())
    return np.concatenate(found)


def pictures(results: Results, images: Numbers, size: int) -> np.ndarray:
    """See `Results.pictures`."""
    from lorisbench.data.images import batches

    manifest = _manifest(results)
    rows = _numbers(images, len(manifest.table))
    return np.concatenate([np.empty((0, size, size, 3), np.uint8), *batches(manifest.sources_at(rows), size, BATCH)])


def _inputs(results: Results, run: TrainedRun, images: Given | None) -> Iterator[np.ndarray]:
    """What a run's model takes, in batches: uint8 (batch, size, size, 3), or features float32 (batch, width)."""
    from lorisbench.data.images import batches

    size, given = run.spec.backbone.image_size, None if images is None else np.asarray(images)
    if given is not None and (given.dtype.kind in "US" or given.dtype == object):
        return batches([str(file) for file in given.ravel()], size, BATCH)
    if given is not None and given.ndim == 4 and given.dtype == np.uint8 and given.shape[3] in (1, 3):
        return batches(list(given), size, BATCH)
    if given is not None and given.ndim == 2 and given.dtype.kind == "f" and given.shape[1] == run.width:
        return _cut(given.astype(np.float32))
    if given is not None and given.ndim != 1:
        raise InputError(
            f"images: numbers, names of files or pixels, uint8 (images, height, width, 3), were expected, not "
            f"{given.dtype} {given.shape}"
        )
    manifest = _manifest(results).for_seed(run.spec.seed)
    if given is None:
        stored = RunDirectory(run.directory.path).answers(with_scores=False)
        if stored.image is None:
            raise InputError(f"{run.directory.path}: does not say which images it was tested on; give images=")
        given = stored.image
    rows = _numbers(given, len(manifest.table))
    if not len(rows):
        return iter([np.empty((0, run.width), np.float32) if run.width else np.empty((0, size, size, 3), np.uint8)])
    if manifest.features is not None:
        return _cut(manifest.given_features()[rows])
    kept = _kept(run, manifest)
    return batches(manifest.sources_at(rows), size, BATCH) if kept is None else _cut(kept[rows])


def _cut(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + 1024] for start in range(0, len(rows), 1024))


def _kept(run: TrainedRun, manifest: Manifest) -> np.ndarray | None:
    """The features of a frozen backbone for all images of a manifest, if the cache has them."""
    import torch

    from lorisbench.common.cache import load_array
    from lorisbench.model.backbones import backbone_of
    from lorisbench.model.features import entry_of

    if not run.spec.backbone.same_features:
        return None
    entry = entry_of(manifest, backbone_of(run.spec.backbone), run.spec.backbone.image_size, torch.device("cpu"))
    return load_array(entry.path) if entry.there() else None


def _manifest(results: Results) -> Manifest:
    """The manifest of the only stream. Raises InputError unless the very images of the output are on this machine."""
    from lorisbench.suite.here import manifest_here

    stored = results._stored
    stream = str(stored.runs["stream"].iloc[0])
    (settings,) = benchmarks_of(stored.suite).values() or [None]
    if settings is None:
        raise InputError(f"{results.out / 'suite.yaml'}: does not say what stream {stream!r} reads")
    split = (stored.suite.get("evaluation") or {}).get("split", "test")
    try:
        found = manifest_here(settings, split)
    except InputError as error:
        raise InputError(f"stream {stream!r} of {results.out}: {error}") from error
    known = stored.data.get("content_hash")
    if found.content_hash != known:
        raise InputError(
            f"stream {stream!r} of {results.out}: its images are others now (content hash {str(known)[:12]}, here "
            f"{found.content_hash[:12]})"
        )
    return found


def _numbers(given: Any, images: int) -> np.ndarray:
    """Numbers of images, int64. Raises InputError for any that there is not."""
    rows = np.asarray(given)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise InputError(f"images: a list of their numbers was expected, not {rows.dtype} {rows.shape}")
    if rows.size and not 0 <= rows.min() <= rows.max() < images:
        wrong = rows.min() if rows.min() < 0 else rows.max()
        raise InputError(f"images: there is no image {wrong}; the data set has the numbers 0 to {images - 1}")
    return rows.astype(np.int64)
