"""Near-duplicates across the splits: distances, planted copies, plain images, and what the command prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorisbench.benchmarks.tools.leaks import (
    BITS,
    DISTANCE,
    NOTHING,
    hash_of,
    leaks,
    nearest,
    per_experience,
    per_recording,
    summary,
)
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import COLUMNS, Manifest

SIDE = 48


def picture(seed: int) -> np.ndarray:
    """A smooth random picture, uint8 (48, 48, 3): pictures of different seeds have nothing in common."""
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def make(folder: Path, rows: list[tuple[str, int, int, str, np.ndarray]]) -> Manifest:
    """A manifest of PNG files from (split, class, experience, recording, pixels), and unrelated ones."""
    filler = [(split, 0, e, "filler", picture(900 + 3 * e + n)) for e in (0, 1)
              for n, split in enumerate(("train", "validation", "test"))]  # fmt: skip
    table = []
    for number, (split, label, experience, recording, pixels) in enumerate([*rows, *filler]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
        table.append((f"{number}.png", label, "ab"[label], experience, split, "", 0, recording))
    return Manifest(pd.DataFrame(table, columns=COLUMNS), folder, "planted", True, ["a", "b"], ["first", "second"])


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_distances_by_matrix_products_are_those_of_counting_bits(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (4, 32), dtype=np.uint8)  # few, so that there are ties
    queries, keys = pool[rng.integers(0, 4, n)], pool[rng.integers(0, 4, m)] ^ (rng.random((m, 32)) < 0.02)
    groups, others = rng.integers(0, 2, n), rng.integers(0, 2, m)
    distances, places = nearest(queries, keys.astype(np.uint8), groups, others)
    for query in range(n):
        brute = [int.from_bytes(queries[query] ^ keys[key], "big").bit_count() for key in range(m)]
        best = min(
            ((d, others[key] != groups[query], key) for key, d in enumerate(brute)), default=(NOTHING, False, -1)
        )
        assert (distances[query], places[query]) == (best[0], best[2])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, keys = (rng.integers(0, 256, (n, 32), dtype=np.uint8) for n in (50, 70))
    groups, others = rng.integers(0, 3, 50), rng.integers(0, 3, 70)
    whole = nearest(queries, keys, groups, others)
    monkeypatch.setattr("lorisbench.benchmarks.tools.leaks.BLOCK", 16)
    for a, b in zip(whole, nearest(queries, keys, groups, others), strict=True):
        assert (a == b).all()


def test_planted_duplicates_are_found_and_unrelated_images_are_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 3, (SIDE, SIDE, 3))
    noisy = np.clip(picture(2) + noise, 0, 255).astype(np.uint8)
    smaller = np.asarray(Image.fromarray(picture(3)).resize((36, 36), Image.Resampling.BICUBIC))
    manifest = make(tmp_path, [
        ("train", 0, 0, "one", picture(1)), ("train", 0, 1, "two", picture(2)), ("train", 0, 1, "three", picture(3)),
        ("test", 0, 0, "one", picture(1)), ("test", 0, 0, "x", noisy), ("test", 0, 1, "y", smaller),
        ("test", 0, 1, "z", picture(4)), ("test", 1, 1, "one", picture(1)), ("validation", 0, 1, "v", picture(4)),
    ])  # fmt: skip
    found = leaks(manifest).set_index("path")
    assert found.loc[["3.png", "4.png", "5.png"], "train_path"].tolist() == ["0.png", "1.png", "2.png"]
    assert found.leaked.to_dict() == {
        "3.png": True, "4.png": True, "5.png": True, "6.png": False, "7.png": False, "11.png": False, "14.png": False
    }  # fmt: skip
    assert found.train_distance["3.png"] == 0 and 0 < found.train_distance["4.png"] <= DISTANCE
    assert found.train_distance["7.png"] == NOTHING  # a copy in another class does not count
    assert found.same_recording[found.leaked].tolist() == [True, False, False]
    assert found.near_validation[found.near_validation].index.tolist() == ["6.png"]
    assert not found.plain.any()
    assert leaks(manifest, 0).leaked.sum() == 1


def test_plain_images_are_duplicates_only_if_their_bytes_are_equal(tmp_path: Path) -> None:
    flat = [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (10, 10, 200, 90)]
    rows_only = np.repeat(np.arange(SIDE, dtype=np.uint8)[:, None, None] * 5, SIDE, axis=1).repeat(3, axis=2)
    manifest = make(tmp_path, [
        ("train", 0, 0, "one", flat[0]), ("train", 0, 0, "two", flat[0]), ("test", 0, 0, "two", flat[1]),
        ("test", 0, 0, "x", flat[2]), ("test", 0, 0, "x", rows_only), ("validation", 0, 0, "v", flat[3]),
    ])  # fmt: skip
    found = leaks(manifest).set_index("path")
    assert found.plain[["2.png", "3.png", "4.png"]].all() and found.plain.sum() == 3
    assert found.index[found.leaked].tolist() == ["2.png"] and not found.near_validation.any()
    assert found.train_path["2.png"] == "1.png" and found.same_recording["2.png"]
    assert any("3 test images are too plain" in line for line in summary(manifest, found, DISTANCE))


def test_pixels_and_files_have_the_same_leaks(tmp_path: Path) -> None:
    rows = [("train", 0, 0, "one", picture(1)), ("test", 0, 0, "one", picture(1)),
            ("train", 0, 0, "two", picture(5) * 0), ("test", 0, 1, "two", picture(5) * 0)]  # fmt: skip
    files = make(tmp_path, rows)
    stored = np.stack([np.asarray(Image.open(file)) for file in files.files()])
    np.save(tmp_path / "pixels.npy", stored)
    arrays = Manifest(files.table, tmp_path, "pixels", True, ["a", "b"], ["first", "second"],
                      pixels=tmp_path / "pixels.npy")  # fmt: skip
    pd.testing.assert_frame_equal(leaks(files), leaks(arrays))
    assert leaks(arrays).leaked.sum() == 2


def test_numbers_add_up(tmp_path: Path) -> None:
    rows = [("train", 0, 0, f"r{n}", picture(n)) for n in range(4)]
    rows += [("test", 0, n % 2, f"r{n}" if n < 3 else "new", picture(n if n < 4 else 50 + n)) for n in range(8)]
    manifest = make(tmp_path, rows)
    found = leaks(manifest)
    frame, recordings = per_experience(manifest, found), per_recording(manifest, found)
    assert frame.test.sum() == recordings.test.sum() == len(found) == 10
    assert frame.leaked.tolist() == [2, 2] and frame.same_recording.tolist() == [2, 1]
    assert np.allclose(frame.share, frame.leaked / frame.test)
    assert recordings.groupby("experience").leaked.sum().to_dict() == {"first": 2, "second": 2}
    assert set(recordings.recording[recordings.shared_with_train == "yes"]) == {"r0", "r1", "r2", "filler"}
    assert set(recordings.recording[recordings.shared_with_train == "no"]) == {"new"}
    lines = summary(manifest, found, DISTANCE)
    assert "4 of 10 test images" in lines[0] and "3 of them" in lines[0]
    assert lines[1].startswith("4 of 5 test recordings are in train too")


def test_a_hash_does_not_depend_on_size_or_brightness() -> None:
    image = Image.fromarray(picture(7))
    first = hash_of(np.asarray(image))
    assert first.shape == (BITS // 8,) and first.dtype == np.uint8
    for other in (image.resize((96, 80), Image.Resampling.BICUBIC), image.point(lambda value: value // 2)):
        assert int(np.bitwise_count(first ^ hash_of(np.asarray(other))).sum()) <= DISTANCE
    assert not hash_of(np.full((30, 41, 3), 77, np.uint8)).any()


def test_the_command_reports_a_tree(cli, make_release, tmp_path: Path) -> None:
    root = make_release(tmp_path / "tree", objects=("box_01", "cup_01"), per_split=1, size=32)
    for name in ("box_01", "cup_01"):  # a test frame that is a training frame of another segment of another factor
        source = root / "train" / "pixel" / "segment9" / name / "000.jpg"
        (root / "test" / "clutter" / "segment1" / name / "000.jpg").write_bytes(source.read_bytes())
    answer = cli("data", "leaks", root, "--distance", 12, "-o", tmp_path / "leaks.csv")
    assert answer.code == 0, answer.err
    line = next(line for line in answer.out.splitlines() if "clutter 1" in line)
    assert line.split() == ["9", "clutter", "1", "6", "2", "33.3%", "0", "0", "0"]
    assert "2 of 72 test images (2.8%)" in answer.out and "72 of 72 test recordings are in train too" in answer.out
    table = pd.read_csv(tmp_path / "leaks.csv")
    assert len(table) == 72 and table.leaked.sum() == 2 and (table.shared_with_train == "yes").all()
    assert table.columns.tolist() == ["recording", "experience", "test", "leaked", "shared_with_train"]
    assert "--out FILE.csv" in cli("data", "leaks", root).out

    bad = root / "train" / "clutter" / "segment1" / "box_01" / "000.jpg"
    bad.write_bytes(b"no image at all")
    answer = cli("data", "leaks", root)
    assert answer.code == 2 and str(bad) in answer.err
    assert [line for line in answer.err.splitlines() if "error" in line] == answer.err.splitlines()[-1:]
    assert cli("data", "leaks", tmp_path / "nothing").code == 2


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    manifest = make(tmp_path, [("test", 0, 0, "x", picture(1))])
    (tmp_path / "0.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"0\.png"):
        leaks(manifest)


def test_the_help_tells_the_default(cli) -> None:
    assert f"[default: {DISTANCE}]" in " ".join(cli("data", "leaks", "--help").out.split())
