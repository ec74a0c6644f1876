"""The reader of the released layout: what it finds, and the one line it gives for a damaged tree."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorisbench.benchmarks.openloris.benchmark import read_release
from lorisbench.common.errors import InputError
from lorisbench.data import images

OBJECTS = ("box_01", "cup_01", "cup_02")  # those of the fixture `release`


@pytest.fixture
def tree(tmp_path: Path, release: Path) -> Path:
    return Path(shutil.copytree(release, tmp_path / "tree"))


def test_sequence_has_twelve_tasks_of_three_segments(release: Path) -> None:
    manifest = read_release(release, "sequence")
    assert list(manifest.experience_names[:4]) == ["illumination 1", "illumination 2", "illumination 3", "occlusion 1"]
    assert manifest.experiences == 12
    for experience in range(12):
        for split in ("train", "validation", "test"):
            rows = manifest.table.iloc[manifest.rows(split, experience)]
            assert len(rows) == 3 * 3 * 2  # segments x objects x frames
            assert set(rows.class_name) == set(OBJECTS)
            assert rows.factor.nunique() == rows.level.nunique() == 1
    occlusion_2 = manifest.table.iloc[manifest.rows("test", 4)]
    assert set(occlusion_2.path.str.split("/").str[2]) == {"segment4", "segment5", "segment6"}
    assert set(occlusion_2.level) == {2}


def test_factor_has_nine_tasks_of_one_segment(release: Path) -> None:
    manifest = read_release(release, "factor", "pixel")
    assert manifest.experiences == 9
    assert set(manifest.table.factor) == {"pixel"}
    assert manifest.counts().test.tolist() == [6] * 9
    assert manifest.counts().level.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_labels_are_positions_in_the_sorted_folder_names(release: Path) -> None:
    table = read_release(release).table
    assert dict(zip(table.class_name, table.label, strict=True)) == {n: i for i, n in enumerate(sorted(OBJECTS))}


def test_real_data_are_not_marked_synthetic_and_a_marked_tree_is(tree: Path) -> None:
    assert not read_release(tree).synthetic
    (tree / "openloris-sim.json").write_text('{"synthetic": true, "name": "OpenLORIS-Sim"}')
    manifest = read_release(tree)
    assert manifest.synthetic and manifest.name == "OpenLORIS-Sim"


def test_content_hash_follows_the_bytes_and_not_the_place(tree: Path, release: Path) -> None:
    before = read_release(release).content_hash
    assert read_release(tree).content_hash == before
    file = next(tree.rglob("*.jpg"))
    Image.fromarray(np.zeros((40, 32, 3), np.uint8)).save(file)
    assert read_release(tree).content_hash != before


@pytest.mark.parametrize(
    ("damage", "protocol", "named"),
    [
        (lambda t: shutil.rmtree(t / "test"), "sequence", "test/illumination/segment1"),
        (lambda t: shutil.rmtree(t / "train/clutter/segment9"), "sequence", "train/clutter/segment9"),
        (lambda t: shutil.rmtree(t / "test/pixel"), "factor", "test/pixel/segment1"),
        (lambda t: (t / "train/pixel/segment2/cup_01/000.jpg").write_bytes(b""), "sequence", "segment2/cup_01/000.jpg"),
        (lambda t: [shutil.rmtree(t / f"test/occlusion/segment{s}/cup_02") for s in (4, 5, 6)], "sequence", "'cup_02'"),
    ],
)
def test_a_damaged_tree_gives_one_line_that_names_the_place(tree: Path, damage, protocol: str, named: str) -> None:
    damage(tree)
    with pytest.raises(InputError) as error:
        read_release(tree, protocol, "pixel")
    assert named in str(error.value).replace("\\", "/")
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_data_set_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"looked for .*segment"):
        read_release(tmp_path)


def test_truncated_image_is_named(tree: Path, tmp_path: Path) -> None:
    file = tree / "train/pixel/segment2/cup_01/000.jpg"
    file.write_bytes(file.read_bytes()[:200])
    manifest = read_release(tree, "factor", "pixel")
    with pytest.raises(InputError, match=r"segment2/cup_01/000\.jpg"):
        images.cached(manifest, 32)


def test_decoding_crops_the_centre_and_keeps_the_aspect(tmp_path: Path) -> None:
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = (250, 10, 10)  # the central square is red, the sides black
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    decoded = images.decode(str(tmp_path / "wide.png"), 20)
    assert decoded.shape == (20, 20, 3) and decoded.dtype == np.uint8
    assert np.abs(decoded[2:-2, 2:-2].astype(int) - (250, 10, 10)).max() <= 2


def test_image_cache_holds_what_decoding_gives_in_table_order(
    tmp_path: Path, cache: Path, make_release: Callable[..., Path]
) -> None:
    root = make_release(tmp_path / "set", per_split=1)
    manifest = read_release(root, "factor", "clutter")
    stored = images.cached(manifest, 24)
    assert stored.shape == (len(manifest.table), 24, 24, 3)
    (cached,) = (p for p in (cache / "images").iterdir() if p.stat().st_size == stored.nbytes + 128)
    cached.write_bytes(cached.read_bytes()[:1000])
    stored = images.cached(manifest, 24)  # a damaged file is made again
    files = manifest.files()
    for row in (0, 37, len(files) - 1):
        assert np.array_equal(stored[row], images.decode(files[row], 24))
