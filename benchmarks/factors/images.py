"""The four factors of OpenLORIS-Object at three levels each, applied to a cut-out object by computation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorisbench.benchmarks.factors.backdrops import across, backdrop, texture, tinted
from lorisbench.benchmarks.factors.cutouts import PAD, Cutout, Floats, luminance, to_bytes

VERSION = 1  # raise it whenever the same settings would give other pixels

HIDDEN = {1: 0.0, 2: 0.25, 3: 0.50}
"""Occlusion: the share of the object's area that is hidden, as in OpenLORIS-Object."""

HIDDEN_TOLERANCE = 0.03

SIDE = {1: (0.84, 0.88), 2: (0.30, 0.36), 3: (0.10, 0.12)}
"""Object pixel size: the object's long side as a share of the frame's side.

OpenLORIS-Object's levels are more than 200, 30 to 200, and less than 30 pixels in frames 240 pixels high: more than
0.83, 0.125 to 0.83, less than 0.125 of the height. The shares drawn here lie within these bounds.
"""

DISTRACTORS = {1: (0, 0), 2: (2, 3), 3: (9, 12)}
"""Clutter: the least and greatest number of other things around the object."""

DISTRACTOR_SIDE = {2: (0.20, 0.35), 3: (0.25, 0.50)}  # shares of the frame's side
JITTER = 0.06  # of the frame's side: how far from the middle an object may stand


class Light(NamedTuple):
    """A level of illumination.

    Attributes
    ----------
    gain : least and greatest mean luminance, as a share of the same scene's in strong light.
    contrast : of linear light, about the scene's mean.
    electrons : what a white pixel of the sensor collects; fewer are noisier.
    """

    gain: tuple[float, float]
    contrast: float
    electrons: float


LIGHT = {1: Light((1, 1), 1, np.inf), 2: Light((0.38, 0.50), 0.9, 6000), 3: Light((0.04, 0.08), 0.75, 1200)}
"""Illumination: strong, normal and weak. The two dimmer ones have shot noise and the read noise of a sensor."""

READ_NOISE = 4.0  # electrons, standard deviation


@dataclass(frozen=True)
class Levels:
    """A level of each factor; OpenLORIS-Object varies one at a time and keeps the others at 1."""

    illumination: int = 1
    occlusion: int = 1
    pixel: int = 1
    clutter: int = 1


class Measured(NamedTuple):
    """The levels that an image reached, as measured.

    Attributes
    ----------
    light : mean linear luminance as a share of the same scene's in strong light.
    hidden : share of the object's area behind an occluder.
    side : long side of the object as a share of the frame's side.
    busyness : standard deviation of the background's lightness (sRGB, 0 to 1) before anything dims it.
    """

    light: float
    hidden: float
    side: float
    busyness: float


def apply(
    cutout: Cutout, levels: Levels, key: str, others: Sequence[Cutout], size: int
) -> tuple[NDArray[np.uint8], Measured]:
    """A scene with the object in it, as an image.

    Parameters
    ----------
    key : seeds everything random. Placement, backdrop, occluder and light draw from streams of their own, so that
        scenes of the same key differ only in the factors whose levels differ.
    others : cutouts to draw distractors from; needed for clutter above level 1.
    size : side of the image, px.

    Returns
    -------
    uint8 (size, size, 3), sRGB; and the levels reached.
    """
    colour, alpha = place(cutout, SIDE[levels.pixel], stream(key, "place"), size)
    around = surroundings(levels.clutter, cutout.light, alpha, others, stream(key, "clutter"), size)
    scene = around * (1 - alpha[..., None]) + colour
    scene, hidden = occlude(scene, alpha, HIDDEN[levels.occlusion], stream(key, "occlusion"))
    lit = illuminate(scene, LIGHT[levels.illumination], stream(key, "light"))
    image = to_bytes(lit)
    lightness = luminance(to_bytes(around).astype(np.float32)) / 255
    measured = Measured(
        light=float(luminance(lit).mean() / luminance(scene).mean()) if lit is not scene else 1.0,
        hidden=hidden,
        side=long_side(alpha) / size,
        busyness=float(lightness[alpha < 0.5].std()),
    )
    return image, measured


def stream(key: str, part: str) -> np.random.Generator:
    """Random numbers that depend on nothing but these two words."""
    digest = hashlib.blake2b(f"{key}|{part}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def long_side(alpha: Floats) -> int:
    """Greater extent, px, of the pixels whose coverage is at least half of the greatest."""
    seen = alpha >= 0.5 * alpha.max()
    return max(int(np.ptp(np.flatnonzero(seen.any(axis)))) + 1 for axis in (0, 1))


def scaled(cutout: Cutout, long: float) -> tuple[Floats, Floats]:
    """Colour (times alpha) and alpha with the object's long side at `long` px, each pixel averaged over its area."""
    height, width = cutout.alpha.shape
    scale = long / (max(height, width) - 2 * PAD)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    # bilinear: soft though it is, it does not overshoot, which would draw a bright and a dark line along each edge
    alpha = _resized(cutout.alpha, shape)
    if cutout.grey:
        return np.repeat(_resized(np.ascontiguousarray(cutout.colour[..., 0]), shape)[..., None], 3, axis=2), alpha
    return np.stack([_resized(np.ascontiguousarray(cutout.colour[..., i]), shape) for i in range(3)], axis=2), alpha


def _resized(plane: Floats, shape: tuple[int, int]) -> Floats:
    return np.asarray(Image.fromarray(plane).resize(shape, Image.Resampling.BILINEAR))


def place(cutout: Cutout, side: tuple[float, float], rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """The object in an empty frame near its middle, wholly inside: colour (times alpha) and alpha of the frame."""
    colour, alpha = scaled(cutout, rng.uniform(*side) * size)
    shifts = rng.uniform(-1, 1, 2)
    height, width = alpha.shape
    free = [min(JITTER * size, max(0, (size - extent) / 2)) for extent in (height, width)]
    top, left = (
        round((size - extent) / 2 + shift * room)
        for extent, shift, room in zip((height, width), shifts, free, strict=True)
    )
    canvas = np.zeros((size, size, 4), np.float32)
    _paste(canvas, np.dstack([colour, alpha]), top, left)
    return canvas[..., :3], canvas[..., 3]


def _paste(canvas: Floats, layer: Floats, top: int, left: int) -> None:
    """Draw a layer, (height, width, 4) with colour times alpha, over a canvas in place; parts outside are cut off."""
    size = len(canvas)
    y, x = max(top, 0), max(left, 0)
    bottom, right = min(top + layer.shape[0], size), min(left + layer.shape[1], size)
    if y >= bottom or x >= right:
        return
    part = layer[y - top : bottom - top, x - left : right - left]
    under = canvas[y:bottom, x:right]
    under *= 1 - part[..., 3:]
    under += part[..., : canvas.shape[2]]


def surroundings(
    level: int, light: float, alpha: Floats, others: Sequence[Cutout], rng: np.random.Generator, size: int
) -> Floats:
    """Backdrop and distractors, linear RGB, float32 (size, size, 3). Distractors stand where the object does not."""
    canvas = backdrop(level, light, rng, size)
    least, most = DISTRACTORS[level]
    if most == 0:
        return canvas
    free = np.flatnonzero(alpha < 0.05)
    for _ in range(rng.integers(least, most + 1)):
        other = others[int(rng.integers(len(others)))]
        colour, cover = scaled(other, rng.uniform(*DISTRACTOR_SIDE[level]) * size)
        layer = np.rot90(np.dstack([colour, cover]), int(rng.integers(4)))
        row, column = divmod(int(rng.choice(free)) if len(free) else 0, size)
        _paste(canvas, layer, row - layer.shape[0] // 2, column - layer.shape[1] // 2)
    return canvas


def occlude(scene: Floats, alpha: Floats, share: float, rng: np.random.Generator) -> tuple[Floats, float]:
    """The scene with a patterned sheet or two in front of a share of the object's area; and the share reached.

    A sheet comes in from one side of the object, at any angle; all move in together until they hide enough.
    """
    size, total = len(alpha), float(alpha.sum())
    if share == 0 or total == 0:
        return scene, 0.0
    rows, columns = np.nonzero(alpha > 0)
    sheets = []
    for angle in rng.uniform(0, 2 * np.pi, rng.integers(1, 3)):
        along, aside = across(angle, size), across(angle + np.pi / 2, size)
        low, high = along[rows, columns].min(), along[rows, columns].max()
        left, right = aside[rows, columns].min(), aside[rows, columns].max()
        # a little beyond the object on three sides: it ends in front of the background
        beyond = rng.uniform(0.02, 0.12, 3) * size
        around = np.minimum(high + beyond[0] - along, np.minimum(aside - left + beyond[1], right + beyond[2] - aside))
        sheets.append((along, low, high, np.clip(around + 0.5, 0, 1)))

    def cover(advance: float) -> Floats:
        edges = [np.minimum(np.clip(a - (h + 0.5 - advance * (h - lo + 1)) + 0.5, 0, 1), around)
                 for a, lo, h, around in sheets]  # fmt: skip
        return np.maximum.reduce(edges).astype(np.float32)

    near, far = 0.0, 1.0
    for _ in range(16):
        middle = (near + far) / 2
        near, far = (middle, far) if (cover(middle) * alpha).sum() < share * total else (near, middle)
    hiding = cover(far)
    first = tinted(rng.uniform(0.2, 0.85), rng)
    sheet = texture(first, tinted(rng.uniform(0.2, 0.85), rng), rng, size)
    seen = 1 - hiding[..., None]
    return scene * seen + sheet * hiding[..., None], float((hiding * alpha).sum() / total)


def illuminate(scene: Floats, light: Light, rng: np.random.Generator) -> Floats:
    """The scene under a light, as a sensor sees it: linear RGB, float32 (size, size, 3)."""
    if light.gain == (1, 1):
        return scene
    mean = scene.mean(axis=(0, 1))
    dim = rng.uniform(*light.gain) * (mean + light.contrast * (scene - mean))
    # Gaussian in place of Poisson: the counts are tens and more, and a normal draw costs a tenth
    noise = rng.standard_normal(scene.shape, dtype=np.float32)
    noise *= np.sqrt(dim / light.electrons + (READ_NOISE / light.electrons) ** 2)
    return (dim + noise).astype(np.float32)
