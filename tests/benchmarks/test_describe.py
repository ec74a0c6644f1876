"""What `lorisbench data describe` says and draws: sizes from headers, and the contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lorisbench.benchmarks.tools.describe import describe, evenly, sizes
from lorisbench.benchmarks.tools.leaks import leaks
from lorisbench.benchmarks.tools.sheet import CELL, CROSSED, LETTERBOX, draw
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import COLUMNS, Manifest

FACTORS = ("illumination", "occlusion", "pixel", "clutter")


def colour(number: int) -> tuple[int, int, int]:
    return (20 + number * 53 % 220, 20 + number * 31 % 220, 20 + number * 97 % 220)


def make(folder: Path, classes: int, cells: list[tuple[int, str, int]], skip: set[tuple[int, int]] = frozenset(),
         synthetic: bool = False, shape: tuple[int, int] = (40, 40)) -> Manifest:  # fmt: skip
    """Arrays of one colour: test images of class c in experience e have colour(10 c + e); (c, e) in `skip` train only.

    `cells` are (experience, factor, level); three test images each, of which the middle one has the colour.
    """
    rows, pixels = [], []
    for e, factor, level in cells:
        for c in range(classes):
            for split in ("train", "validation", "test"):
                if (c, e) in skip and c and split != "train":
                    continue
                for frame in range(3):
                    value = colour(10 * c + e) if frame == 1 and split == "test" else (250, 250, 10)
                    rows.append((f"{c}-{e}-{split}-{frame}", c, f"object {c}", e, split, factor, level, f"{c}-{e}"))
                    pixels.append(np.full((*shape, 3), value, np.uint8))
    np.save(folder / "pixels.npy", np.stack(pixels))
    return Manifest(pd.DataFrame(rows, columns=COLUMNS), folder, "made", synthetic,
                    [f"object {c}" for c in range(classes)], [f"{factor} {e}" for e, factor, _ in cells],
                    pixels=folder / "pixels.npy")  # fmt: skip


def at(sheet: Image.Image, left: int, top: int) -> tuple[int, ...]:
    """The colour in a cell, beside its middle (a cross goes through that)."""
    return sheet.getpixel((left + CELL // 2 + 20, top + CELL // 2))  # type: ignore[return-value]


def rgb(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))


def test_cells_show_the_middle_test_frame_at_their_place(tmp_path: Path) -> None:
    cells = [(3 * f + n, factor, n + 1) for f, factor in enumerate(FACTORS) for n in range(3)]
    sheet, grid = draw(make(tmp_path, 3, cells))
    assert len(grid.left) == 12 and len(grid.top) == 3 and sheet.size == (grid.width, grid.height)
    assert grid.width > grid.left[-1] + CELL and grid.height > grid.top[-1] + CELL
    for c, top in enumerate(grid.top):
        for e, left in enumerate(grid.left):
            assert at(sheet, left, top) == colour(10 * c + e)
    assert grid.left[3] - grid.left[2] > grid.left[2] - grid.left[1]  # a factor is set apart from the next


def test_missing_cells_are_crossed_and_training_images_stand_in(tmp_path: Path) -> None:
    cells = [(0, "pixel", 1), (1, "pixel", 3)]
    sheet, grid = draw(make(tmp_path, 2, cells, skip={(1, 1)}))
    assert len(grid.left) == 3  # a factor has all of its levels
    assert at(sheet, grid.left[0], grid.top[0]) == colour(0)
    assert at(sheet, grid.left[1], grid.top[0]) == at(sheet, grid.left[1], grid.top[1]) == rgb(CROSSED)
    assert sheet.getpixel((grid.left[1] + CELL // 2, grid.top[0] + CELL // 2)) != rgb(CROSSED)
    assert at(sheet, grid.left[2], grid.top[1]) == (250, 250, 10)


def test_pictures_are_letterboxed(tmp_path: Path) -> None:
    sheet, grid = draw(make(tmp_path, 2, [(0, "clutter", 1)], shape=(20, 80)))
    x, y = grid.left[0] + CELL // 2, grid.top[0]
    assert sheet.getpixel((x, y + 20)) == rgb(LETTERBOX) and sheet.getpixel((x, y + CELL - 20)) == rgb(LETTERBOX)
    assert sheet.getpixel((grid.left[0] + 1, y + CELL // 2)) == colour(0)


def test_other_data_have_a_column_an_experience(tmp_path: Path) -> None:
    sheet, grid = draw(make(tmp_path, 2, [(e, "mixed", 0) for e in range(5)]))
    assert len(grid.left) == 5 and at(sheet, grid.left[4], grid.top[1]) == colour(14)
    sheet, grid = draw(make(tmp_path, 2, [(e, "", 0) for e in range(50)]))
    assert len(grid.left) == 24 and at(sheet, grid.left[0], grid.top[0]) == colour(evenly(50, 24)[0])


def test_rows_are_evenly_spaced_objects(tmp_path: Path) -> None:
    manifest = make(tmp_path, 20, [(0, "clutter", 1)])
    assert len(draw(manifest)[1].top) == 12 and len(draw(manifest, 100)[1].top) == 20
    sheet, grid = draw(manifest, 2)
    assert [at(sheet, grid.left[0], top) for top in grid.top] == [colour(50), colour(150)]


def test_the_title_says_what_is_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    written: list[str] = []
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, xy, words, *rest, **named: (
        written.append(str(words)), text(self, xy, words, *rest, **named))[1])  # fmt: skip
    draw(make(tmp_path, 2, [(e, "", 0) for e in range(30)], synthetic=True))
    assert "made (synthetic)" in written and any("24 of 30" in words for words in written)
    assert {"object 0", "object 1"} <= set(written)
    written.clear()
    draw(make(tmp_path, 2, [(0, "clutter", 1)]))
    assert "made" in written and "clutter" in written and not any("synthetic" in words for words in written)


def test_sizes_are_counted_from_headers(tmp_path: Path) -> None:
    files = []
    for number, (size, mode, kind) in enumerate(
        [((30, 20), "RGB", "jpeg")] * 3 + [((20, 30), "L", "png")] * 2 + [((8, 8), "RGBA", "png")]
    ):
        files.append(str(tmp_path / f"{number}.{kind}"))
        Image.new(mode, size).save(files[-1])
    assert sizes(files) == [
        "sizes: 30×20 (3), 20×30 (2), 8×8 (1)", "formats: JPEG (3), PNG (3)", "modes: RGB (3), L (2), RGBA (1)"
    ]  # fmt: skip
    Path(files[1]).write_bytes(b"")
    Path(files[4]).unlink()
    lines = sizes(files)
    assert lines[0] == "sizes: 30×20 (2), 20×30 (1), 8×8 (1)"
    assert lines[-1] == f"unreadable: 2, the first is {files[1]}"
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(files[0])
    Path(files[0]).write_bytes(Path(files[0]).read_bytes()[:9000])  # pixels are gone, the header is there
    assert sizes(files[:1])[0] == "sizes: 200×100 (1)"


def test_large_sets_are_sampled() -> None:
    lines = sizes([np.zeros((4, 6, 3), np.uint8)] * 5000)
    assert lines[0] == "sizes of a sample of 2,000: 6×4 (2,000)"
    chosen = evenly(5000, 2000)
    assert len(set(chosen)) == 2000 and min(chosen) < 3 and max(chosen) > 4996
    assert set(np.diff(chosen)) <= {2, 3} and evenly(5, 9) == [0, 1, 2, 3, 4]


def test_any_manifest_can_be_described(tmp_path: Path) -> None:
    text = "\n".join(describe(make(tmp_path, 2, [(0, "", 0), (1, "", 0)], synthetic=True)))
    assert text.startswith("made (synthetic): 36 images, 2 classes")
    assert "sizes: 40×40 (36)" in text and "formats: array (36)" in text


def test_the_command_describes_and_draws(cli, release: Path, tmp_path: Path) -> None:
    answer = cli("data", "describe", release, "--sheet", tmp_path / "sheet.png", "--objects", 2)
    assert answer.code == 0, answer.err
    assert "sizes: 40×32 (648)" in answer.out and "formats: JPEG (648)" in answer.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 12 * CELL and 2 * CELL < sheet.height < 4 * CELL
    answer = cli("data", "describe", release, "--objects", 2)
    assert answer.code == 2 and "--sheet" in answer.err


def test_an_image_that_cannot_be_drawn_is_named(cli, make_release, tmp_path: Path) -> None:
    root = make_release(tmp_path / "tree", objects=("a_01", "b_01"), per_split=1)
    bad = root / "test" / "pixel" / "segment2" / "a_01" / "000.jpg"
    bad.write_bytes(b"nothing")
    answer = cli("data", "describe", root, "--sheet", tmp_path / "sheet.png")
    assert answer.code == 2 and str(bad) in answer.err and not (tmp_path / "sheet.png").exists()
    assert f"unreadable: 1, the first is {bad}" in answer.out


def test_grey_pixels_are_described_and_drawn(tmp_path: Path) -> None:
    manifest = make(tmp_path, 2, [(0, "", 0)])
    np.save(tmp_path / "pixels.npy", np.load(tmp_path / "pixels.npy")[..., :1])
    assert "modes: L (18)" in describe(manifest)
    sheet, grid = draw(manifest)
    assert at(sheet, grid.left[0], grid.top[0]) == (colour(0)[0],) * 3
    assert leaks(manifest).plain.all()


def test_missing_pixels_are_named(tmp_path: Path) -> None:
    manifest = make(tmp_path, 2, [(0, "", 0)])
    (tmp_path / "pixels.npy").unlink()
    with pytest.raises(InputError, match=r"pixels\.npy"):
        draw(manifest)
