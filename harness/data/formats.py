"""Which files are still images that can be decoded, told by suffix, and Pillow set up to decode them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

# Pillow also registers what it cannot decode (BUFR, GRIB, HDF5 and MPEG have a header and no pixels; EPS and WMF are
# drawn by other programs; IPTC holds no picture of its own) and FLI, which is a film
STILL = (
    "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FTEX", "GBR", "GIF", "ICNS", "ICO", "IM", "JPEG",
    "JPEG2000", "MPO", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP",
    "XBM", "XPM",
)  # fmt: skip
BUILT_IN = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # what Pillow may have been built without
FLOATS = (".pfm",)  # a PPM of floating-point numbers, whose black and white are unknown
HEIF = (".heic", ".heics", ".heif", ".heifs", ".hif")
HEIF_EXTRA = "pip install 'lorisbench[heif]'"

# Pillow warns of an image of more than half as many pixels and refuses one of more
MOST_PIXELS = 178_956_970


@cache
def pillow() -> Any:
    """Pillow's module Image, ready to open every format that can be read here.

    HEIF is among them where pillow-heif is installed. Pillow's own limit of pixels, which warns before it refuses, is
    lifted: whoever opens a file asks `check_pixels`.
    """
    from PIL import Image

    Image.init()
    Image.MAX_IMAGE_PIXELS = None
    if has_heif():
        import_module("pillow_heif").register_heif_opener()
    return Image


@cache
def has_heif() -> bool:
    """Whether HEIF (HEIC), which phones write, can be decoded."""
    try:
        import_module("pillow_heif")
    except ImportError:  # not there, or without the library that it wraps
        return False
    return True


def check_pixels(size: tuple[int, int]) -> None:
    """Raise ValueError for an image (width, height) so large that decoding it would be an attack on memory."""
    width, height = size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels, more than the {MOST_PIXELS:,} that are read: a decompression bomb, or make it "
            "smaller"
        )


@cache
def image_suffixes() -> tuple[str, ...]:
    """Suffixes, in lower case, of every type of still image that can be decoded on this machine."""
    from PIL import features

    registered = pillow().registered_extensions()
    readable = {kind for kind in STILL if kind not in BUILT_IN or features.check(BUILT_IN[kind])}
    found = {suffix for suffix, kind in registered.items() if kind in readable and suffix not in FLOATS}
    return tuple(sorted({*found, *(HEIF if has_heif() else ())}))


def is_image(name: str, suffixes: tuple[str, ...] | None = None) -> bool:
    """Whether a file of this name is an image that can be decoded (or has one of `suffixes`)."""
    return name.lower().endswith(image_suffixes() if suffixes is None else suffixes)
