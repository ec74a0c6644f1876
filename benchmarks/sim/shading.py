"""Light, surfaces and sensor of OpenLORIS-Sim: from traced views to 8-bit pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from lorisbench.benchmarks.sim.looks import TRIM, Floats, Look, albedo, dot, noise, pick, put
from lorisbench.benchmarks.sim.rays import SUPERSAMPLE, TARGET, Body, Hits, View, cast
from lorisbench.benchmarks.sim.scene import Recording

KEY, AMBIENT = 1.0, 0.42  # irradiance of the strong level
EXPOSURE = 0.92
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def _line(values: Floats, width: float) -> Floats:
    """1 on joints of relative `width` at whole numbers, else 0."""
    part = values - np.floor(values)
    return (part < width).astype(np.float32)


def _bricks(p: Floats) -> Floats:
    row = np.floor(p[1] * 3)
    return np.maximum(_line(p[1] * 3, 0.12), _line(p[0] * 1.3 + 0.5 * (row % 2), 0.05))


def _planks(p: Floats) -> Floats:
    row = np.floor(p[1] * 2.5)
    tone = np.sin(row * 12.9898) * np.float32(0.5) + np.float32(0.5)
    return np.maximum(0.7 * tone, _line(p[1] * 2.5, 0.05))


def _deep(p: Floats, stretch: tuple[float, float]) -> Floats:
    """Points on a surface (2, n) as points for `noise` (3, n), stretched along each axis."""
    return np.stack([p[0] * stretch[0], p[1] * stretch[1], np.zeros(p.shape[1], np.float32)])


SURFACES: dict[str, Callable[[Floats], Floats]] = {
    "wood": lambda p: 0.5 + 0.5 * np.sin(p[1] * 14 + 6 * noise(_deep(p, (0.8, 3.0)))),
    "planks": _planks,
    "tiles": lambda p: np.maximum(_line(p[0] * 1.5, 0.05), _line(p[1] * 1.5, 0.05)),
    "carpet": lambda p: noise(_deep(p, (18, 18))),
    "mottled": lambda p: 0.6 * noise(_deep(p, (2.5, 2.5))) + 0.4 * noise(_deep(p, (7, 7))),
    "paint": lambda p: 0.3 * noise(_deep(p, (0.5, 0.5))),
    "bricks": _bricks,
    "paper": lambda p: _line(p[0] * 2.2, 0.5),
    "panels": lambda p: _line(p[0] * 0.9, 0.04),
}
"""Share of a floor's or wall's second colour at points (2, n) of its plane."""


def _ground(recording: Recording, view: View, rays: NDArray[np.intp]) -> tuple[Floats, Floats, Floats, Floats]:
    """Depth (n,), albedo (3, n), normal (3, n) and distance from the target (n,) of what lies behind all bodies.

    A ray that meets neither floor nor wall ends on a floor 60 units away.
    """
    directions, origin = pick(view.directions, rays), view.camera.origin
    away = np.array([-np.cos(recording.azimuth), -np.sin(recording.azimuth)], np.float32)
    across = np.array([-away[1], away[0]], np.float32)
    facing = directions[0] * away[0] + directions[1] * away[1]
    with np.errstate(divide="ignore"):
        floor = np.where(directions[2] < 0, -origin[2] / directions[2], np.inf)
        wall = np.where(
            facing > 0,
            (recording.wall_distance - float(origin[0] * away[0] + origin[1] * away[1])) / facing,
            np.inf,
        )
    depth = np.minimum(np.minimum(floor, wall), np.float32(60)).astype(np.float32)
    points = origin[:, None] + depth * directions
    on_floor = floor <= wall
    floor_rays, wall_rays = np.flatnonzero(on_floor), np.flatnonzero(~on_floor)
    side = points[0] * across[0] + points[1] * across[1]
    colour = np.empty_like(points)
    put(colour, floor_rays, _plane(recording.floor, pick(points[:2], floor_rays)))
    put(colour, wall_rays, _plane(recording.wall, np.stack([side.take(wall_rays), points[2].take(wall_rays)])))
    facing_back, up = np.array([[-away[0], 0], [-away[1], 0], [0, 1]], np.float32).T[:, :, None]
    near = np.where(on_floor, np.sqrt(points[0] ** 2 + points[1] ** 2), np.float32(9))
    return depth, colour, np.where(on_floor, up, facing_back), near


def _plane(look: Look, places: Floats) -> Floats:
    """Albedo (3, n) of a floor or a wall at places (2, n) on it."""
    share = SURFACES[look.pattern](places * np.float32(look.scale)).astype(np.float32)
    first, second = (np.array(colour, np.float32)[:, None] for colour in (look.first, look.second))
    return first + (second - first) * share


def _surface(thing: Body, view: View, hits: Hits, chosen: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """Albedo (3, m), unit normal (3, m) towards the camera, and gloss (m,) at the chosen hits of one body."""
    face, u, v = hits.face.take(chosen), hits.u.take(chosen), hits.v.take(chosen)
    rays = pick(view.directions, hits.rays.take(chosen))
    points = view.camera.origin[:, None] + hits.depth.take(chosen) * rays
    slots = thing.solid.slots.take(face)
    colour = albedo(thing.look, slots, thing.to_local(points, move=True))
    first, second, third = thing.solid.corner_normals.transpose(1, 2, 0).take(face, axis=2)
    normals = thing.normal_to_world(first * (1 - u - v) + second * u + third * v)
    turned = np.where(dot(normals, rays) > 0, -normals, normals)
    return colour, turned, np.where(slots == TRIM, np.float32(0.3), np.float32(thing.look.gloss))


def shade(recording: Recording, view: View, size: int, generator: np.random.Generator) -> tuple[Image.Image, float]:
    """Light a traced view and expose it.

    Returns
    -------
    image : RGB, size * size
    light : the mean irradiance of all visible surfaces under this recording's light, over that of the same
        surfaces under a lamp of the strong level's nominal power at the same place.
    """
    count = len(view.identity)
    depth, colour, normals = (
        np.empty(count, np.float32),
        np.empty((3, count), np.float32),
        np.empty((3, count), np.float32),
    )
    gloss, near = np.zeros(count, np.float32), np.full(count, 9, np.float32)
    behind = np.flatnonzero(view.identity < TARGET)
    depth[behind], ground_colour, ground_normals, near[behind] = _ground(recording, view, behind)
    put(colour, behind, ground_colour)
    put(normals, behind, ground_normals)
    for number, (thing, hits) in enumerate(zip(view.bodies, view.hits, strict=True)):
        chosen = np.flatnonzero(view.identity.take(hits.rays) == TARGET + number)
        rays = hits.rays.take(chosen)
        depth[rays] = hits.depth.take(chosen)
        body_colour, body_normals, gloss[rays] = _surface(thing, view, hits, chosen)
        put(colour, rays, body_colour)
        put(normals, rays, body_normals)
    sun = recording.light_direction
    facing = np.maximum(dot(normals, sun), 0)
    lit = np.flatnonzero(facing > 0)
    sights = depth.take(lit) * pick(view.directions, lit)
    start = view.camera.origin[:, None] + sights + pick(normals, lit) * np.float32(2e-3)
    for thing in view.bodies:
        facing[lit.take(cast(thing, start, sun).rays)] = 0
    # Light that the target keeps from the floor around it, by distance only: enough to make it look grounded.
    ambient = AMBIENT * (0.75 + 0.25 * normals[2]) * (1 - 0.45 * np.exp(-((near / 0.45) ** 2)))
    key = KEY * facing
    light = float((recording.key_gain * key + recording.ambient_gain * ambient).sum() / (key + ambient).sum())
    tint = recording.light_colour[:, None]
    picture = colour * ((recording.key_gain * key) * tint + recording.ambient_gain * ambient)
    shining = np.flatnonzero((gloss > 0) & (facing > 0))
    sight = pick(view.directions, shining)
    half = sun[:, None] - sight / np.sqrt(dot(sight, sight))
    shine = gloss[shining] * np.maximum(dot(half, pick(normals, shining)) / np.sqrt(dot(half, half)), 0) ** 40
    put(picture, shining, pick(picture, shining) + (recording.key_gain * shine) * tint)
    return _expose(recording, picture, size, generator), light


def _expose(recording: Recording, picture: Floats, size: int, generator: np.random.Generator) -> Image.Image:
    """Average the rays of each pixel, apply the lens's blur, gamma 2.2 and a sensor's noise (stronger in the dark)."""
    rays = picture.reshape(3, size, SUPERSAMPLE, size, SUPERSAMPLE)
    pixels = np.zeros((3, size, size), np.float32)
    for row in range(SUPERSAMPLE):
        for column in range(SUPERSAMPLE):
            pixels += rays[:, :, row, :, column]
    values = np.clip(pixels / np.float32(SUPERSAMPLE**2) * np.float32(EXPOSURE), 0, 1) ** np.float32(1 / 2.2)
    sharp = np.stack([(channel * 255 + 0.5).astype(np.uint8) for channel in values], axis=-1)
    blurred = Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(recording.blur * size / 128))
    values = np.asarray(blurred, np.float32) / 255
    spread = recording.noise * (0.009 + 0.0075 / (values + 0.1))
    values = values + spread * generator.standard_normal(values.shape, dtype=np.float32)
    return Image.fromarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))
