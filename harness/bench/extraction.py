"""`lorisbench bench extraction`: features of images in the cache beside plain forward passes over decoded tensors."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lorisbench.bench.measured import Finding, paired
from lorisbench.bench.synthetic import CPU
from lorisbench.model import features
from lorisbench.model.backbones import make_backbone
from lorisbench.model.folding import difference
from lorisbench.model.in_parts import in_parts
from lorisbench.model.models import Backbone
from lorisbench.model.onnx_graph import has_packages

SIZES = (("efficientnet-lite0", 96, 256), ("efficientnet-lite0", 224, 64), ("resnet18", 224, 64))  # and how many images
MORE = 32  # times as many images for a GPU, whose time would be that of folding the batch norms otherwise
LIMIT = 1 / 0.9  # of the time, for 0.9 of the speed


def measure(device: torch.device = CPU, pairs: int = 7) -> Iterator[Finding]:
    """Backbones of random weights, whose speed is that of any others, on all threads or a GPU.

    The images lie in a memory-mapped file, as in the cache of decoded images; the plain passes have them in memory, as
    tensors on the device that are channels last, and use the network as it is.
    """
    generator = np.random.default_rng(0)
    for name, size, few in SIZES:
        count = few * (MORE if device.type == "cuda" else 1)
        backbone = make_backbone(name, "none", size)
        backbone.freeze()
        backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        pixels = generator.integers(0, 256, (count, size, size, 3), np.uint8)
        decoded = features.to_tensor(pixels, device)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npy"
            np.save(file, pixels)
            what = f"features of {count} images of {size} pixels by {name}, from the cache, to plain forward passes"
            ours, other = partial(_extracted, file, backbone, device), partial(_plain, decoded, backbone)
            ratio = paired(what, ours, other, LIMIT, pairs)
            found, wanted = ours(), other()
            yield ratio
            if device.type == "cpu" and has_packages():
                yield from _in_onnxruntime(name, size, decoded, backbone, pairs)
        where = "on the GPU" if device.type == "cuda" else f"on {torch.get_num_threads()} threads"
        rate, apart = 1e3 * count / ratio.milliseconds, difference(torch.from_numpy(found), torch.from_numpy(wanted))
        yield (
            f"{name} at {size} pixels: {rate:.0f} images a second {where}; the features "
            f"differ by {apart:.1g} of the largest"
        )


def _in_onnxruntime(name: str, size: int, decoded: torch.Tensor, backbone: Backbone, pairs: int) -> Iterator[Finding]:
    """What `backbone.runtime: onnxruntime` gains, once the network has been written as a graph."""
    plain = features.for_extraction(backbone, size)
    backbone.runtime = "onnxruntime"
    start = time.perf_counter()
    network = features.for_extraction(backbone, size)
    seconds = time.perf_counter() - start
    backbone.runtime = "torch"
    what = f"passes of {name} at {size} pixels in onnxruntime, to those in PyTorch with batch norms folded"
    ours, other = (partial(_passes, decoded, backbone, each) for each in (network, plain))
    yield paired(what, ours, other, None, pairs)
    yield (
        f"{name} at {size} pixels: writing it as a graph for onnxruntime takes {seconds:.1f} s; its features differ by "
        f"{difference(ours(), other()):.1g} of the largest"
    )


@torch.inference_mode()
def _passes(decoded: torch.Tensor, backbone: Backbone, network: nn.Module) -> torch.Tensor:
    return torch.cat([in_parts(network, backbone.normalised(part)) for part in decoded.split(features.BATCH)])


def _extracted(file: Path, backbone: Backbone, device: torch.device) -> np.ndarray:
    cached = np.load(file, mmap_mode="r")
    blocks = (np.array(cached[start : start + features.BATCH]) for start in range(0, len(cached), features.BATCH))
    return np.concatenate(list(features.extract(backbone, blocks, device)))


@torch.inference_mode()
def _plain(decoded: torch.Tensor, backbone: Backbone) -> np.ndarray:
    return torch.cat([backbone(part) for part in decoded.split(features.BATCH)]).cpu().numpy()
