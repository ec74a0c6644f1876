"""Files in the format of MNIST, tiny and of noise."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files: type, shape, bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, pack: bool = False, train: int = 60, test: int = 20) -> Path:
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        for name, array in (
            (f"{prefix}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28))),
            (f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10),
        ):
            (folder / (name + ".gz" if pack else name)).write_bytes(gzip.compress(idx(array)) if pack else idx(array))
    return folder
