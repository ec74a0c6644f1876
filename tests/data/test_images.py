"""Reading image files: each kind gives the right colours, or one line that names the file."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from answers import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lorisbench.data import images

RED, GREEN = (200, 30, 60), (20, 180, 90)


def two_colours(width: int = 32, height: int = 24) -> np.ndarray:
    """Left half red, right half green."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, GREEN
    return pixels


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some texture."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return Image.fromarray(np.clip(np.asarray(smooth) + rng.normal(0, 6, (height, width, 1)), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, subsampling=0, **options)
    return stream.getvalue()


def read(file: Path) -> np.ndarray:
    """All pixels of a file, signed so that they can be subtracted; what `decode` makes has the same corner colours."""
    pixels = np.asarray(images.read_image(str(file)))
    decoded = images.decode(str(file), 16)
    assert pixels.dtype == decoded.dtype == np.uint8 and decoded.shape == (16, 16, 3)
    return pixels.astype(int)


def assert_two_colours(file: Path, tolerance: int) -> None:
    pixels = read(file)
    assert np.abs(pixels[:, :12] - RED).max() <= tolerance and np.abs(pixels[:, -12:] - GREEN).max() <= tolerance
    decoded = images.decode(str(file), 16).astype(int)
    assert np.abs(decoded[:, :3] - RED).max() <= tolerance and np.abs(decoded[:, -3:] - GREEN).max() <= tolerance


def refused_file(file: Path, *words: str) -> None:
    for attempt in (lambda: images.read_image(str(file)), lambda: images.decode(str(file), 16)):
        message = refused(attempt, *words)
        assert message.startswith(f"{file}: ") and message.count(str(file)) == 1


# Files that are no images


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_jpeg(tmp_path: Path, kept: float) -> None:
    file = tmp_path / "cut.jpg"
    data = jpeg(photo(64, 48))
    file.write_bytes(data[: int(len(data) * kept)])
    refused_file(file, "cannot be decoded as an image")


def test_empty_missing_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    refused_file(tmp_path / "empty.jpg", "the image has no bytes")
    (tmp_path / "text.jpg").write_text("not a picture\n" * 20)
    refused_file(tmp_path / "text.jpg", "cannot identify image file")
    refused_file(tmp_path / "gone.jpg", "cannot be read (No such file or directory)")
    (tmp_path / "folder.jpg").mkdir()
    refused_file(tmp_path / "folder.jpg", "cannot be read (Is a directory)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(tmp_path: Path) -> None:
    file = tmp_path / "secret.jpg"
    file.write_bytes(jpeg(photo(16, 16)))
    file.chmod(0)
    refused_file(file, "cannot be read (Permission denied)")


@pytest.mark.parametrize(("side", "words"), [(60_000, "decompression bomb"), (4_000_000_000, "")])
def test_huge_declared_dimensions_cost_no_memory(tmp_path: Path, side: int, words: str) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    file = tmp_path / "bomb.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b""))
    refused_file(file, words)


# Kinds of image


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(two_colours()).save(tmp_path / "a.jpg", "PNG")
    assert np.array_equal(read(tmp_path / "a.jpg"), two_colours())


def test_cmyk_jpeg(tmp_path: Path) -> None:
    file = tmp_path / "cmyk.jpg"
    file.write_bytes(jpeg(Image.fromarray(two_colours()).convert("CMYK")))
    with Image.open(file) as stored:
        assert stored.mode == "CMYK"
    assert_two_colours(file, tolerance=4)


def test_grey_and_1_bit(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
    bits = (np.add.outer(np.arange(16), np.arange(16)) % 3 == 0).astype(np.uint8) * 255
    Image.fromarray(bits).convert("1").save(tmp_path / "bits.png")
    assert np.array_equal(read(tmp_path / "bits.png"), np.repeat(bits[..., None], 3, axis=2))


def big_endian_tiff(values: np.ndarray) -> bytes:
    """A TIFF of 16-bit grey as cameras with Motorola byte order write it; Pillow itself writes only the other order."""
    height, width = values.shape
    data = values.astype(">u2").tobytes()
    short, long = 3, 4
    entries = [
        (256, long, width), (257, long, height), (258, short, 16 << 16), (259, short, 1 << 16), (262, short, 1 << 16),
        (273, long, 8), (277, short, 1 << 16), (278, long, height), (279, long, len(data)),
    ]  # fmt: skip
    directory = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"MM\0*" + struct.pack(">I", 8 + len(data)) + data + struct.pack(">H", len(entries)) + directory + b"\0" * 4


@pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "big-endian.tif"])
def test_16_bit_grey_is_divided_by_257(tmp_path: Path, kind: str) -> None:
    values = np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32)
    file = tmp_path / kind
    if kind == "big-endian.tif":
        file.write_bytes(big_endian_tiff(values))
    else:
        Image.fromarray(values).save(file)
    assert np.abs(read(file) - (values / 257)[..., None]).max() <= 1
    assert read(file).min() == 0 and read(file).max() == 255


def test_16_bit_grey_with_a_transparent_value(tmp_path: Path) -> None:
    values = np.full((16, 16), 30_000, np.uint16)
    values[:, :4] = 7
    Image.fromarray(values).save(tmp_path / "t.png", transparency=7)
    pixels = read(tmp_path / "t.png")
    assert (pixels[:, :4] == 255).all() and (pixels[:, 4:] == 30_000 // 257).all()


@pytest.mark.parametrize(("kind", "words"), [(np.int32, "32-bit integer"), (np.float32, "32-bit floating-point")])
def test_32_bit_pixels_are_refused_with_the_reason(tmp_path: Path, kind: type, words: str) -> None:
    Image.fromarray(np.arange(256).reshape(16, 16).astype(kind)).save(tmp_path / "wide.tif")
    refused_file(tmp_path / "wide.tif", words, "black", "white")


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return pixels * share + 255 * (1 - share)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_alpha_shows_white(tmp_path: Path, suffix: str) -> None:
    alpha = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
    file = tmp_path / f"alpha.{suffix}"
    Image.fromarray(np.dstack([two_colours(), alpha])).save(file, **({"lossless": True} if suffix == "webp" else {}))
    expected = on_white(two_colours(), alpha)
    if suffix == "webp":  # does not keep the colour of what is wholly transparent, which shows nothing of it anyway
        assert (read(file)[alpha == 0] == 255).all()
    assert np.abs(read(file) - expected).max() <= 1


def test_grey_with_alpha_shows_white(tmp_path: Path) -> None:
    grey = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (24, 1))
    alpha = np.flip(grey, axis=1)
    Image.fromarray(np.dstack([grey, alpha])).save(tmp_path / "la.png")
    with Image.open(tmp_path / "la.png") as stored:
        assert stored.mode == "LA"
    assert np.abs(read(tmp_path / "la.png") - on_white(np.repeat(grey[..., None], 3, 2), alpha)).max() <= 1


@pytest.mark.parametrize("transparency", [0, b"\x00\x80"])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    indices = np.zeros((16, 16), np.uint8)
    indices[:, 8:] = 1
    palette = Image.fromarray(indices).convert("P")
    palette.putpalette([*RED, *GREEN])
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read(tmp_path / "p.png"), np.where(indices[..., None], GREEN, RED))
    palette.save(tmp_path / "t.png", transparency=transparency)
    alpha = np.where(indices, 0x80 if transparency else 255, 0)
    expected = on_white(np.where(indices[..., None], GREEN, RED), alpha)
    assert np.abs(read(tmp_path / "t.png") - expected).max() <= 1


def test_one_transparent_colour(tmp_path: Path) -> None:
    Image.fromarray(two_colours()).save(tmp_path / "rgb.png", transparency=RED)
    pixels = read(tmp_path / "rgb.png")
    assert (pixels[:, :16] == 255).all() and (pixels[:, 16:] == GREEN).all()


def test_animated_gif_gives_its_first_frame(tmp_path: Path) -> None:
    later = [Image.new("RGB", (32, 24), colour) for colour in ("blue", "white")]
    Image.fromarray(two_colours()).save(tmp_path / "a.gif", save_all=True, append_images=later, duration=40)
    with Image.open(tmp_path / "a.gif") as stored:
        assert stored.n_frames == 3
    assert_two_colours(tmp_path / "a.gif", tolerance=1)


# EXIF


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[images.ORIENTATION] = orientation
    return tags.tobytes()


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.3, tag Orientation: what is row 0 and column 0
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_each_orientation_equals_the_transposed_image(tmp_path: Path, orientation: int, suffix: str) -> None:
    image, file = photo(40, 24), tmp_path / f"turned.{suffix}"
    image.save(file, exif=exif(orientation))
    image.save(tmp_path / f"plain.{suffix}")
    assert np.array_equal(read(file), UPRIGHT[orientation](read(tmp_path / f"plain.{suffix}")))
    with Image.open(file) as stored:
        assert np.array_equal(read(file), ImageOps.exif_transpose(stored))
    square = images.decode(str(tmp_path / f"plain.{suffix}"), 24)  # whole rows and columns: no resampling
    assert np.array_equal(images.decode(str(file), 24), UPRIGHT[orientation](square))


ONE_TAG = b"Exif\0\0II*\0\x08\0\0\0"


@pytest.mark.parametrize(
    ("tags", "turned"),
    [
        (b"Exif\0\0garbage", False),
        (b"Exif\0\0MM", False),
        (ONE_TAG + b"\x05\0" + struct.pack("<HHI", 0x112, 3, 1), False),  # five tags promised, the first cut short
        (ONE_TAG + b"\x01\0" + struct.pack("<HHI4sI", 0x112, 2, 4, b"six\0", 0), False),  # a text
        (b"Exif\0\0II*\0\xff\xff\xff\x7f", False),  # a directory behind the end
        (exif(99), False),
        # a good orientation beside a resolution that is a text: ImageOps.exif_transpose fails on it
        (ONE_TAG + struct.pack("<HHHIHHHHI4sI", 2, 0x112, 3, 1, 6, 0, 0x11A, 2, 4, b"dpi\0", 0), True),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_does_not_keep_an_image_from_being_read(tmp_path: Path, tags: bytes, turned: bool) -> None:
    plain, file = tmp_path / "plain.jpg", tmp_path / "broken.jpg"
    plain.write_bytes(jpeg(photo(40, 24)))
    file.write_bytes(jpeg(photo(40, 24), exif=tags))
    assert np.array_equal(read(file), np.rot90(read(plain), -1) if turned else read(plain))


# Sizes


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 48), as_file=st.booleans())
def test_every_size_gives_a_square(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, size: int, as_file: bool
) -> None:
    pixels = np.full((height, width, 3), (90, 160, 40), np.uint8)
    source: images.Source = pixels
    if as_file:
        source = str(tmp_path_factory.getbasetemp() / "any.jpg")
        Path(source).write_bytes(jpeg(Image.fromarray(pixels)))
    decoded = images.decode(source, size)
    assert decoded.shape == (size, size, 3) and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - (90, 160, 40)).max() <= 2


@pytest.mark.parametrize("shape", [(500, 1), (1, 500), (3, 400), (401, 4)])
def test_very_long_images_show_their_middle(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A ramp along the long side: the middle of the square is the middle of the ramp."""
    ramp = np.linspace(0, 255, max(shape))
    values = np.broadcast_to(ramp if shape[1] > shape[0] else ramp[:, None], shape).round().astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "long.png")
    decoded = images.decode(str(tmp_path / "long.png"), 21)
    assert np.abs(decoded[10, 10].astype(int) - 127.5).max() <= 1.5


def test_a_very_long_image_needs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaled as a whole, one pixel by 60,000 would have a thousand million pixels at this size."""
    Image.new("RGB", (60_000, 1), RED).save(tmp_path / "line.png")
    made = []
    resize = Image.Image.resize

    def spy(self: Image.Image, size: tuple[int, int], *rest: object, **options: object) -> Image.Image:
        made.append(size)
        assert size[0] * size[1] < 1e6
        return resize(self, size, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", spy)
    assert (images.decode(str(tmp_path / "line.png"), 128) == RED).all() and len(made) == 1


@pytest.mark.parametrize(
    ("width", "height", "size"), [(848, 480, 112), (1696, 960, 96), (480, 848, 60), (640, 640, 80)]
)
def test_jpegs_decoded_at_a_reduced_scale_look_the_same(tmp_path: Path, width: int, height: int, size: int) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(jpeg(photo(width, height)))
    reduced = images.read_image(str(file), (size, size))
    assert reduced.width < width and min(reduced.size) >= size, "decoded at a reduced scale, and not below the size"
    full = images.decode(np.asarray(images.read_image(str(file))), size)
    difference = np.abs(images.decode(str(file), size).astype(int) - full)
    assert difference.mean() < 1.5 and difference.max() <= 16


def test_an_array_and_a_file_of_the_same_pixels_are_the_same_image(tmp_path: Path) -> None:
    pixels = np.asarray(photo(50, 37))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for size in (16, 37, 64):
        assert np.array_equal(images.decode(pixels, size), images.decode(str(tmp_path / "a.png"), size))


def test_batches_come_in_order_and_end_with_the_rest(tmp_path: Path) -> None:
    sources = [np.full((4, 4, 3), number, np.uint8) for number in range(150)]
    blocks = list(images.batches(sources, 2, batch=64))
    assert [len(block) for block in blocks] == [64, 64, 22]
    assert np.concatenate(blocks)[:, 0, 0, 0].tolist() == list(range(150))
