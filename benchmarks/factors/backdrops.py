"""Backdrops of computed scenes: plain, textured and busy surfaces, in linear light."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image

from lorisbench.benchmarks.factors.cutouts import Floats

APART = 0.22  # least difference in lightness (0 to 1) between an object and the surface behind it
LIGHTNESS = (0.22, 0.92)  # darkest and brightest surface
GAMMA = 2.2


def backdrop(level: int, light: float, rng: np.random.Generator, size: int) -> Floats:
    """The surface behind an object: plain (clutter level 1), gently textured (2) or busy (3).

    Parameters
    ----------
    light : mean linear luminance of the object, from which the surface's own stays away.

    Returns
    -------
    float32 (size, size, 3), linear RGB in [0, 1].
    """
    lightness = _apart_from(light ** (1 / GAMMA), rng)
    colour = tinted(lightness, rng)
    angle = rng.uniform(0, 2 * np.pi)
    shade = 1 + across(angle, size) * np.float32(0.1 / size)
    plain = colour * shade[..., None]
    if level == 1:
        return plain
    if level == 2:
        return np.clip(plain * (0.8 + 0.4 * noise(rng, 6, size))[..., None], 0, 1)
    sheet = texture(colour, tinted(rng.uniform(*LIGHTNESS), rng), rng, size)
    return np.clip(sheet * shade[..., None] * (0.6 + 0.8 * noise(rng, 16, size))[..., None], 0, 1)


def _apart_from(lightness: float, rng: np.random.Generator) -> float:
    """A lightness at least `APART` from the given one, evenly distributed over what is left."""
    low, high = LIGHTNESS
    darker, brighter = max(0.0, lightness - APART - low), max(0.0, high - lightness - APART)
    spot = rng.uniform(0, darker + brighter)
    return float(low + spot if spot < darker else high - (spot - darker))


def tinted(lightness: float, rng: np.random.Generator, saturation: tuple[float, float] = (0.05, 0.3)) -> Floats:
    """Linear RGB (3,) of a lightness in [0, 1], with a random hue."""
    colour = np.array(colorsys.hls_to_rgb(rng.random(), lightness, rng.uniform(*saturation)), np.float32)
    return np.asarray(colour ** np.float32(GAMMA), np.float32)


def across(angle: float, size: int) -> Floats:
    """Distance of each pixel from the middle along a direction, in px: float32 (size, size)."""
    places = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    return np.float32(np.cos(angle)) * places[None, :] + np.float32(np.sin(angle)) * places[:, None]


def noise(rng: np.random.Generator, cells: int, size: int) -> Floats:
    """Smooth noise with `cells` cells per side: float32 (size, size) in [0, 1]."""
    grid = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.clip(np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)), 0, 1)


def texture(first: Floats, second: Floats, rng: np.random.Generator, size: int) -> Floats:
    """A patterned sheet of two colours (stripes, checks or blots): linear RGB, float32 (size, size, 3)."""
    kind = rng.integers(3)
    angle, period = rng.uniform(0, np.pi), rng.uniform(size / 10, size / 4)
    if kind == 2:
        wave = 2 * noise(rng, int(rng.integers(5, 12)), size) - 1
    else:
        wave = np.sin(across(angle, size) * np.float32(2 * np.pi / period))
        if kind == 1:
            wave = wave * np.sin(across(angle + np.pi / 2, size) * np.float32(2 * np.pi / period))
    share = np.clip(0.5 + 2 * wave, 0, 1).astype(np.float32)[..., None]
    return first + (second - first) * share
