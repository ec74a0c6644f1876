"""Cutouts: the object of an image, free of its background, in linear light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lorisbench.data.images import read_rgba

Floats = NDArray[np.float32]
Source = str | NDArray[np.uint8]

THRESHOLD = 12  # grey above this is the object, below it the black around it (of 255)
HOLE = 10  # an enclosed black area of fewer pixels is part of the object: a dark print, not a gap
PAD = 1  # transparent pixels around a cutout, so that its edges stay soft when it is scaled


@dataclass(frozen=True)
class Cutout:
    """An object without its background.

    Attributes
    ----------
    colour : float32 (height, width, 3) in [0, 1]: linear RGB times `alpha`.
    alpha : float32 (height, width) in [0, 1]; the outermost `PAD` pixels are 0, and the object touches all four sides
        of the area inside them.
    light : mean linear luminance of the object.
    grey : whether all three channels are the same.
    """

    colour: Floats
    alpha: Floats
    light: float
    grey: bool


def to_linear(values: NDArray[np.uint8]) -> Floats:
    """sRGB bytes as linear light, float32 in [0, 1] (IEC 61966-2-1)."""
    return _TO_LINEAR[values]


def to_bytes(light: Floats) -> NDArray[np.uint8]:
    """Linear light as sRGB bytes; what is below 0 or above 1 is clipped."""
    clipped = np.clip(light, 0, 1)
    curve = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** np.float32(1 / 2.4) - 0.055)
    return (curve * 255 + 0.5).astype(np.uint8)


def luminance(colour: Floats) -> Floats:
    """Luminance of linear RGB (..., 3), by Rec. 709; without BLAS, whose rounding may depend on its threads."""
    return (
        np.float32(0.2126) * colour[..., 0] + np.float32(0.7152) * colour[..., 1] + np.float32(0.0722) * colour[..., 2]
    )


def _curve() -> Floats:
    share = np.arange(256) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)


_TO_LINEAR = _curve()


def cutout_of(source: Source, side: int) -> Cutout:
    """The object of an image, its long side at most about `side` px.

    Parameters
    ----------
    source : a file, whose object is its non-transparent part, or all of it if nothing is transparent; or grey pixels,
        uint8 (height, width), of an object on black.

    Raises
    ------
    InputError : naming a file that cannot be decoded.
    """
    if not isinstance(source, str):
        return _on_black(source)
    image = read_rgba(source, (side, side))
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(image)
    alpha = pixels[..., 3] * np.float32(1 / 255)
    return _cut(to_linear(pixels[..., :3]), alpha)


def _on_black(grey: NDArray[np.uint8]) -> Cutout:
    """A grey object on black, whose edge pixels are mixtures of both: they become the object's colour, thinner."""
    mask = _fill(grey > THRESHOLD)
    edge = mask & ~ndimage.binary_erosion(mask)
    near = ndimage.grey_dilation(grey, size=(3, 3)).astype(np.float32)
    alpha = mask.astype(np.float32)
    alpha[edge] = np.clip(1.25 * grey[edge] / np.maximum(near[edge], 1), 0.2, 1)
    value = np.clip(grey / np.maximum(alpha, 0.2), 0, 255).astype(np.uint8)
    return _cut(np.repeat(to_linear(value)[..., None], 3, axis=2), alpha)


def _fill(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    holes, count = ndimage.label(~mask)
    if count < 2:
        return mask
    sizes = np.bincount(holes.ravel())
    border = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    small = sizes < HOLE
    small[border] = False
    small[0] = False
    return mask | small[holes]


def _cut(colour: Floats, alpha: Floats) -> Cutout:
    """Crop to the object and pad. If nothing in an image is opaque, all of it is the object."""
    seen = alpha >= 0.5
    if not seen.any():
        alpha = np.ones_like(alpha)
        seen = alpha >= 0.5
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = alpha[window]
    colour = colour[window] * alpha[..., None]
    light = float(luminance(colour).sum() / alpha.sum())
    margin = ((PAD, PAD), (PAD, PAD))
    grey = bool((np.ptp(colour, axis=2) == 0).all())
    return Cutout(np.pad(colour, (*margin, (0, 0))), np.pad(alpha, margin), light, grey)
