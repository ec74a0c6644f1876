"""Recordings of OpenLORIS-Sim: what stands where, what the camera sees of it, and the levels it must meet.

Lengths are in units of the target's greatest extent; the floor is z = 0 and the target stands at the origin. A
*recording* (factor and segment) fixes room, light and camera orbit; a *take* is one object filmed in it. Levels are
measured, never assumed: a take that misses them is drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorisbench.benchmarks.sim.looks import LOOKS, Floats, Look, dot, pick, random_look
from lorisbench.benchmarks.sim.objects import DISTRACTOR_SHAPES, OBJECTS, OCCLUDER_SHAPES
from lorisbench.benchmarks.sim.rays import FOCAL, Body, Camera, View, aim, body, cast, look_at, measure

FACTORS = ("clutter", "illumination", "occlusion", "pixel")
MOST_LAYOUTS = 400  # tries before a take is given up

LEVELS: dict[str, tuple[str, dict[int, tuple[float, float]]]] = {
    "illumination": ("light", {1: (0.80, 1.25), 2: (0.35, 0.55), 3: (0.03, 0.10)}),
    "occlusion": ("hidden_fraction", {1: (0.0, 0.0), 2: (0.18, 0.32), 3: (0.43, 0.57)}),
    "pixel": ("box_fraction", {1: (0.55, 0.95), 2: (0.25, 0.45), 3: (0.10, 0.20)}),
    "clutter": ("distractors", {1: (0, 0), 2: (2, 4), 3: (6, 10)}),
}
"""For each factor the column that measures it and, by level, the least and greatest value of an image.

Nominal levels are OpenLORIS-Object's: strong, normal, weak light; 0, 25, 50 % hidden; more than 200x200,
30x30 to 200x200, less than 30x30 pixels of a 424x240 frame; simple, normal, complex clutter. Its pixel
bounds, as shares of 240, are 0.83 and 0.125; frames here are square and small, so the shares are drawn
closer together but keep their order: level 1 fills the frame, level 3 is a few pixels wide.
"""

NOMINAL_LIGHT = {1: 1.0, 2: 0.44, 3: 0.06}
NOMINAL_HIDDEN = {1: 0.0, 2: 0.25, 3: 0.50}

HIDDEN_TOLERANCE = 0.07  # of an image's hidden fraction around the nominal one (as in the bounds above)
MIXED = "mixed"
BATCHES: dict[int, tuple[int, float, int, int]] = {
    1: (1, 0.10, 3, 1),
    2: (1, 0.00, 1, 3),
    3: (2, 0.00, 1, 1),
    4: (3, 0.00, 1, 1),
    5: (1, 0.00, 1, 3),
    6: (1, 0.50, 1, 1),
    7: (1, 0.25, 1, 1),
    8: (1, 0.00, 2, 3),
    9: (3, 0.50, 1, 1),
}
"""The challenge's nine batches: level of illumination, nominal hidden fraction, level of pixel size, of clutter.

IROS 2019 Lifelong Robotic Vision Challenge, first round; what its table leaves blank is at level 1 here.
"""


@dataclass(frozen=True)
class Demands:
    """What a recording asks of its images: levels by factor, and the nominal hidden fraction."""

    illumination: int
    pixel: int
    clutter: int
    hidden: float

    def bounds(self, factor: str) -> tuple[float, float]:
        """Least and greatest value of the factor's measured column."""
        if factor == "occlusion":
            if self.hidden == 0:
                return 0.0, 0.0
            return self.hidden - HIDDEN_TOLERANCE, self.hidden + HIDDEN_TOLERANCE
        return LEVELS[factor][1][getattr(self, factor)]


def demands_of(factor: str, segment: int, segments: int) -> Demands:
    """Demands of a segment of a factor (all others at level 1), or of a batch (`mixed`, number)."""
    if factor == MIXED:
        illumination, hidden, pixel, clutter = BATCHES[segment]
        return Demands(illumination, pixel, clutter, hidden)
    levels = {name: level_of(segment, segments) if name == factor else 1 for name in FACTORS}
    return Demands(levels["illumination"], levels["pixel"], levels["clutter"], NOMINAL_HIDDEN[levels["occlusion"]])


def factor_number(factor: str) -> int:
    """Part of the seed for everything drawn for a factor, or for the mixed batches."""
    return len(FACTORS) if factor == MIXED else FACTORS.index(factor)


def level_of(segment: int, segments: int) -> int:
    """Level (1 to 3) of a segment counted from 1, where each level has a third of the segments."""
    return (segment - 1) * 3 // segments + 1


@dataclass(frozen=True)
class Recording:
    """Room, light and orbit that all objects of one (factor, segment) share; angles in radians.

    A mixed batch has the factor `mixed`, the batch's number for its segment, and level 0.
    """

    factor: str
    segment: int
    level: int
    demands: Demands
    floor: Look
    wall: Look
    wall_distance: float
    azimuth: float  # of the camera at the middle of the orbit
    arc: float  # covered by the whole orbit
    elevation: float
    box_fraction: float  # the target's, as wished for
    light_direction: Floats  # (3,), towards the light
    light_colour: Floats  # (3,), mean 1
    key_gain: float  # relative to the strong level
    ambient_gain: float
    blur: float  # radius in pixels of a frame 128 wide
    noise: float  # relative strength of the sensor's noise


def make_recording(seed: int, factor: str, segment: int, segments: int) -> Recording:
    """Draw the recording of (factor, segment); deterministic in its arguments."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, factor_number(factor), segment)))
    demands = demands_of(factor, segment, segments)
    azimuth = generator.uniform(0, 2 * np.pi)
    light_azimuth = azimuth + generator.choice([-1, 1]) * generator.uniform(0.3, 1.9)
    light_height = generator.uniform(0.6, 1.15)
    light = [
        np.cos(light_azimuth) * np.cos(light_height),
        np.sin(light_azimuth) * np.cos(light_height),
        np.sin(light_height),
    ]
    warmth = generator.uniform(-1, 1)
    colour = np.array([1 + 0.32 * warmth, 1 + 0.06 * generator.uniform(-1, 1), 1 - 0.38 * warmth])
    gain = NOMINAL_LIGHT[demands.illumination] * generator.uniform(0.88, 1.12)
    low, high = demands.bounds("pixel")
    crowded = demands.clutter > 1 or demands.hidden > 0  # leave room beside the target
    share = generator.uniform(0.15, 0.35) if crowded else generator.uniform(0.1, 0.4)
    return Recording(
        factor=factor,
        segment=segment,
        level=0 if factor == MIXED else level_of(segment, segments),
        demands=demands,
        floor=_surface(generator, ("wood", "tiles", "carpet", "mottled", "planks")),
        wall=_surface(generator, ("paint", "bricks", "paper", "panels", "mottled")),
        wall_distance=generator.uniform(3.0, 6.0),
        azimuth=azimuth,
        arc=np.radians(generator.uniform(60, 100)) * (0.7 if demands.clutter > 1 else 1.0),
        elevation=np.radians(generator.uniform(10, 45)),
        box_fraction=low + (high - low) * share,
        light_direction=np.array(light, np.float32),
        light_colour=(colour / colour.mean()).astype(np.float32),
        key_gain=gain * generator.uniform(0.92, 1.0),
        ambient_gain=gain * generator.uniform(1.0, 1.08),
        blur=generator.uniform(0.0, 1.1),
        noise=generator.uniform(0.7, 1.4),
    )


def _surface(generator: np.random.Generator, patterns: Sequence[str]) -> Look:
    """A pale or dark look for a floor or a wall whose two colours are alike."""
    base = generator.uniform(0.12, 0.6) * (1 + generator.uniform(-0.3, 0.3, 3))
    other = base * generator.uniform(0.45, 0.85) * (1 + generator.uniform(-0.12, 0.12, 3))
    scale = float(generator.uniform(0.8, 2.2))
    return Look(str(generator.choice(patterns)), tuple(base), tuple(other), scale, tuple(other), 0.0)


@dataclass(frozen=True, eq=False)
class Frame:
    """A traced frame and the measured columns that belong to it (all but `light`)."""

    view: View
    measured: dict[str, float]


def film(recording: Recording, number: int, frames: int, size: int, seed: int) -> list[Frame]:
    """Film target `number` of `OBJECTS`: `frames` views of size * size pixels in orbit order, all within
    their levels.

    Raises RuntimeError if no layout out of `MOST_LAYOUTS` meets the levels.
    """
    entropy = (seed, factor_number(recording.factor), recording.segment, number)
    generator = np.random.default_rng(np.random.SeedSequence(entropy))
    identity = OBJECTS[number]
    for _ in range(MOST_LAYOUTS):
        target = body(identity.shape, LOOKS[identity.look], 0, 0, generator.uniform(0, 2 * np.pi), (1, 1, 1))
        cameras = _orbit(recording, target, frames, generator)
        distractors = _distractors(recording, target, cameras, generator)
        occluder = _occluder(generator) if recording.demands.hidden > 0 else None
        taken: list[Frame] = []
        # The ends of the orbit are the likeliest to fail, so they are tried first.
        for index in sorted(range(frames), key=lambda k: -abs(k - (frames - 1) / 2)):
            bodies = [target, *distractors]
            if occluder is not None:
                wished = recording.demands.hidden + generator.uniform(-0.04, 0.04)
                bodies.append(occluder.hide(target, cameras[index], wished, size))
            view = look_at(cameras[index], bodies, size)
            frame = Frame(view, measure(view, len(distractors)))
            if not meets_levels(recording, frame.measured):
                break
            taken.append(frame)
        if len(taken) == frames:
            return sorted(taken, key=lambda frame: cameras.index(frame.view.camera))
    raise RuntimeError(
        f"no layout of {identity.name} met the levels of {recording.factor}, segment {recording.segment}, "
        f"in {MOST_LAYOUTS} tries"
    )


def meets_levels(recording: Recording, measured: dict[str, float]) -> bool:
    """Whether the measured columns lie within what the recording demands and the target inside the frame."""
    for factor, (column, _) in LEVELS.items():
        low, high = recording.demands.bounds(factor)
        if column in measured and not low <= measured[column] <= high:
            return False
    return measured["margin"] > 0


def _orbit(recording: Recording, target: Body, frames: int, generator: np.random.Generator) -> list[Camera]:
    steps = (np.arange(frames) + 0.5) / frames - 0.5
    start = generator.uniform(-0.1, 0.1)
    middle = generator.uniform(-0.5, 0.5, 2)
    cameras = []
    for step in steps:
        azimuth = recording.azimuth + start + recording.arc * step + generator.normal(0, 0.015)
        elevation = recording.elevation + generator.normal(0, 0.05)
        share = recording.box_fraction * np.exp(generator.normal(0, 0.04))
        shift = np.clip(middle + generator.normal(0, 0.18, 2), -0.8, 0.8).astype(np.float32)
        cameras.append(aim(target, azimuth, elevation, generator.normal(0, 0.05), share, shift))
    return cameras


def _distractors(
    recording: Recording, target: Body, cameras: list[Camera], generator: np.random.Generator
) -> list[Body]:
    """Bodies around and behind the target, put in until enough are in sight from the orbit's ends and middle.

    This is a guess that makes most layouts fit; `measure` decides.
    """
    low, high = (int(bound) for bound in recording.demands.bounds("clutter"))
    wanted = int(generator.integers(low, low + 2)) if high else 0
    posts = [(camera, *camera.box(target)) for camera in (cameras[0], cameras[len(cameras) // 2], cameras[-1])]
    in_sight = np.zeros(len(posts), int)
    placed: list[Body] = []
    for _ in range(60 * wanted):
        if in_sight.min() >= wanted or len(placed) == high:  # more than `high` could show at once
            break
        angle = recording.azimuth + np.pi + generator.uniform(-2.2, 2.2)
        away = generator.uniform(0.7, 2.6)
        scale = generator.uniform(0.25, 0.65) * generator.uniform(0.85, 1.15, 3)
        shape = str(generator.choice(DISTRACTOR_SHAPES))
        look = LOOKS[str(generator.choice(list(LOOKS)))] if generator.random() < 0.5 else random_look(generator)
        x, y = away * np.cos(angle), away * np.sin(angle)
        candidate = body(shape, look, x, y, generator.uniform(0, 2 * np.pi), scale)
        gaps = [
            np.hypot(x - other.position[0], y - other.position[1]) - 0.7 * (other.radius + candidate.radius)
            for other in (target, *placed)
        ]
        if min(gaps) < 0:
            continue
        sights = np.array([_sight(candidate, target, *post) for post in posts])
        if sights.min() >= 0 and sights.sum() > 1:
            in_sight += sights
            placed.append(candidate)
    return placed


def _sight(thing: Body, target: Body, camera: Camera, low: Floats, high: Floats) -> int:
    """1 if the thing is in clear sight, 0 if out of the frame or behind the target, -1 if in front of it.

    By its middle and its radius alone; `low` and `high` are the corners of the target's box in the frame.
    """
    depth, target_depth = (float(dot(each.centre - camera.origin, camera.axes[2])) for each in (thing, target))
    if depth < 0.3:
        return -1
    place = camera.project(thing.centre[:, None])[:, 0]
    margin = 0.9 * thing.radius * FOCAL / depth if depth < target_depth else 0.0
    overlaps = bool(((place > low - margin) & (place < high + margin)).all())
    if overlaps:
        return -1 if depth < target_depth else 0
    return int((np.abs(place - 0.5) < 0.49).all())


@dataclass(frozen=True)
class _Occluder:
    """A thing that stands in front of the target: slid in from one side, or grown from the floor (side 0)."""

    shape: str
    look: Look
    side: int
    away: float
    width: float
    height: float
    turn: float

    def at(self, target: Body, camera: Camera, share: float) -> Body:
        """The occluder at `share` of its way from hiding nothing (0) to hiding as much as it can (1)."""
        toward = (camera.origin - target.centre)[:2]
        azimuth = float(np.arctan2(toward[1], toward[0]))
        aside = 0.0 if self.side == 0 else self.side * (1 - share) * 1.6
        x = self.away * np.cos(azimuth) - aside * np.sin(azimuth)
        y = self.away * np.sin(azimuth) + aside * np.cos(azimuth)
        height = max(self.height * share, 0.02) if self.side == 0 else self.height
        width = 2.0 if self.side == 0 else self.width
        return body(self.shape, self.look, x, y, azimuth + np.pi / 2 + self.turn, (width, 0.25, height))

    def hide(self, target: Body, camera: Camera, wished: float, size: int) -> Body:
        """The occluder where it hides about `wished` of the target's silhouette, by bisection with a ray a pixel."""
        directions = camera.rays(size)
        silhouette = cast(target, camera.origin, directions)
        rays, depth = pick(directions, silhouette.rays), silhouette.depth
        low, high = 0.0, 1.0
        for _ in range(9):
            share = (low + high) / 2
            found = cast(self.at(target, camera, share), camera.origin, rays)
            hidden = (found.depth < depth[found.rays]).sum() / max(len(depth), 1)
            low, high = (share, high) if hidden < wished else (low, share)
        return self.at(target, camera, (low + high) / 2)


def _occluder(generator: np.random.Generator) -> _Occluder:
    return _Occluder(
        shape=str(generator.choice(OCCLUDER_SHAPES)),
        look=random_look(generator),
        side=int(generator.choice((-1, 1, -1, 1, 0))),
        away=generator.uniform(0.75, 0.95),
        width=generator.uniform(0.55, 0.8),
        height=generator.uniform(1.25, 1.5),
        turn=generator.uniform(-0.25, 0.25),
    )
