"""Decode and preprocess images: any file Pillow reads becomes a square uint8 RGB array of the working size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import InputError
from harness.files import cache_root, cached_array, digest_of

if TYPE_CHECKING:
    from benchmarks.manifest import Manifest

PREPROCESSING = "shorter side to size (bicubic), centre crop, RGB uint8, version 1"


def decode(file: str, size: int) -> np.ndarray:
    """Read one image as uint8 of shape (size, size, 3): shorter side scaled to `size`, centre crop.

    Raises InputError naming the file if it cannot be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            image.draft("RGB", (size, size))  # JPEG decodes at a reduced scale that still covers the size
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: cannot be decoded as an image ({error})") from error
    width, height = upright.size
    scale = size / min(width, height)
    if scale != 1.0:
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        upright = upright.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(upright.crop((left, top, left + size, top + size)))


def batches(files: Sequence[str], size: int, batch: int = 64) -> Iterator[np.ndarray]:
    """Decoded images in order, as uint8 arrays of shape (<= batch, size, size, 3); all cores decode ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead = 2 * batch
        pending = [pool.submit(decode, file, size) for file in files[:ahead]]
        for start in range(0, len(files), batch):
            current, pending = pending[:batch], pending[batch:]
            pending += [pool.submit(decode, file, size) for file in files[start + ahead : start + ahead + batch]]
            try:
                yield np.stack([future.result() for future in current])
            except BaseException:
                for future in pending:
                    future.cancel()
                raise


def cached(manifest: Manifest, size: int) -> np.ndarray:
    """All images of a manifest, uint8 of shape (images, size, size, 3), memory-mapped from the cache folder.

    The file's name is a hash of the manifest's content and the preprocessing, so that a changed image or size makes
    another one. Raises InputError naming the first image that cannot be decoded.
    """
    key = digest_of({"content": manifest.content_hash, "size": size, "preprocessing": PREPROCESSING})
    files = manifest.files()
    path = cache_root() / "images" / f"{key}.npy"
    return cached_array(
        path, "|u1", (len(files), size, size, 3), "decoding images", lambda: batches(files, size)
    )  # fmt: skip
