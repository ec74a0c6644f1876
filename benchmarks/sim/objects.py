"""The things that OpenLORIS-Sim shows: solids, their looks, and the table of target objects.

Every target is a *shape* (solids put together) with a *look* (a procedural texture for the body and a plain
colour for the trim). Each shape comes in two looks that differ in hue or in pattern, and each look comes on
several shapes, so that neither shape nor look alone tells an object's identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import trimesh.creation as solids
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray
from trimesh import Trimesh

from lorisbench.benchmarks.sim.looks import BODY, LOOKS, TRIM, Floats

SMOOTH_COSINE = 0.75  # faces that meet at less than about 41 degrees are shaded as one curved surface

TARGET_SHAPES = (
    "mug", "jar", "bottle", "vase", "lamp", "plant", "rocket", "pin", "teapot", "car", "bear", "dumbbell",
)  # fmt: skip
DISTRACTOR_SHAPES = ("bowl", "pyramid", "brick", "tube", "doughnut", "capsule", "dome", "blocks")
OCCLUDER_SHAPES = ("board", "column", "crate")


@dataclass(frozen=True)
class TargetObject:
    """A row of the identity table: folder name, shape and look."""

    name: str
    shape: str
    look: str


def _identity_table() -> tuple[TargetObject, ...]:
    """Shape k wears looks k and k+1 (around the end): objects 2k, 2k+1 share their shape, 2k+1, 2k+2 their look."""
    looks = list(LOOKS)
    rows = []
    for index, shape in enumerate(TARGET_SHAPES):
        for variant in range(2):
            rows.append(TargetObject(f"{shape}_{variant + 1:02d}", shape, looks[(index + variant) % len(looks)]))
    return tuple(rows)


OBJECTS: tuple[TargetObject, ...] = _identity_table()
"""All targets there are; a set of n objects takes the first n."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A shape ready for ray casting: it stands on z = 0, centred, its greatest extent is 1 (a unit)."""

    scene: EmbreeScene
    vertices: Floats  # (v, 3)
    corner_normals: Floats  # (f, 3, 3), by face and corner
    slots: NDArray[np.int8]  # (f,), BODY or TRIM
    height: float
    radius: float  # of the sphere around (0, 0, height / 2) that holds all vertices


@cache
def solid(shape: str) -> Solid:
    """Build `shape`, once per process. Raises KeyError for a shape that is not in `SHAPES`."""
    parts = SHAPES[shape]()
    corners = np.concatenate([part.triangles for part, _ in parts])
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    unit = float((high - low).max())
    corners = ((corners - origin) / unit).astype(np.float32)
    normals = np.concatenate([_corner_normals(part) for part, _ in parts]).astype(np.float32)
    slots = np.concatenate([np.full(len(part.faces), slot, np.int8) for part, slot in parts])
    scene = EmbreeScene()
    vertices = np.ascontiguousarray(corners.reshape(-1, 3))
    TriangleMesh(scene=scene, vertices=vertices, indices=np.arange(len(vertices), dtype=np.int32).reshape(-1, 3))
    height = float(high[2] - low[2]) / unit
    radius = float(np.sqrt(((vertices - [0, 0, height / 2]) ** 2).sum(axis=1)).max()) * 1.001
    return Solid(scene, np.unique(vertices, axis=0), normals, slots, height, radius)


def _corner_normals(mesh: Trimesh) -> NDArray[np.float64]:
    """(f, 3, 3): at each corner the mean normal of the faces that meet there at a flat enough angle."""
    around = mesh.vertex_faces[mesh.faces]  # (f, 3, most faces at a vertex), padded with -1
    normals = mesh.face_normals[around]
    cosine = (normals * mesh.face_normals[:, None, None, :]).sum(axis=3)
    weight = (around >= 0) & (cosine > SMOOTH_COSINE)
    total = (normals * (mesh.area_faces[around] * weight)[..., None]).sum(axis=2)
    return total / np.maximum(np.sqrt((total**2).sum(axis=2, keepdims=True)), 1e-12)


Parts = list[tuple[Trimesh, int]]


def _at(mesh: Trimesh, x: float = 0, y: float = 0, z: float = 0, *, tilt: float = 0, axis: int = 1) -> Trimesh:
    """Turn `mesh` by `tilt` degrees about a coordinate axis, then move it."""
    if tilt:
        cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        i, j = (axis + 1) % 3, (axis + 2) % 3
        matrix = np.eye(4)
        matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = cosine, -sine, sine, cosine
        mesh.apply_transform(matrix)
    mesh.apply_translation([x, y, z])
    return mesh


def _turned(*profile: tuple[float, float]) -> Trimesh:
    """A body of revolution about z from its (radius, height) profile."""
    return solids.revolve(np.array(profile, float), sections=40)


def _rod(radius: float, height: float) -> Trimesh:
    """An upright cylinder that stands on z = 0."""
    return _at(solids.cylinder(radius=radius, height=height, sections=32), z=height / 2)


def _ball(radius: float) -> Trimesh:
    return solids.uv_sphere(radius=radius, count=(12, 20))


def _block(x: float, y: float, z: float) -> Trimesh:
    """An upright box that stands on z = 0."""
    return _at(solids.box(extents=(x, y, z)), z=z / 2)


def _ring(major: float, minor: float) -> Trimesh:
    return solids.torus(major_radius=major, minor_radius=minor, major_sections=32, minor_sections=12)


def _mug() -> Parts:
    cup = _turned((0, 0), (0.38, 0), (0.42, 0.05), (0.42, 1), (0.36, 1), (0.36, 0.1), (0, 0.1))
    return [(cup, BODY), (_at(_ring(0.25, 0.06), x=0.46, z=0.5, tilt=90, axis=0), TRIM)]


def _bottle() -> Parts:
    flask = _turned((0, 0), (0.26, 0), (0.28, 0.04), (0.28, 0.9), (0.22, 1.05), (0.1, 1.2), (0.1, 1.42), (0, 1.42))
    return [(flask, BODY), (_at(_rod(0.13, 0.14), z=1.36), TRIM)]


def _jar() -> Parts:
    pot = _turned((0, 0), (0.36, 0), (0.42, 0.06), (0.42, 0.8), (0.34, 0.9), (0, 0.9))
    return [(pot, BODY), (_at(_rod(0.38, 0.12), z=0.9), TRIM), (_at(_ball(0.07), z=1.05), TRIM)]


def _lamp() -> Parts:
    shade = _turned((0.48, 0.75), (0.26, 1.3), (0.22, 1.3), (0.44, 0.75), (0.48, 0.75))
    return [(shade, BODY), (_rod(0.3, 0.08), TRIM), (_rod(0.05, 1.1), TRIM), (_at(_ball(0.14), z=1.0), TRIM)]


def _teapot() -> Parts:
    belly = _turned((0, 0), (0.3, 0), (0.46, 0.15), (0.5, 0.33), (0.42, 0.53), (0.2, 0.64), (0, 0.66))
    spout = _at(solids.cylinder(radius=0.08, height=0.5, sections=20), x=0.55, z=0.42, tilt=40)
    handle = _at(_ring(0.22, 0.05), x=-0.5, z=0.36, tilt=90, axis=0)
    return [(belly, BODY), (spout, TRIM), (handle, TRIM), (_at(_ball(0.08), z=0.72), TRIM)]


def _car() -> Parts:
    parts: Parts = [
        (_at(_block(1.3, 0.58, 0.26), z=0.12), BODY),
        (_at(_block(0.68, 0.5, 0.26), -0.08, z=0.38), BODY),
    ]
    for x in (-0.4, 0.4):
        for y in (-0.29, 0.29):
            wheel = solids.cylinder(radius=0.17, height=0.12, sections=24)
            parts.append((_at(wheel, x, y, 0.17, tilt=90, axis=0), TRIM))
    return parts


def _bear() -> Parts:
    parts: Parts = [
        (_at(_ball(0.34), z=0.36), BODY),
        (_at(_ball(0.25), z=0.84), BODY),
        (_at(_ball(0.1), 0.22, z=0.8), TRIM),
    ]
    for side in (-1, 1):
        parts.append((_at(_ball(0.1), 0, 0.18 * side, 1.05), TRIM))
        parts.append((_at(_ball(0.13), 0.24, 0.22 * side, 0.13), BODY))
        parts.append((_at(_ball(0.12), 0.14, 0.36 * side, 0.52), BODY))
    return parts


def _vase() -> Parts:
    body = _turned(
        (0, 0),
        (0.2, 0),
        (0.36, 0.2),
        (0.4, 0.42),
        (0.3, 0.7),
        (0.15, 0.9),
        (0.14, 1.02),
        (0.24, 1.15),
        (0, 1.0),
    )
    return [(body, BODY), (_at(_ring(0.24, 0.025), z=1.15), TRIM), (_at(_ring(0.21, 0.03), z=0.03), TRIM)]


def _dumbbell() -> Parts:
    parts: Parts = [(_at(solids.cylinder(radius=0.08, height=1.0, sections=20), z=0.3, tilt=90), TRIM)]
    for side in (-1, 1):
        parts.append((_at(solids.cylinder(radius=0.3, height=0.22, sections=32), 0.45 * side, z=0.3, tilt=90), BODY))
        parts.append((_at(solids.cylinder(radius=0.2, height=0.14, sections=32), 0.62 * side, z=0.3, tilt=90), BODY))
    return parts


def _rocket() -> Parts:
    hull = _turned((0, 0.1), (0.18, 0.1), (0.24, 0.35), (0.24, 0.8), (0.18, 1.05), (0.08, 1.25), (0, 1.33))
    fins: Parts = [(_at(_block(0.3, 0.05, 0.4), 0.27), TRIM), (_at(_block(0.3, 0.05, 0.4), -0.27), TRIM)]
    fins += [(_at(_block(0.05, 0.3, 0.4), 0, 0.27), TRIM), (_at(_block(0.05, 0.3, 0.4), 0, -0.27), TRIM)]
    return [(hull, BODY), *fins]


def _plant() -> Parts:
    pot = _turned((0, 0), (0.26, 0), (0.36, 0.42), (0.3, 0.42), (0, 0.38))
    crown: Parts = [
        (_at(solids.cone(radius=0.4 - 0.09 * k, height=0.42, sections=32), z=0.45 + 0.24 * k), TRIM) for k in range(3)
    ]
    return [(pot, BODY), *crown, (_rod(0.06, 0.6), TRIM)]


def _blocks() -> Parts:
    return [(_block(0.6, 0.6, 0.5), BODY), (_at(_block(0.4, 0.4, 0.35), 0.05, z=0.5, tilt=25, axis=2), TRIM)]


SHAPES: dict[str, Callable[[], Parts]] = {
    "mug": _mug, "jar": _jar, "bottle": _bottle, "lamp": _lamp, "teapot": _teapot, "car": _car, "bear": _bear,
    "vase": _vase, "dumbbell": _dumbbell, "rocket": _rocket, "plant": _plant, "blocks": _blocks,
    "bowl": lambda: [(_turned((0, 0), (0.2, 0), (0.42, 0.18), (0.5, 0.4), (0.46, 0.4), (0, 0.08)), BODY)],
    "pyramid": lambda: [(solids.cone(radius=0.55, height=0.8, sections=4), BODY)],
    "brick": lambda: [(_block(0.9, 0.45, 0.35), BODY)],
    "tube": lambda: [(_turned((0.25, 0), (0.3, 0), (0.3, 0.8), (0.25, 0.8), (0.25, 0)), BODY)],
    "doughnut": lambda: [(_at(_ring(0.35, 0.16), z=0.16), BODY)],
    "capsule": lambda: [(_at(solids.capsule(height=0.7, radius=0.22), z=0.22, tilt=90), BODY)],
    "dome": lambda: [(_turned((0, 0), (0.5, 0), (0.46, 0.2), (0.35, 0.36), (0.19, 0.46), (0, 0.5)), BODY)],
    "pin": lambda: [(_turned((0, 0), (0.14, 0), (0.24, 0.3), (0.1, 0.72), (0.13, 0.9), (0, 1.02)), BODY)],
    "board": lambda: [(_block(1.0, 0.08, 1.0), BODY), (_block(1.0, 0.1, 0.06), TRIM)],
    "column": lambda: [(_rod(0.5, 1.0), BODY), (_rod(0.52, 0.06), TRIM)],
    "crate": lambda: [(_block(1.0, 0.6, 1.0), BODY), (_at(_block(1.02, 0.62, 0.08), z=0.9), TRIM)],
}  # fmt: skip
"""Builders of all shapes by name, as solids with material slots; any position and scale (see `solid`)."""
