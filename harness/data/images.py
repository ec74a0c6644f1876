"""Decode and preprocess images: any file Pillow reads becomes a square uint8 RGB array of the working size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorisbench.common.cache import cache_root, cached_array
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.data.formats import HEIF_EXTRA, check_pixels, has_heif, pillow

if TYPE_CHECKING:
    from PIL import Image

    from lorisbench.data.manifest import Manifest

Source = str | np.ndarray

PREPROCESSING = (
    "upright by EXIF, 16-bit grey / 257, alpha on white, RGB uint8, shorter side to size (bicubic), centre crop, v3"
)
ORIENTATION = 0x0112  # the EXIF tag
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1")
LONGEST = 16  # only so many short sides from the middle of the long side are scaled: the centre crop needs one

# glibc gives the memory of a freed image back to the system and asks for it again with the next one, until it has seen
# a large block freed: without this, fresh processes spend a third of their time on page faults
bytearray(30 << 20)


def decode(source: Source, size: int) -> np.ndarray:
    """One image as uint8 of shape (size, size, 3): shorter side scaled to `size`, centre crop.

    Parameters
    ----------
    source : a file name, or pixels, uint8 (height, width, 1 or 3).

    Raises
    ------
    InputError : naming the file if it cannot be decoded.
    """
    from PIL import Image

    upright = open_source(source, (size, size))
    width, height = upright.size
    short, keep = min(width, height), LONGEST * min(width, height)
    if max(width, height) > keep:  # an image of 1 x 60,000 pixels would become gigabytes
        across, down = max(0, width - keep) // 2, max(0, height - keep) // 2
        upright = upright.crop((across, down, width - across, height - down))
        width, height = upright.size
    scale = size / short
    if scale != 1.0:
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        upright = upright.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(upright.crop((left, top, left + size, top + size)))


def open_source(source: Source, at_least: tuple[int, int]) -> Image.Image:
    """An image in RGB, from a file or pixels as `decode` takes them; see `read_image` for `at_least` and errors."""
    from PIL import Image

    if isinstance(source, str):
        return read_image(source, at_least)
    return Image.fromarray(np.ascontiguousarray(source.squeeze(2) if source.shape[2] == 1 else source)).convert("RGB")


def read_image(file: str, at_least: tuple[int, int] | None = None) -> Image.Image:
    """A file's first frame, upright by its EXIF tag, in RGB.

    16-bit grey is divided by 257; transparent parts become white. `at_least` lets a JPEG decode at a reduced scale that
    still covers that many pixels (width, height); without it every pixel is decoded.

    Raises
    ------
    InputError : naming the file, if it cannot be read or decoded, has more pixels than are read (see `check_pixels`),
        or has a mode that does not define colours.
    """
    return _read(file, at_least, _rgb)


def read_rgba(file: str, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Like `read_image`, but in RGBA: transparency is kept. Raises InputError likewise."""
    return _read(file, at_least, _rgba)


def _read(file: str, at_least: tuple[int, int] | None, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    try:
        with pillow().open(file) as image:
            check_pixels(image.size)
            if at_least is not None:
                image.draft("RGB", at_least)
            return convert(_upright(image))
    except Exception as error:  # Pillow's readers raise all sorts of errors (OSError, struct.error, ...) on damage
        raise InputError(f"{file}: {_reason(file, error)}") from error


def _upright(image: Image.Image) -> Image.Image:
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
        6: turn.ROTATE_270, 7: turn.TRANSVERSE, 8: turn.ROTATE_90,
    }  # fmt: skip
    image.load()  # Pillow turns a TIFF as it loads; a PNG may have its tags after the pixels
    # ImageOps.exif_transpose rewrites all tags, which fails on a single damaged one, however irrelevant
    try:
        method = turns.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # as above; without readable tags the pixels are taken as they are
        method = None
    return image if method is None else image.transpose(method)


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = (values // 257).astype(np.uint8)
        if isinstance(transparent := image.info.get("transparency"), int):
            grey[values == transparent] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "integer" if image.mode == "I" else "floating-point"
        raise ValueError(f"32-bit {kind} pixels, whose values for black and white are unknown")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _rgba(image: Image.Image) -> Image.Image:
    if image.has_transparency_data and not image.mode.startswith("I"):
        return image.convert("RGBA")
    return _rgb(image).convert("RGBA")


def _reason(file: str, error: Exception) -> str:
    try:
        if os.stat(file).st_size == 0:
            return "the image has no bytes"
    except OSError as missing:
        return f"cannot be read ({missing.strerror})"
    if isinstance(error, OSError) and error.strerror:  # from the system, not from Pillow
        return f"cannot be read ({error.strerror})"
    if not has_heif() and _is_heif(file):
        return f"an image in the format HEIF (HEIC): {HEIF_EXTRA} makes it readable"
    message = " ".join(str(error).replace(repr(file), "").split())
    return f"cannot be decoded as an image ({message or type(error).__name__})"


def _is_heif(file: str) -> bool:
    """Whether a file is in HEIF by its first bytes, whatever it is called; phones give it the name of a JPEG too."""
    with open(file, "rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def batches(sources: Sequence[str] | Sequence[np.ndarray], size: int, batch: int = 64) -> Iterator[np.ndarray]:
    """Decoded images in order, as uint8 arrays of shape (<= batch, size, size, 3); all cores decode ahead."""
    return of_each(lambda source: decode(source, size), sources, batch)


def of_each(
    work: Callable[[Source], np.ndarray], sources: Sequence[str] | Sequence[np.ndarray], batch: int = 64
) -> Iterator[np.ndarray]:
    """The arrays that `work` makes from images, in order, stacked in batches (the last may be smaller).

    All cores work ahead, up to two batches. Raises what `work` raises.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead = 2 * batch
        pending = [pool.submit(work, source) for source in sources[:ahead]]
        for start in range(0, len(sources), batch):
            current, pending = pending[:batch], pending[batch:]
            pending += [pool.submit(work, source) for source in sources[start + ahead : start + ahead + batch]]
            try:
                yield np.stack([future.result() for future in current])
            except BaseException:
                for future in pending:
                    future.cancel()
                raise


def cached(manifest: Manifest, size: int) -> np.ndarray:
    """All images of a manifest, uint8 of shape (images, size, size, 3), memory-mapped from the cache folder.

    The file's name is a hash of the manifest's content and the preprocessing, so that a changed image or size gives
    another file. Raises InputError naming the first image that cannot be decoded.
    """
    shape = (len(manifest.table), size, size, 3)
    return cached_array(
        path_of(manifest, size), "|u1", shape, "decoding images", lambda: batches(manifest.sources(), size)
    )


def path_of(manifest: Manifest, size: int) -> Path:
    """The file of all images, named by their content, the size and the preprocessing."""
    key = digest_of({"content": manifest.content_hash, "size": size, "preprocessing": PREPROCESSING})
    return cache_root() / "images" / f"{key}.npy"
