"""Ray casting for OpenLORIS-Sim: bodies in the world, a pinhole camera, and what it sees of each body.

Every body is traced on its own, in its own frame: a solid's acceleration structure is built once per
process however often it is used, and the target's unhidden silhouette comes with every picture. Lengths are
in units of the target's greatest extent; the floor is z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorisbench.benchmarks.sim.looks import Floats, Look, dot, pick
from lorisbench.benchmarks.sim.objects import Solid, solid

SUPERSAMPLE = 2  # rays per pixel along each axis
FOCAL = 1.35  # focal length over frame side: a field of view of 41 degrees
VISIBLE_SHARE = 0.0015  # share of the frame that a distractor must cover to count as visible
GROUND, TARGET = (
    0,
    1,
)  # values of the identity buffer: floor and wall; the target; the other bodies follow


@dataclass(frozen=True, eq=False)
class Body:
    """A solid put into the world: scaled along its own axes, turned about z, moved."""

    solid: Solid
    look: Look
    position: Floats  # (3,)
    turn: float
    scale: Floats  # (3,)

    @property
    def centre(self) -> Floats:
        return self.position + np.array([0, 0, self.solid.height / 2], np.float32) * self.scale

    @property
    def radius(self) -> float:
        return float(self.solid.radius * self.scale.max())

    def to_local(self, vectors: Floats, *, move: bool) -> Floats:
        """World points (move) or directions, (3,) or (3, n), in the solid's own frame; ray parameters do not change."""
        x, y, z = (part - place for part, place in zip(vectors, self.position, strict=True)) if move else vectors
        cosine, sine = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        turned = cosine * x + sine * y, cosine * y - sine * x, z
        return np.stack([part / scale for part, scale in zip(turned, self.scale, strict=True)])

    def normal_to_world(self, normals: Floats) -> Floats:
        """Unit normals (3, n) in the world from those in the solid's own frame."""
        x, y, z = normals / self.scale[:, None]
        cosine, sine = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-12)
        return np.stack([cosine * x - sine * y, sine * x + cosine * y, z]) / length


def body(shape: str, look: Look, x: float, y: float, turn: float, scale: ArrayLike) -> Body:
    """A body that stands on the floor at (x, y)."""
    return Body(solid(shape), look, np.array([x, y, 0], np.float32), turn, np.array(scale, np.float32))


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera; `shift` moves the picture, in frame sides."""

    origin: Floats  # (3,)
    axes: Floats  # (3, 3): right, down, forward
    shift: Floats  # (2,)

    def rays(self, size: int) -> Floats:
        """Directions (3, size * size), row by row, with a component of 1 along `forward`: ray parameters are depths."""
        steps = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) / np.float32(FOCAL)
        across, down = (
            (steps - self.shift[0] / FOCAL)[None, :],
            (steps - self.shift[1] / FOCAL)[:, None],
        )
        right, lower, forward = self.axes[:, :, None, None]
        return (across * right + down * lower + forward).reshape(3, -1).astype(np.float32)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Places (2, n) of world points (3, n) in the frame, 0 to 1 across and down."""
        apart = points - self.origin[:, None]
        x, y, z = (dot(apart, axis) for axis in self.axes)
        return np.stack([x / z, y / z]) * FOCAL + 0.5 + self.shift[:, None]

    def box(self, thing: Body) -> tuple[Floats, Floats]:
        """Upper left and lower right corner (2,) of a body's box in the frame."""
        places = self.project(_vertices(thing))
        return places.min(axis=1), places.max(axis=1)


def aim(target: Body, azimuth: float, elevation: float, roll: float, box_fraction: float, shift: Floats) -> Camera:
    """The camera on the given side of the target, where the target's box takes `box_fraction` of the frame.

    `shift` is relative: 1 brings the target to the frame's edge.
    """
    backward = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    down = np.cross(-backward, right)
    right, down = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
    axes = np.stack([right, down, -backward]).astype(np.float32)
    distance = FOCAL / box_fraction
    for _ in range(6):
        camera = Camera((target.centre + distance * backward).astype(np.float32), axes, np.zeros(2, np.float32))
        low, high = camera.box(target)
        distance = max(distance * float((high - low).max()) / box_fraction, 0.9)
    room = np.maximum(1 - (high - low), 0) / 2
    centring = 0.5 - (low + high) / 2
    return Camera(camera.origin, axes, (centring + shift * room).astype(np.float32))


def _vertices(target: Body) -> Floats:
    x, y, z = (target.solid.vertices * target.scale).T
    cosine, sine = np.float32(np.cos(target.turn)), np.float32(np.sin(target.turn))
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z]) + target.position[:, None]


@dataclass(eq=False)
class Hits:
    """The rays that one body stops: numbers (m,), ray parameters (m,), faces (m,), barycentric u and v (m,)."""

    rays: NDArray[np.intp]
    depth: Floats
    face: NDArray[np.int32]
    u: Floats
    v: Floats


def cast(thing: Body, origins: Floats, directions: Floats) -> Hits:
    """First hits of rays with one body; `origins` and `directions` are (3, n), or (3,) where all rays share one.

    Only rays that pass through the body's bounding sphere are traced.
    """
    centre = thing.centre
    to_centre = centre[:, None] - origins if origins.ndim == 2 else centre - origins
    ahead = np.maximum(dot(directions, to_centre), 0)
    near = np.flatnonzero((dot(to_centre, to_centre) - thing.radius**2) * dot(directions, directions) < ahead * ahead)
    if len(near) == 0:
        empty = np.zeros(0, np.float32)
        return Hits(near, empty, np.zeros(0, np.int32), empty, empty)

    def local(vectors: Floats, *, move: bool) -> Floats:  # (m, 3), as embree takes them
        own = thing.to_local(pick(vectors, near) if vectors.ndim == 2 else vectors, move=move)
        return np.ascontiguousarray(np.broadcast_to(own.T, (len(near), 3)), np.float32)

    found = thing.solid.scene.run(local(origins, move=True), local(directions, move=False), output=1)
    hit = np.flatnonzero(found["primID"] >= 0)
    return Hits(near.take(hit), *(found[name].take(hit) for name in ("tfar", "primID", "u", "v")))


@dataclass(eq=False)
class View:
    """One frame before shading, at `SUPERSAMPLE` rays a pixel and axis."""

    camera: Camera
    bodies: list[Body]  # the target first
    directions: Floats  # (3, n)
    hits: list[Hits]  # by body
    identity: NDArray[np.int16]  # (n,): GROUND, TARGET, TARGET + 1, ...
    depth: Floats  # (n,), infinite where no body is


def look_at(camera: Camera, bodies: list[Body], size: int) -> View:
    """Trace all bodies for a frame of size * size pixels."""
    directions = camera.rays(size * SUPERSAMPLE)
    rays = directions.shape[1]
    identity = np.zeros(rays, np.int16)
    depth = np.full(rays, np.inf, np.float32)
    hits = [cast(thing, camera.origin, directions) for thing in bodies]
    for number, found in enumerate(hits):
        nearer = found.depth < depth[found.rays]
        depth[found.rays[nearer]] = found.depth[nearer]
        identity[found.rays[nearer]] = TARGET + number
    return View(camera, bodies, directions, hits, identity, depth)


def measure(view: View, distractors: int) -> dict[str, float]:
    """Measured columns of a view; bodies 1 to `distractors` are the distractors, later ones occluders.

    `hidden_fraction`: share of the rays to the target's silhouette that something nearer stops. `box_w`,
    `box_h`: pixels of the box around the unhidden silhouette; `box_fraction`: the greater of them over the
    frame's side, before rounding to whole pixels. `distractors`: those that own at least `VISIBLE_SHARE` of
    the rays.
    """
    side = round(len(view.identity) ** 0.5)
    target = view.hits[0].rays
    if len(target) == 0:
        return {
            "hidden_fraction": 1.0,
            "box_w": 0,
            "box_h": 0,
            "box_fraction": 0.0,
            "distractors": 0,
            "margin": 0,
        }
    rows, columns = np.divmod(target, side)
    counts = np.bincount(view.identity, minlength=TARGET + 1 + distractors)
    box = [values.max() // SUPERSAMPLE - values.min() // SUPERSAMPLE + 1 for values in (columns, rows)]
    extent = max(np.ptp(columns), np.ptp(rows)) + 1
    return {
        "hidden_fraction": 1.0 - float(counts[TARGET]) / len(target),
        "box_w": int(box[0]),
        "box_h": int(box[1]),
        "box_fraction": float(extent) / side,
        "distractors": int((counts[TARGET + 1 : TARGET + 1 + distractors] >= VISIBLE_SHARE * side * side).sum()),
        "margin": int(min(rows.min(), columns.min(), side - 1 - rows.max(), side - 1 - columns.max())),
    }
