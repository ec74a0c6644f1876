"""Tiny trees of OpenLORIS-Object in each of its layouts, for tests."""

from __future__ import annotations

import io
import itertools
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

FACTORS = ("illumination", "occlusion", "pixel", "clutter")
OBJECTS = ("box_01", "cup_01", "cup_02")
FRAMES = {"train": 2, "validation": 1, "test": 1}


def _picture(number: int) -> bytes:
    """A small JPEG; different numbers give different bytes."""
    pixels = np.full((8, 8, 3), (number * 37 % 256, number // 7 % 256, 90), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


PICTURES = [_picture(number) for number in range(64)]


def fill(folder: Path, frames: int, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for frame in range(frames):
        (folder / f"{first + frame:03d}.jpg").write_bytes(PICTURES[(first + frame) % len(PICTURES)])


def release(root: Path, objects: tuple[str, ...] = OBJECTS) -> Path:
    for split, frames in FRAMES.items():
        for factor in FACTORS:
            for segment in range(1, 10):
                for number, name in enumerate(objects):
                    fill(root / split / factor / f"segment{segment}" / name, frames, segment + 9 * number)
    return root


def benchmark1(root: Path, validation: bool = True, train: int = 2) -> Path:
    for factor in FACTORS:
        for split, frames in FRAMES.items():
            if split == "validation" and not validation:
                continue
            for task in range(1, 10):
                for name in OBJECTS:
                    fill(root / factor / split / f"task{task}" / name, train if split == "train" else frames)
    return root


def challenge(root: Path, kind: str = "task", number: int = 12) -> Path:
    for split, frames in FRAMES.items():
        for task in range(1, number + 1):
            for name in OBJECTS:
                fill(root / split / f"{kind}{task}" / name, frames)
    return root


def lists(root: Path, objects: tuple[str, ...] = OBJECTS) -> Path:
    """Avalanche's mirror: labels are not the sorted order, and neither are the lines."""
    release(root, objects)
    label = {name: (index + 1) % len(objects) for index, name in enumerate(objects)}
    rng = np.random.default_rng(5)

    def write(file: Path, paths: list[Path]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        rng.shuffle(paths)  # type: ignore[arg-type]
        lines = [f"{path.relative_to(root).as_posix()} {label[path.parent.name]}" for path in paths]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    domain = root / "batches_filelists" / "domain"
    for factor in FACTORS:
        for segment in range(1, 10):
            paths = sorted((root / "train" / factor / f"segment{segment}").rglob("*.jpg"))
            write(domain / factor / f"train_batch_{segment - 1:02d}.txt", paths)
        write(domain / factor / "test.txt", sorted((root / "test" / factor).rglob("*.jpg")))
    for number, (factor, level) in enumerate(itertools.product(FACTORS, range(3))):
        folders = [root / "train" / factor / f"segment{3 * level + view}" for view in (1, 2, 3)]
        paths = [path for folder in folders for path in sorted(folder.rglob("*.jpg"))]
        write(domain / "iros" / f"train_batch_{number:02d}.txt", paths)
    write(domain / "iros" / "test.txt", sorted((root / "test").rglob("*.jpg")))
    return root


def every(folder: Path) -> SimpleNamespace:
    """One tree of each layout, and one of the challenge's batches."""
    return SimpleNamespace(
        release=release(folder / "release"),
        benchmark1=benchmark1(folder / "benchmark1"),
        challenge=challenge(folder / "challenge"),
        batches=challenge(folder / "batches", "batch", 9),
        avalanche=lists(folder / "avalanche"),
    )


def for_avalanche(root: Path) -> Path:
    """What avalanche.benchmarks.classic.OpenLORIS needs besides the lists: archives that exist, and three pickles."""
    from avalanche.benchmarks.datasets.openloris.openloris_data import avl_vps_data

    for name, *_ in avl_vps_data:
        (root / name).write_bytes(b"")
    contents = {
        "Paths.pkl": [],
        "Labels.pkl": {"domain": [[[] for _ in range(10)] for _ in range(4)]},
        "LUP.pkl": {"domain": [[[] for _ in range(10)] for _ in range(4)]},
    }
    for name, value in contents.items():
        (root / name).write_bytes(pickle.dumps(value))
    return root
