"""Looks of OpenLORIS-Sim: procedural appearances, functions of the position in an object's own coordinates.

Here and in what builds on it, many vectors are (3, n): each component lies in one piece, and an operation runs along
all rays at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]  # float32 wherever there is one entry per ray
Colour = tuple[float, float, float]

BODY, TRIM = 0, 1  # the two material slots of every shape
LATTICE = 32  # side of the wrapped cube of random values behind `noise`


@dataclass(frozen=True)
class Look:
    """A procedural appearance: albedos in linear RGB, `scale` in pattern periods per unit of length."""

    pattern: str
    first: Colour
    second: Colour
    scale: float = 4.0
    trim: Colour = (0.5, 0.5, 0.5)
    gloss: float = 0.2


LOOKS: dict[str, Look] = {
    "red_rings": Look("rings", (0.55, 0.09, 0.06), (0.72, 0.66, 0.55), 6, (0.50, 0.09, 0.06), 0.25),
    "red_dots": Look("dots", (0.55, 0.09, 0.06), (0.72, 0.66, 0.55), 7, (0.50, 0.09, 0.06), 0.25),
    "plum_dots": Look("dots", (0.38, 0.08, 0.22), (0.72, 0.66, 0.55), 7, (0.34, 0.07, 0.20), 0.25),
    "plum_rings": Look("rings", (0.38, 0.08, 0.22), (0.72, 0.66, 0.55), 6, (0.34, 0.07, 0.20), 0.25),
}
"""The looks of the targets."""


def dot(left: Floats, right: Floats) -> Floats:
    """Scalar products of vectors (3, ...).

    Much faster than a product and a sum over so short an axis, and free of BLAS, whose rounding may depend
    on its threads.
    """
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2]


def pick(vectors: Floats, chosen: NDArray[np.integer]) -> Floats:
    """Vectors (3, n) by their numbers (m,) -> (3, m)."""
    return np.take(vectors, chosen, axis=1)  # a quarter of the time of an index in brackets


def put(vectors: Floats, chosen: NDArray[np.integer], values: Floats) -> None:
    """Write values (3, m) to vectors (3, n) by their numbers (m,)."""
    for component, value in zip(vectors, values, strict=True):
        component[chosen] = value


def noise(points: Floats) -> Floats:
    """Smooth value noise.

    Parameters
    ----------
    points : (3, n) float32, in lattice cells.

    Returns
    -------
    (n,) float32 in [0, 1]; repeats every `LATTICE` cells.
    """
    table = _noise_table()
    cell = np.floor(points)
    part = points - cell
    part = part * part * (3 - 2 * part)
    low = cell.astype(np.int32) % LATTICE
    high = (low + 1) % LATTICE
    x0, x1 = low[0] * LATTICE * LATTICE, high[0] * LATTICE * LATTICE
    y0, y1 = low[1] * LATTICE, high[1] * LATTICE
    total = np.zeros(points.shape[1], np.float32)
    for x, weight_x in ((x0, 1 - part[0]), (x1, part[0])):
        for y, weight_y in ((y0, 1 - part[1]), (y1, part[1])):
            lower, upper = table.take(x + y + low[2]), table.take(x + y + high[2])
            total += weight_x * weight_y * (lower + (upper - lower) * part[2])
    return total


@cache
def _noise_table() -> Floats:
    return np.random.default_rng(20200531).random(LATTICE**3, dtype=np.float32)


def _wave(phase: Floats) -> Floats:
    """A square wave with period 1: 0 for the first half, 1 for the second."""
    return (phase - np.floor(phase) >= 0.5).astype(np.float32)


def _turns(points: Floats) -> Floats:
    return np.arctan2(points[1], points[0]) * np.float32(0.5 / np.pi)


def _dots(points: Floats, scale: float) -> Floats:
    offset = points * scale
    offset = offset - np.floor(offset) - 0.5
    return (dot(offset, offset) < 0.13).astype(np.float32)


PATTERNS: dict[str, Callable[[Floats, float], Floats]] = {
    "plain": lambda p, scale: np.zeros(p.shape[1], np.float32),
    "rings": lambda p, scale: _wave(p[2] * scale),
    "bars": lambda p, scale: _wave(_turns(p) * round(scale * 2)),
    "twist": lambda p, scale: _wave(_turns(p) * round(scale) + p[2] * scale * 0.6),
    "checks": lambda p, scale: (dot(np.floor(p * scale), np.ones(3, np.float32)) % 2).astype(np.float32),
    "dots": _dots,
    "speckle": lambda p, scale: (noise(p * (scale * 2.5)) > 0.62).astype(np.float32),
    "blots": lambda p, scale: (noise(p * scale) > 0.5).astype(np.float32),
    "fade": lambda p, scale: np.clip(p[2] * scale, 0, 1),
    "marble": lambda p, scale: 0.5 + 0.5 * np.sin(p[2] * scale * 9 + 7 * noise(p * scale)),
}
"""Share of the second colour, in [0, 1], at points (3, n) of an object's own frame."""


def albedo(look: Look, slot: NDArray[np.int8], points: Floats) -> Floats:
    """Linear RGB (3, n) of `look` at object-local points (3, n) on material slots (n,)."""
    share = PATTERNS[look.pattern](points, look.scale).astype(np.float32)
    first, second, trim = (np.array(colour, np.float32)[:, None] for colour in (look.first, look.second, look.trim))
    return np.where(slot == TRIM, trim, first + (second - first) * share)


def random_look(generator: np.random.Generator) -> Look:
    """A look for things that are not targets; its colours are drawn freely, so no target has the same look."""
    first, second, trim = generator.uniform(0.05, 0.75, (3, 3)) * generator.uniform(0.3, 1.0, (3, 1))
    pattern = str(generator.choice(list(PATTERNS)))
    scale = float(generator.uniform(3, 8)) if pattern != "fade" else 1.0
    return Look(pattern, tuple(first), tuple(second), scale, tuple(trim), float(generator.uniform(0, 0.35)))
