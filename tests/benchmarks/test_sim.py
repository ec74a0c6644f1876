"""OpenLORIS-Sim: layout, levels, measures, determinism and all-or-nothing rendering, on small sets."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorisbench.benchmarks.sim import rays as sim_rays
from lorisbench.benchmarks.sim import render as sim_render
from lorisbench.benchmarks.sim.looks import LOOKS
from lorisbench.benchmarks.sim.objects import DISTRACTOR_SHAPES, OBJECTS, OCCLUDER_SHAPES, SHAPES, solid
from lorisbench.benchmarks.sim.render import MARKER, SimSettings, is_complete, render
from lorisbench.benchmarks.sim.scene import FACTORS, LEVELS, film, level_of, make_recording
from lorisbench.common.errors import InputError

TINY = SimSettings(objects=3, frames=5, size=48, segments=3)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("sim") / "tiny", TINY, workers=2, progress=False)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "levels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def test_layout_and_counts(tiny: Path) -> None:
    rows = rows_of(tiny)
    on_disk = {path.relative_to(tiny).as_posix() for path in tiny.rglob("*.jpg")}
    assert {row["path"] for row in rows} == on_disk
    assert len(rows) == len(on_disk) == TINY.images == 4 * 3 * 3 * 5
    for row in rows:
        split, factor, segment, name, file = row["path"].split("/")
        assert (split, factor, name) == (row["split"], row["factor"], row["object"])
        assert segment == f"segment{row['segment']}" and int(file.removesuffix(".jpg")) == int(row["frame"])
    by_take = Counter((row["factor"], row["segment"], row["object"], row["split"]) for row in rows)
    assert len(by_take) == 4 * 3 * 3 * 3  # every object has frames of every split in every segment
    assert {
        split: {n for key, n in by_take.items() if key[3] == split} for split in ("train", "test", "validation")
    } == {
        "train": {3},
        "test": {1},
        "validation": {1},
    }
    with Image.open(tiny / rows[0]["path"]) as image:
        assert image.size == (48, 48) and image.mode == "RGB"
    marker = json.loads((tiny / MARKER).read_text())
    assert marker["synthetic"] is True and marker["name"] == "OpenLORIS-Sim" and marker["images"] == len(rows)
    assert marker["settings"]["seed"] == 0 and set(marker["versions"]) == {"trimesh", "embreex", "numpy", "pillow"}


def test_ten_frames_are_split_six_two_two() -> None:
    assert Counter(sim_render.splits(10)) == {"train": 6, "test": 2, "validation": 2}
    assert [level_of(segment, 9) for segment in range(1, 10)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_every_image_is_within_its_levels(tiny: Path) -> None:
    for row in rows_of(tiny):
        for factor, (column, bounds) in LEVELS.items():
            low, high = bounds[int(row["level"]) if factor == row["factor"] else 1]
            assert low <= float(row[column]) <= high, (row["path"], column)


def test_levels_show_in_the_pictures(tiny: Path) -> None:
    """Not the columns but the pixels: weaker light is darker."""
    means: dict[str, list[float]] = {"1": [], "2": [], "3": []}
    for row in rows_of(tiny):
        if row["factor"] == "illumination":
            with Image.open(tiny / row["path"]) as image:
                means[row["level"]].append(float(np.asarray(image, np.float32).mean()))
    assert min(means["1"]) > max(means["2"]) > min(means["2"]) > max(means["3"])


@pytest.mark.parametrize(("factor", "level"), [("occlusion", 2), ("occlusion", 3), ("clutter", 3), ("pixel", 3)])
def test_measures_agree_with_another_ray_caster(factor: str, level: int) -> None:
    """One mesh of the whole scene, traced by trimesh, against the body-by-body tracing that the renderer does."""
    import trimesh

    recording = make_recording(0, factor, level, 3)
    for frame in film(recording, 2, 5, 48, 0)[::2]:
        view, measured = frame.view, frame.measured
        meshes = []
        for thing in view.bodies:
            corners = solid_corners(thing)
            meshes.append(trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), process=False))
        owner = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
        scene = trimesh.util.concatenate(meshes)
        directions = view.directions.T
        origins = np.broadcast_to(view.camera.origin, directions.shape)
        alone = meshes[0].ray.intersects_first(origins, directions) >= 0
        first = scene.ray.intersects_first(origins, directions)
        seen = np.where(first >= 0, owner[first], -1)
        hidden = 1 - (seen == 0).sum() / alone.sum()
        assert measured["hidden_fraction"] == pytest.approx(hidden, abs=0.01)
        side = 48 * sim_rays.SUPERSAMPLE
        rows, columns = np.nonzero(alone.reshape(side, side))
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        assert measured["box_fraction"] == pytest.approx(extent / side, abs=1.5 / side)
        if factor == "clutter":
            shares = np.bincount(seen[seen > 0], minlength=len(meshes)) / len(seen)
            assert measured["distractors"] == (shares >= sim_rays.VISIBLE_SHARE).sum()


def solid_corners(thing: sim_rays.Body) -> np.ndarray:
    """World corners of a body's triangles, put together here a second time: scale, turn about z, move."""
    parts = SHAPES[shape_name(thing)]()
    corners = np.concatenate([part.triangles for part, _ in parts]).reshape(-1, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    corners = (corners - [*(low + high)[:2] / 2, low[2]]) / (high - low).max() * thing.scale
    turn = np.array(
        [[np.cos(thing.turn), -np.sin(thing.turn), 0], [np.sin(thing.turn), np.cos(thing.turn), 0], [0, 0, 1]]
    )
    return corners @ turn.T + thing.position


def shape_name(thing: sim_rays.Body) -> str:
    return next(name for name in SHAPES if solid(name) is thing.solid)


@pytest.mark.heavy
def test_files_do_not_depend_on_the_number_of_workers_but_on_the_seed(tiny: Path, tmp_path: Path) -> None:
    alone = render(tmp_path / "alone", TINY, workers=1, progress=False)
    assert digest(alone) == digest(tiny)
    other = SimSettings(objects=3, frames=5, size=48, segments=3, seed=1, factors=("clutter",))
    orbits = {make_recording(seed, "clutter", segment, 3).azimuth for seed in (0, 1) for segment in (1, 2, 3)}
    assert len(orbits) == 6  # each recording, and each seed, has its own room and orbit
    first = rows_of(render(tmp_path / "other", other, workers=1, progress=False))[0]["path"]
    assert (tmp_path / "other" / first).read_bytes() != (tiny / first).read_bytes()


def test_a_complete_set_is_not_rendered_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    monkeypatch.setattr(sim_render, "_render_into", lambda *_: pytest.fail("it was rendered again"))
    assert render(tiny, TINY, progress=False) == tiny
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_other_content_is_never_overwritten(tiny: Path, tmp_path: Path) -> None:
    assert not is_complete(tiny, SimSettings(objects=3, frames=5, size=48, segments=3, seed=7))
    with pytest.raises(FileExistsError, match="not a complete OpenLORIS-Sim set"):
        render(tiny, SimSettings(objects=3, frames=5, size=48, segments=3, seed=7), progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with pytest.raises(FileExistsError):
        render(tmp_path / "mine", TINY, progress=False)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep me"


def test_a_set_with_a_missing_picture_is_not_complete(tmp_path: Path) -> None:
    settings = SimSettings(objects=2, frames=5, size=32, segments=3, factors=("pixel",))
    out = render(tmp_path / "set", settings, workers=1, progress=False)
    assert is_complete(out, settings)
    next(out.rglob("*.jpg")).unlink()
    assert not is_complete(out, settings)


def test_a_full_disk_is_one_line_that_names_the_set_and_leaves_nothing(tmp_path: Path) -> None:
    settings = SimSettings(objects=2, frames=5, size=32, segments=3, factors=("pixel",))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # bytes of a file: less than any picture has
    try:
        with pytest.raises(InputError, match=r"set: cannot be written \(File too large\)") as error:
            render(tmp_path / "set", settings, workers=1, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value) and not os.listdir(tmp_path)


def start_render(out: Path, settings: str) -> subprocess.Popen[bytes]:
    code = (
        "from pathlib import Path; from lorisbench.benchmarks.sim.render import *; "
        f"render(Path({str(out)!r}), SimSettings({settings}), workers=2, progress=False)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )


@pytest.mark.heavy
def test_a_killed_render_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    out = tmp_path / "set"
    process = start_render(out, "objects=16, frames=10, size=64")
    partial = tmp_path / f"set.partial-{process.pid}"
    while not any(partial.rglob("*.jpg")):
        assert process.poll() is None, "the render wrote no picture"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    try:
        process.communicate(timeout=120)  # the pipe closes when the last orphaned worker has ended
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("workers outlive their killed parent")
    assert not out.exists() and partial.exists()
    assert not (partial / MARKER).exists() and not is_complete(partial, SimSettings(size=64))
    settings = SimSettings(objects=2, frames=5, size=32, segments=3, factors=("pixel",))
    assert is_complete(render(out, settings, workers=1, progress=False), settings)
    assert not list(tmp_path.glob("*.partial-*")), "the next render clears what the killed one left"


@pytest.mark.heavy
def test_two_renders_of_one_set_both_end_well(tmp_path: Path) -> None:
    settings = "objects=2, frames=5, size=32, segments=3, factors=('pixel', 'clutter')"
    processes = [start_render(tmp_path / "set", settings) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    whole = SimSettings(objects=2, frames=5, size=32, segments=3, factors=("pixel", "clutter"))
    assert is_complete(tmp_path / "set", whole)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_losing_the_race_keeps_the_winners_set(tiny: Path, tmp_path: Path) -> None:
    """The renaming itself, without luck in timing: the target appears while the copy is being made."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "half").write_text("")
    before = digest(tiny)
    sim_render._install(copy, tiny, TINY)
    assert digest(tiny) == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("")
    with pytest.raises(OSError):
        sim_render._install(copy, other, TINY)


def test_identity_needs_shape_and_look() -> None:
    for count in (4, SimSettings().objects, len(OBJECTS)):
        chosen = OBJECTS[:count]
        assert len({(thing.shape, thing.look) for thing in chosen}) == len({thing.name for thing in chosen}) == count
        shapes, looks = Counter(thing.shape for thing in chosen), Counter(thing.look for thing in chosen)
        assert max(shapes.values()) > 1 and max(looks.values()) > 1
        if count > 4:
            assert min(shapes.values()) > 1 and min(looks.values()) > 1
    assert {thing.look for thing in OBJECTS} <= set(LOOKS)
    assert not {thing.shape for thing in OBJECTS} & {*DISTRACTOR_SHAPES, *OCCLUDER_SHAPES}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_solids_stand_on_the_floor_and_are_one_unit_large(shape: str) -> None:
    built = solid(shape)
    low, high = built.vertices.min(axis=0), built.vertices.max(axis=0)
    assert abs(low[2]) < 1e-6 and (high - low).max() == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(built.corner_normals, axis=2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"objects": 1},
        {"objects": len(OBJECTS) + 1},
        {"frames": 4},
        {"size": 31},
        {"seed": -1},
        {"segments": 4},
        {"factors": ("weather",)},
        {"factors": ()},
        {"factors": ("pixel", "pixel")},
    ],
)
def test_nonsense_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"OpenLORIS-Sim: {next(iter(wrong))} must be"):
        SimSettings(**wrong)  # type: ignore[arg-type]


def test_nonsense_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers"):
        render(tmp_path / "set", TINY, workers=0)


def test_defaults_make_about_5600_images() -> None:
    settings = SimSettings()
    assert 5000 <= settings.images <= 6000 and settings.factors == FACTORS
