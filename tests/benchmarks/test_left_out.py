"""Files that no reader reads are counted by type, and what counts as an image can be decoded."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import trees
from answers import refused
from PIL import Image

from lorisbench.benchmarks.left_out import TOPIC
from lorisbench.benchmarks.openloris.layouts import read, read_root
from lorisbench.benchmarks.tools.open_data import open_data
from lorisbench.data import formats, images
from lorisbench.data.manifest import Manifest
from lorisbench.data.subsets import Subset
from lorisbench.suite.benchmarks import make_benchmark

EXTRA = "pip install 'lorisbench[heif]' makes HEIF (HEIC) readable"
ODD = {"phone.HEIC": 1, "film.mpg": 1, "data.h5": 1, "cut.jpg.part": 1, "noname": 1, "notes.TXT": 1, "a.pfm": 1}
SILENT = (".DS_Store", "Thumbs.db", "desktop.ini", "._000.jpg", "000.jpg~", "Icon\r", ".hidden/b.jpg", "@eaDir/c.jpg")


def add(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image")


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where pillow-heif is not installed."""
    yield from with_heif(monkeypatch, None)


@pytest.fixture
def heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where a pillow-heif is installed, which here turns out to be Pillow's reader of PPM."""
    module = ModuleType("pillow_heif")
    module.register_heif_opener = lambda: None  # type: ignore[attr-defined]
    yield from with_heif(monkeypatch, module)


def with_heif(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> Iterator[None]:
    known = (formats.has_heif, formats.pillow, formats.image_suffixes)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", module)  # None: importing it fails
        for function in known:
            function.cache_clear()
        yield
    for function in known:
        function.cache_clear()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for domain in ("s1", "s2"):
        for name in ("cup", "dog"):
            trees.fill(tmp_path / "own" / domain / name, 6)
    return tmp_path / "own"


def listed(root: Path) -> Manifest:
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("[0-9]*.jpg"))
    rows = [f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in paths]
    (root / "s1" / "list.csv").write_text("\n".join(["# root: ..", "path,class_name,experience", *rows]))
    return open_data(root / "s1" / "list.csv")


@pytest.mark.usefixtures("no_heif")
def test_own_data_name_what_was_not_read(own: Path, cli: Callable[..., Any]) -> None:
    assert TOPIC not in open_data(own).notes and TOPIC not in listed(own).notes
    (own / "s1" / "list.csv").unlink()
    add(own / "s1" / "cup", *SILENT)
    assert TOPIC not in open_data(own).notes and TOPIC not in listed(own).notes
    (own / "s1" / "list.csv").unlink()
    add(own / "s1" / "cup", *ODD)
    kinds = "1 .h5, 1 .heic, 1 .mpg, 1 .part, 1 .pfm, 1 .txt, 1 without a suffix"
    told = f"7 ({kinds}), such as s1/cup/phone.HEIC; {EXTRA}"
    assert open_data(own).notes[TOPIC] == listed(own).notes[TOPIC] == told
    (own / "s1" / "list.csv").unlink()
    for command in ("describe", "verify"):
        answer = cli("data", command, own)
        assert answer.code == 0 and f"\n{TOPIC}: {told}\n" in answer.out
    trees.fill(own / "s2" / "cup" / "deeper", 2)
    trees.fill(own / "s2" / "dog" / "__thumbs", 1)
    shutil.copy(own / "s2" / "cup" / "000.jpg", own / "s2")
    assert open_data(own).notes[TOPIC].startswith(f"11 (4 .jpg, {kinds}), such as s1/cup/phone.HEIC")
    one = make_benchmark({"name": "folder", "root": str(own), "domains": ["s2"]}).manifest()
    assert one.notes[TOPIC] == "4 (4 .jpg), such as s2/000.jpg"


@pytest.mark.usefixtures("no_heif")
@pytest.mark.parametrize("tree", ["release", "benchmark1", "challenge", "avalanche"])
def test_published_layouts_name_what_was_not_read(tmp_path: Path, tree: str) -> None:
    root: Path = getattr(trees, "lists" if tree == "avalanche" else tree)(tmp_path / tree)
    assert TOPIC not in read_root(root).notes
    place = next(path for path in sorted(root.rglob("cup_01")) if "clutter" in path.parts or tree == "challenge")
    add(place, *SILENT, *ODD, "other.webp")
    (root / "train.zip").write_bytes(b"")
    assert read_root(root).notes[TOPIC].startswith("8 (1 .h5, 1 .heic, 1 .mpg, 1 .part, 1 .pfm, 1 .txt, 1 .webp, 1 w")
    if tree == "challenge":
        return
    for factor, count in (("clutter", "9 (1 .gif, "), ("pixel", "9 (1 .gif, ")):
        add(root, "beside.gif")
        assert read(root, "auto", "factor", factor, Subset()).notes[TOPIC].startswith(count)
    shutil.copy(place / "phone.HEIC", place / "more.jpg" if tree == "avalanche" else place.parent / "more.jpg")
    assert "1 .jpg" in read(root, "auto", "factor", "clutter", Subset()).notes[TOPIC]
    assert "1 .jpg" not in read(root, "auto", "factor", "pixel", Subset()).notes[TOPIC]


@pytest.mark.usefixtures("no_heif")
def test_folders_of_nothing_but_what_cannot_be_read(tmp_path: Path, cli: Callable[..., Any]) -> None:
    for name in ("cup", "dog"):
        (tmp_path / "own" / "s1" / name).mkdir(parents=True)
        add(tmp_path / "own" / "s1" / name, "a.heic", "b.heic")
    refused(cli("data", "describe", tmp_path / "own"), "no images in", f"{TOPIC}: 4 (4 .heic), such as s1/cup/a", EXTRA)
    shutil.copy(tmp_path / "own" / "s1" / "cup" / "a.heic", tmp_path / "own" / "s1" / "cup" / "a.png")
    answer = cli("data", "describe", tmp_path / "own")
    assert answer.code == 0 and f"{TOPIC}: 4 (4 .heic)" in answer.out and "a run will be refused" in answer.out


@pytest.mark.usefixtures("heif")
def test_heif_is_an_image_where_it_can_be_read(own: Path) -> None:
    add(own / "s1" / "cup", "phone.HEIC", "b.hif")
    manifest = open_data(own)
    assert {"s1/cup/phone.HEIC", "s1/cup/b.hif"} <= set(manifest.table.path) and TOPIC not in manifest.notes


@pytest.mark.usefixtures("no_heif")
@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heif_under_any_name_says_what_is_missing(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0" * 99)
    refused(
        lambda: images.read_image(str(tmp_path / "a.jpg")), f"{tmp_path}/a.jpg: an image in the format HEIF", EXTRA[:29]
    )


def test_phones_images_are_read(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, :24] = 255
    Image.fromarray(pixels).save(tmp_path / "a.HEIC", format="HEIF", quality=95)
    read = np.asarray(images.read_image(str(tmp_path / "a.HEIC")))
    assert read.shape == (32, 48, 3) and read[:, :20].min() > 240 and read[:, 28:].max() < 15


def test_what_counts_as_an_image_is_decoded(tmp_path: Path) -> None:
    """Every format that Pillow can also write, under each of its suffixes."""
    suffixes = formats.image_suffixes()
    assert not {".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".eps", ".ps", ".wmf", ".emf", ".pdf"} & set(suffixes)
    assert {".jpg", ".png", ".apng", ".webp", ".gif", ".tif", ".bmp", ".mpo", ".jp2", ".avif"} <= set(suffixes)
    written = 0
    for suffix in suffixes:
        kind = Image.registered_extensions()[suffix]
        mode = "P" if kind == "BLP" else "1" if kind in ("MSP", "XBM") else "L" if kind in ("FITS", "IM") else "RGB"
        if kind in Image.SAVE and suffix not in formats.HEIF:
            file = tmp_path / f"a{suffix}"
            Image.new(mode, (32, 32)).save(file, format=kind)
            assert images.read_image(str(file)).mode == "RGB", suffix
            written += 1
    assert written > 30


def test_large_images_are_read_without_a_warning_and_bombs_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any], own: Path
) -> None:
    large = own / "s1" / "cup" / "000.jpg"
    Image.new("L", (10_000, 9_000)).save(large)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.decode(str(large), 32).shape == (32, 32, 3)
        answer = cli("data", "describe", own)
    assert answer.code == 0 and "10000×9000 (1)" in answer.out and "Warning" not in answer.err
    monkeypatch.setattr(formats, "MOST_PIXELS", 89_000_000)
    refused(lambda: images.read_image(str(large)), f"{large}: ", "10000 x 9000 pixels, more than the 89,000,000")
    answer = cli("data", "verify", own, "--workers", 1)
    assert answer.code == 1 and "1 bad files" in answer.out and "Warning" not in answer.err


def test_own_data_are_not_compared_with_published_counts(own: Path, cli: Callable[..., Any]) -> None:
    listed(own)
    for path in (own, own / "s1" / "list.csv"):
        for command in ("describe", "verify"):
            answer = cli("data", command, path)
            assert answer.code == 0 and "published" not in answer.out


def test_a_layout_that_there_is_not_lists_all_that_there_are(
    own: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    every = "auto, avalanche, release, benchmark1, challenge, folder, manifest, features"
    for words in (("describe",), ("verify",), ("leaks",), ("split", "--disjoint", "-o", tmp_path / "x.csv")):
        line = refused(cli("data", *words, own, "--layout", "nosuch"), "unknown layout 'nosuch'")
        assert line.endswith(f"; available: {every}")
    refused(cli("data", "describe", own, "--layout", "manifst"), "did you mean 'manifest'?", every)
    refused(cli("data", "describe", own, "--layout", "manifest"), f"{own}: a folder; a CSV manifest was expected")
    listed(own)
    file = own / "s1" / "list.csv"
    refused(cli("data", "describe", file, "--layout", "release"), f"{file}: a file", "'manifest', not 'release'")
    assert cli("data", "describe", file, "--layout", "manifest").code == 0


@pytest.mark.heavy
@pytest.mark.usefixtures("no_heif")
def test_copies_without_validation_are_described_verified_and_read(cli: Callable[..., Any], tmp_path: Path) -> None:
    root = trees.benchmark1(tmp_path / "copy" / "OpenLORIS", validation=False)
    for command in ("describe", "verify"):
        answer = cli("data", command, root)
        assert answer.code == 0 and "layout" in answer.out and "the folder has no validation images" in answer.out
        refused(cli("data", command, root.parent), "not a known kind", f"did you mean {root}?")
    add(root / "clutter" / "train" / "task1" / "cup_01", "phone.heif")
    benchmark = {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(root)}
    notes: Any = make_benchmark(benchmark).manifest().describe()["notes"]  # as in data.json
    assert notes[TOPIC] == f"1 (1 .heif), such as clutter/train/task1/cup_01/phone.heif; {EXTRA}"
    assert "8th training frame" in notes["validation"]
    for task in range(1, 10):
        for name in trees.OBJECTS:
            trees.fill(root / "clutter" / "validation" / f"task{task}" / name, 1)
    manifest = read(root, "auto", "sequence", None, Subset())
    assert "the folder of illumination, occlusion, pixel has no validation" in manifest.notes["validation"]
    assert manifest.counts().groupby("factor")[["train", "validation"]].first().loc[["clutter", "pixel"]].to_numpy(
    ).tolist() == [[18, 9], [9, 9]]  # fmt: skip


def test_a_link_to_itself_is_a_file_that_is_not_read(own: Path) -> None:
    (own / "s1" / "cup" / "loop.txt").symlink_to("loop.txt")
    assert "1 .txt" in open_data(own).notes[TOPIC]
