"""Permuted and rotated MNIST: how images are shown, from which seed, and that all of it takes the bytes of one set."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import idx, write_mnist
from PIL import Image

from lorisbench.benchmarks.classic.moved_mnist import Draw, Moved, Permuted, Rotated, turned
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import MOVE, POSITION, Manifest
from lorisbench.model import features
from lorisbench.model.backbones import make_backbone
from lorisbench.model.grey import GreyPixels
from lorisbench.suite.benchmarks import make_benchmark

SIDE = 28


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mnist(tmp_path_factory.mktemp("moved") / "files")


def shown(manifest: Manifest, row: int) -> np.ndarray:
    return np.asarray(manifest.sources()[row])[:, :, 0]


def kept(manifest: Manifest, row: int) -> np.ndarray:
    return np.load(str(manifest.pixels))[manifest.table[POSITION][row], :, :, 0]


@pytest.mark.parametrize("angle", [0.0, 13.7, 45.0, 90.0, 133.3, 179.9])
def test_images_are_turned_as_pillow_turns_them(angle: float) -> None:
    image = np.random.default_rng(0).integers(1, 256, (SIDE, SIDE)).astype(np.uint8)
    source = turned(angle, SIDE)
    moved = np.where(source < 0, 0, image.ravel()[source]).reshape(SIDE, SIDE)
    assert np.array_equal(moved, np.asarray(Image.fromarray(image).rotate(angle)))


@pytest.mark.parametrize("kind", [Permuted, Rotated])
def test_each_task_has_all_images_shown_in_its_way(mnist: Path, kind: type[Moved]) -> None:
    manifest = kind(root=str(mnist), tasks=3, validation=0, stream_seed=4).usable()
    assert manifest.counts()[["train", "validation", "test"]].to_numpy().tolist() == [[60, 0, 20]] * 3
    assert manifest.moves is not None and len(manifest.classes) == 10
    for row in (0, 59, 60, 81, 200, 239):
        source = manifest.moves[manifest.table.experience[row]]
        expected = np.where(source < 0, 0, kept(manifest, row).ravel()[source]).reshape(SIDE, SIDE)
        assert np.array_equal(shown(manifest, row), expected) and not np.array_equal(expected, kept(manifest, row))
    if kind is Permuted:  # the first task's too
        assert all(sorted(move) == list(range(SIDE**2)) != list(move) for move in manifest.moves)


def test_angles_are_drawn_from_the_half_circle() -> None:
    drawn = np.array([angle for seed in range(50) for angle in Draw("rotated", 20, SIDE).angles(seed)])
    assert drawn.min() < 1 and drawn.max() > 179 and (drawn >= 0).all() and (drawn < 180).all()
    assert abs(drawn.mean() - 90) < 5 and len(set(drawn)) == 1000


def test_more_tasks_leave_the_first_as_they_were() -> None:
    few, many = (Draw("permuted", tasks, 4)(3) for tasks in (2, 5))
    assert np.array_equal(few, many[:2])


@pytest.mark.parametrize("kind", [Permuted, Rotated])
def test_a_stream_of_the_runs_seed_is_another_for_each(mnist: Path, kind: type[Moved]) -> None:
    settings = {"root": str(mnist), "tasks": 2, "validation": 1}
    drawn = kind(**settings, stream_seed="run").usable()
    one, other, again = drawn.for_seed(1), drawn.for_seed(2), drawn.for_seed(1)
    fixed = kind(**settings, stream_seed=1).usable()
    assert np.array_equal(one.moves, fixed.moves) and not np.array_equal(one.moves, other.moves)
    assert fixed.for_seed(5) is fixed
    assert "drawn" in drawn.describe() and "drawn" not in fixed.describe()
    hashes = [each.content_hash for each in (drawn, one, other, fixed)]
    assert len(set(hashes)) == 4 and again.content_hash == one.content_hash
    assert kind(**settings, stream_seed=2).usable().content_hash != fixed.content_hash
    # in another order, and with fewer images, each image keeps its way
    ordered, thin = one.in_order([1, 0]), kind(**settings, stream_seed=1, order=[1, 0], fraction=0.5).usable()
    for manifest in (ordered, thin):
        row = int(manifest.rows("test", 0)[0])
        assert manifest.table[MOVE][row] == 1
        source = manifest.moves[1]  # type: ignore[index]
        expected = np.where(source < 0, 0, kept(manifest, row).ravel()[source]).reshape(SIDE, SIDE)
        assert np.array_equal(shown(manifest, row), expected)


@pytest.mark.parametrize(("kind", "scale"), [(Rotated, (0.1, 0.2752)), (Rotated, (0.0, 1.0)), (Permuted, (0.0, 1.0))])
def test_what_is_made_by_the_batch_is_what_the_backbone_gives(
    mnist: Path, kind: type[Moved], scale: tuple[float, float]
) -> None:
    """Bit for bit, whichever way it is asked for, and without a file of features."""
    manifest = kind(root=str(mnist), tasks=3, validation=0, pad=2).usable()
    backbone = make_backbone("pixels", image_size=SIDE + 4, scale=scale)
    backbone.freeze()
    on = torch.device("cpu")
    quick = features.inputs(manifest, backbone, SIDE + 4, on)
    assert isinstance(quick, GreyPixels) and quick.stored.dtype == torch.uint8 and len(quick.stored) == 80
    entry = features.entry_of(manifest, backbone, SIDE + 4, on)
    assert not entry.path.exists()
    slow = torch.from_numpy(features.cached(manifest, backbone, SIDE + 4, on))
    assert quick.shape == slow.shape and len(quick) == len(slow)
    mixed, same = torch.tensor([3, 100, 239, 81, 3]), torch.tensor([161, 170, 165])
    assert torch.equal(quick[mixed], slow[mixed]) and torch.equal(quick[same], slow[same])
    assert torch.equal(quick[7], slow[7]) and torch.equal(quick[75:85], slow[75:85])
    quick[same].zero_()
    assert torch.equal(quick[same], slow[same]), "what is given out is a copy"


def test_images_of_colour_or_another_size_go_through_the_backbone(mnist: Path) -> None:
    manifest = Permuted(root=str(mnist), tasks=1, validation=0).usable()
    backbone = make_backbone("pixels", image_size=32)
    assert isinstance(features.inputs(manifest, backbone, 32, torch.device("cpu")), torch.Tensor)


@pytest.mark.parametrize("way", ["unpacked", "compressed anew"])
def test_files_are_read_as_they_are(mnist: Path, tmp_path: Path, way: str) -> None:
    for file in mnist.iterdir():
        if way == "unpacked":
            (tmp_path / file.name).write_bytes(file.read_bytes())
        else:
            (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
    manifest = Permuted(root=str(tmp_path), tasks=1, validation=0).usable()
    assert np.array_equal(shown(manifest, 61), shown(Permuted(root=str(mnist), tasks=1, validation=0).usable(), 61))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tasks": 0}, "tasks"), ({"stream_seed": "runs"}, "stream_seed"), ({"stream_seed": -1}, "stream_seed"),
        ({"validation": 6}, r"benchmark\.validation: 6 images of a class that has 6"), ({"root": "nowhere"}, "nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(mnist: Path, settings: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        make_benchmark({"name": "permuted", "root": str(mnist), **settings}).usable()


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    for part, count in (("train", 20), ("t10k", 10)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((count, 4, 6))))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    with pytest.raises(InputError, match=re.escape("images of 6 x 4 pixels, where square ones")):
        Rotated(root=str(tmp_path), validation=0).manifest()
