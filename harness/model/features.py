"""Features of a frozen backbone: extracted once, kept on disk by content, memory-mapped, shared by all runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lorisbench.common.cache import Cached, cache_root, cached_array, load_array
from lorisbench.common.console import say
from lorisbench.common.files import digest_of
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import moved
from lorisbench.model.folding import folded
from lorisbench.model.grey import grey_pixels
from lorisbench.model.in_parts import in_parts
from lorisbench.model.models import Backbone
from lorisbench.model.onnx_graph import in_onnxruntime

BATCH = 64
DIGESTS = "images-"  # how the files of the images' digests are called, before the manifest's content hash
Extract = Callable[[Backbone, Iterator[np.ndarray], torch.device], Iterator[np.ndarray]]


def to_tensor(block: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (n, height, width, 3) to a uint8 tensor (n, 3, height, width), channels last in memory."""
    return moved(torch.from_numpy(block), device).permute(0, 3, 1, 2)


@torch.inference_mode()
def extract(backbone: Backbone, blocks: Iterator[np.ndarray], device: torch.device) -> Iterator[np.ndarray]:
    """Features, float32 (n, feature_dim), of each block of images, uint8 (n, size, size, 3). Eval mode throughout.

    Batch norms are folded into convolutions, which changes the last bits, as onnxruntime does where the backbone's
    `runtime` says so. A GPU is given a block while it works on the one before.

    Raises InputError if onnxruntime cannot do it, or gives other features than PyTorch.
    """
    was_training = backbone.network.training
    backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    backbone.network.eval()
    network: nn.Module | None = None
    arriving: deque[Callable[[], np.ndarray]] = deque()
    try:
        for block in blocks:
            x = backbone.normalised(to_tensor(block, device))
            network = for_extraction(backbone, x.shape[2]) if network is None else network
            arriving.append(_fetched(in_parts(network, x).float()))
            if len(arriving) > (device.type == "cuda"):
                yield arriving.popleft()()
        while arriving:
            yield arriving.popleft()()
    finally:
        backbone.network.train(was_training)


def _fetched(answer: torch.Tensor) -> Callable[[], np.ndarray]:
    """What gives an answer as an array, once it is there: it is copied from a GPU while that goes on."""
    if not answer.is_cuda:
        return answer.numpy
    copied, arrived = answer.to("cpu", non_blocking=True), torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(answer.device))

    def waited() -> np.ndarray:
        arrived.synchronize()
        return copied.numpy()

    return waited


def for_extraction(backbone: Backbone, size: int) -> nn.Module:
    """The backbone's network in its fastest form, tried on two images of noise, the same ones each time."""
    noise = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    x = backbone.normalised(noise.to(backbone.mean.device))
    if backbone.runtime != "torch":
        return in_onnxruntime(backbone.network, x)
    return folded(backbone.network, x).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def entry_of(manifest: Manifest, backbone: Backbone, size: int, device: torch.device) -> Cached:
    """The features in the cache: named by the images' content, the preprocessing, the weights and the dtype."""
    path, shape = _path_of(manifest.content_hash, backbone, size, device), (len(manifest.table), backbone.feature_dim)
    rate = f"features of {backbone.digest()}, size {size}, {device.type}"
    rate += "" if backbone.runtime == "torch" else f", {backbone.runtime}"
    return Cached(path, "<f4", shape, "extracting features", rate)


def _path_of(content_hash: str, backbone: Backbone, size: int, device: torch.device) -> Path:
    key = digest_of(
        {
            "content": content_hash,
            "preprocessing": images.PREPROCESSING,
            "size": size,
            "weights": backbone.digest(),
            "dtype": "float32",
            "batch norms": "folded",
            "device": device.type,  # the same images on another kind of device differ in the last bits
            **({} if backbone.runtime == "torch" else {"runtime": backbone.runtime}),
        }
    )
    return cache_root() / "features" / f"{key}.npy"


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
    what does the same; the file appears only when it is complete. Images whose features the cache has from another
    manifest, such as another split or a subset of the same images, are not extracted again.
    """
    if manifest.features is not None:
        return manifest.given_features()
    entry = entry_of(manifest, backbone, size, device)
    return entry.made(lambda: _blocks(manifest, backbone, size, device, by or extract))


def of_pixels(
    manifest: Manifest, backbone: Backbone, size: int, device: torch.device, pixels: torch.Tensor
) -> torch.Tensor:
    """The same as `cached` gives, from decoded images, uint8 (images, 3, size, size) in table order, on the CPU."""
    entry = entry_of(manifest, backbone, size, device)
    made = entry.made(lambda: _extracted(backbone, blocks_of(pixels.split(BATCH)), device, extract))
    return torch.from_numpy(made)


def blocks_of(parts: Iterable[torch.Tensor]) -> Iterator[np.ndarray]:
    """Batches of images, uint8 (batch, 3, size, size), as `extract` takes them."""
    return (np.ascontiguousarray(part.permute(0, 2, 3, 1).numpy()) for part in parts)


def _blocks(
    manifest: Manifest, backbone: Backbone, size: int, device: torch.device, by: Extract
) -> Iterator[np.ndarray]:
    """The features of all images, in order: extracted, or taken from the cache where it has those of the same bytes."""
    found = _known(manifest, backbone, size, device)
    missing = np.array([row for row, known in enumerate(found) if known is None], dtype=np.int64)
    extracted = _extracted(backbone, images.batches(manifest.sources_at(missing), size, BATCH), device, by)
    if len(missing) == len(found):
        yield from extracted
        return
    say(f"{len(found) - len(missing)} of {len(found)} images have features already")
    rows = (row for block in extracted for row in block)
    for start in range(0, len(found), BATCH):
        yield np.stack([next(rows) if known is None else known for known in found[start : start + BATCH]])


def _extracted(
    backbone: Backbone, blocks: Iterator[np.ndarray], device: torch.device, by: Extract
) -> Iterator[np.ndarray]:
    """Features of blocks of images, each filled up to a whole batch: then those of an image are the same in any."""
    sizes: deque[int] = deque()

    def whole() -> Iterator[np.ndarray]:
        for block in blocks:
            sizes.append(len(block))
            yield np.concatenate([block, np.repeat(block[-1:], BATCH - len(block), axis=0)])

    for extracted in by(backbone, whole(), device):
        yield extracted[: sizes.popleft()]


def _known(manifest: Manifest, backbone: Backbone, size: int, device: torch.device) -> list[np.ndarray | None]:
    """The features of each image that the cache has from other manifests, float32 (feature_dim,); None of the rest."""
    if manifest.pixels is not None or manifest.parts is not None:
        return [None] * len(manifest.table)
    folder = cache_root() / "hashes"
    mine = folder / f"{DIGESTS}{manifest.content_hash}.npy"
    form = (len(manifest.table), 16)
    own = cached_array(mine, "|u1", form, "reading images", lambda: iter([manifest.digests]))
    names = [each.tobytes() for each in own]
    wanted, found = set(names), dict[bytes, np.ndarray]()
    for file in sorted({*folder.glob(f"{DIGESTS}*.npy")} - {mine}):
        path = _path_of(file.stem.removeprefix(DIGESTS), backbone, size, device)
        others, features = load_array(file), load_array(path)
        if others is not None and features is not None and len(features) == len(others):
            there = ((row, each.tobytes()) for row, each in enumerate(others))
            found |= {name: features[row] for row, name in there if name in wanted}
    return [found.get(name) for name in names]
