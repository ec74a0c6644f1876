"""Features of a frozen backbone: extracted once, kept on disk by content, memory-mapped, shared by all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from lorisbench.common.cache import Cached, cache_root
from lorisbench.common.files import digest_of
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.model.grey import grey_pixels
from lorisbench.model.models import Backbone

BATCH = 64
Extract = Callable[[Backbone, Iterator[np.ndarray], torch.device], Iterator[np.ndarray]]


def to_tensor(block: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (n, height, width, 3) to a uint8 tensor (n, 3, height, width), channels last in memory."""
    return torch.from_numpy(block).to(device).permute(0, 3, 1, 2)


@torch.inference_mode()
def extract(backbone: Backbone, blocks: Iterator[np.ndarray], device: torch.device) -> Iterator[np.ndarray]:
    """Features, float32 (n, feature_dim), of each block of images, uint8 (n, size, size, 3). Eval mode throughout."""
    was_training = backbone.network.training
    backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    backbone.network.eval()
    try:
        for block in blocks:
            yield backbone(to_tensor(block, device)).float().cpu().numpy()
    finally:
        backbone.network.train(was_training)


def entry_of(manifest: Manifest, backbone: Backbone, size: int, device: torch.device) -> Cached:
    """The features in the cache: named by the images' content, the preprocessing, the weights and the dtype."""
    weights = backbone.digest()
    key = digest_of(
        {
            "content": manifest.content_hash,
            "preprocessing": images.PREPROCESSING,
            "size": size,
            "weights": weights,
            "dtype": "float32",
            "device": device.type,  # the same images on another kind of device differ in the last bits
        }
    )
    path, shape = cache_root() / "features" / f"{key}.npy", (len(manifest.table), backbone.feature_dim)
    rate = f"features of {weights}, size {size}, {device.type}"
    return Cached(path, "<f4", shape, "extracting features", rate)


def inputs(
    manifest: Manifest, backbone: Backbone, size: int, device: torch.device, by: Extract | None = None
) -> torch.Tensor:
    """What heads are given for every image of a manifest: `cached` features, or what stands for them as they need none.

    float32 (images, feature_dim), on the CPU. See `grey.GreyPixels` for what has no features of its own.
    """
    grey = grey_pixels(manifest, backbone, size)
    if grey is not None:
        return grey  # type: ignore[return-value]  # all that is asked of it
    return torch.from_numpy(cached(manifest, backbone, size, device, by))


def cached(
    manifest: Manifest, backbone: Backbone, size: int, device: torch.device, by: Extract | None = None
) -> np.ndarray:
    """Features of every image of a manifest, float32 (images, feature_dim), memory-mapped.

    Where the manifest gives none and the cache has none, they are extracted with a progress bar, by `extract` or by
    what does the same; the file appears only when it is complete.
    """
    if manifest.features is not None:
        return manifest.given_features()
    sources = manifest.sources()
    entry = entry_of(manifest, backbone, size, device)
    return entry.made(lambda: (by or extract)(backbone, images.batches(sources, size, BATCH), device))
