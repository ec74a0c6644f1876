"""The four factors computed on labelled images: levels measured, images their own, streams, and wrong inputs."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answers import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from lorisbench.benchmarks.classic import labelled
from lorisbench.benchmarks.classic.fashion_mnist import DEBIAN, installed
from lorisbench.benchmarks.factors import images as factor_images
from lorisbench.benchmarks.factors import painting
from lorisbench.benchmarks.factors.benchmark import Factors
from lorisbench.benchmarks.factors.cutouts import PAD, cutout_of, to_bytes, to_linear
from lorisbench.benchmarks.factors.images import DISTRACTORS, HIDDEN, HIDDEN_TOLERANCE, LIGHT, SIDE, Levels
from lorisbench.benchmarks.openloris.words import FACTORS
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import Manifest

SIZE = 64
FEW = {"train": 2, "validation": 1, "test": 1, "size": 32}


def write_idx(root: Path, per_class: int = 3, classes: int = 10, pack: bool = True) -> Path:
    """Files in the format of Fashion-MNIST: noisy boxes on black, of a height and width by class."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        labels = np.arange(classes * per_class, dtype=np.uint8) % classes
        pixels = np.zeros((len(labels), 28, 28), np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            box = image[4 : 8 + 2 * label, 4 : 26 - 2 * label]
            box[:] = rng.integers(90, 250, box.shape)
        put(root, f"{part}-images-idx3-ubyte", struct.pack(">I3I", 2051, *pixels.shape) + pixels.tobytes(), pack)
        put(root, f"{part}-labels-idx1-ubyte", struct.pack(">II", 2049, len(labels)) + labels.tobytes(), pack)
    return root


def put(root: Path, name: str, data: bytes, pack: bool = True) -> None:
    if pack:
        (root / f"{name}.gz").write_bytes(gzip.compress(data))
    else:
        (root / name).write_bytes(data)


def write_classes(root: Path, classes: tuple[str, ...] = ("cup", "jar"), images: int = 6, alpha: bool = False) -> Path:
    """Class folders of coloured pictures, 40x30 px; with `alpha`, PNGs of a disc on nothing."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:30, :40]
    disc = ((y - 15) ** 2 + (x - 20) ** 2 < 144).astype(np.uint8) * 255
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for image in range(images):
            pixels = np.clip(rng.normal(60 + 90 * number, 40, (30, 40, 3)), 0, 255).astype(np.uint8)
            layers = np.dstack([pixels, disc]) if alpha else pixels
            Image.fromarray(layers).save(root / name / f"{image}.png")
    return root


def manifest(root: Path, **changes: object) -> Manifest:
    return Factors.model_validate({"root": str(root), **FEW, **changes}).manifest()


def pixels(found: Manifest) -> dict[str, np.ndarray]:
    return dict(zip(found.table.path, (np.array(image) for image in found.sources()), strict=True))


def levels_of(found: Manifest) -> pd.DataFrame:
    assert found.pixels is not None
    return pd.read_csv(found.pixels.with_suffix(".csv"))


def blob(seed: int, share: float = 0.55) -> np.ndarray:
    """A random shape, grey on black, uint8 (28, 28)."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((28, 28)), rng.uniform(0.5, 4))
    seen = smooth > np.quantile(smooth, share)
    return np.where(seen, rng.integers(60, 255, (28, 28)), 0).astype(np.uint8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_idx(tmp_path_factory.mktemp("idx") / "tiny")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0.05, 0.98), level=st.sampled_from((1, 2, 3)))
def test_the_object_is_hidden_as_much_as_the_level_says(seed: int, share: float, level: int) -> None:
    cutout = cutout_of(blob(seed, share), SIZE)
    _, alpha = factor_images.place(cutout, SIDE[1], factor_images.stream(str(seed), "place"), SIZE)
    grey = np.full((SIZE, SIZE, 3), 2.0, np.float32)  # brighter than any sheet: what is not 2 is hidden
    rng = factor_images.stream(str(seed), "occlusion")
    after, said = factor_images.occlude(grey, alpha, HIDDEN[level], rng)
    changed = (np.abs(after - grey).sum(axis=2) > 0.01).astype(np.float32)
    assert abs(said - HIDDEN[level]) <= HIDDEN_TOLERANCE
    if (alpha > 0.5).sum() > 300:  # pixels on a sheet's edge are hidden in part and counted whole here
        assert abs((changed * alpha).sum() / alpha.sum() - HIDDEN[level]) < 0.12


def grain(image: np.ndarray, alpha: np.ndarray) -> float:
    """Mean difference of neighbours in the background, over its mean."""
    light, behind = to_linear(image).mean(axis=2), alpha == 0
    return float(np.abs(np.diff(light))[behind[:, 1:] & behind[:, :-1]].mean() / light[behind].mean())


@pytest.mark.parametrize("level", [1, 2, 3])
def test_light_is_measured(level: int) -> None:
    low, high = LIGHT[level].gain
    for seed in range(12):
        cutout = cutout_of(blob(seed), SIZE)
        strong, _ = factor_images.apply(cutout, Levels(), str(seed), [], SIZE)
        image, measured = factor_images.apply(cutout, Levels(illumination=level), str(seed), [], SIZE)
        ratio = to_linear(image).mean() / to_linear(strong).mean()
        assert low * 0.95 <= ratio <= high * 1.05 and abs(ratio - measured.light) < 0.03
        _, alpha = factor_images.place(cutout, SIDE[1], factor_images.stream(str(seed), "place"), SIZE)
        assert (grain(image, alpha) > 1.5 * grain(strong, alpha)) == (level > 1), "dim light is noisy"
    assert LIGHT[3].gain[1] < LIGHT[2].gain[0] and LIGHT[2].gain[1] < LIGHT[1].gain[0]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_object_sizes_are_measured(level: int) -> None:
    for seed in range(12):
        cutout = cutout_of(blob(seed), SIZE)
        white = Image.new("L", (20, 30), 255)
        for one in (cutout, cutout_of(np.asarray(white), SIZE)):
            _, alpha = factor_images.place(one, SIDE[level], factor_images.stream(str(seed), "place"), SIZE)
            rows, columns = (np.flatnonzero((alpha >= 0.5 * alpha.max()).any(axis=a)) for a in (1, 0))
            side = max(np.ptp(rows), np.ptp(columns)) + 1
            assert SIDE[level][0] * SIZE - 1.5 <= side <= SIDE[level][1] * SIZE + 1.5
            assert rows[0] > 0 and columns[0] > 0 and rows[-1] < SIZE - 1 and columns[-1] < SIZE - 1
            assert factor_images.long_side(alpha) == side
    # OpenLORIS-Object's bounds, in shares of its frames' height of 240 px
    assert SIDE[1][0] > 200 / 240 > SIDE[2][1] and SIDE[2][0] > 30 / 240 > SIDE[3][1]


def test_clutter_is_around_the_object_and_never_on_it() -> None:
    others = [cutout_of(blob(seed), SIZE) for seed in range(100, 108)]
    spread: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for seed in range(12):
        cutout = cutout_of(blob(seed), SIZE)
        key = str(seed)
        _, alpha = factor_images.place(cutout, SIDE[1], factor_images.stream(key, "place"), SIZE)
        scenes = {level: factor_images.apply(cutout, Levels(clutter=level), key, others, SIZE)[0] for level in spread}
        for level, scene in scenes.items():
            assert np.array_equal(scene[alpha == 1], scenes[1][alpha == 1])
            spread[level].append(float(scene[alpha == 0].mean(axis=1).std()))
    medians = [float(np.median(spread[level])) for level in (1, 2, 3)]
    assert medians[0] * 3 < medians[1] and medians[1] * 1.2 < medians[2]
    assert DISTRACTORS[1] == (0, 0) and DISTRACTORS[2][1] < DISTRACTORS[3][0]


def test_only_the_factor_that_varies_changes_a_scene() -> None:
    cutout = cutout_of(blob(5), SIZE)
    plain, _ = factor_images.apply(cutout, Levels(), "same", [], SIZE)
    covered, _ = factor_images.apply(cutout, Levels(occlusion=2), "same", [], SIZE)
    assert 0.3 < (covered == plain).all(axis=2).mean() < 0.95, "what is not hidden is as it was"


def test_edges_have_no_halo() -> None:
    grey = np.zeros((28, 28), np.uint8)
    grey[8:20, 8:20] = 200
    grey[7, 8:20] = grey[20, 8:20] = 90  # mixtures with the black around it
    cutout = cutout_of(grey, SIZE)
    image = cutout.colour + (1 - cutout.alpha[..., None])  # on white
    assert to_bytes(image).min() >= 190, "no line darker than the object"
    assert cutout.alpha[PAD, PAD + 4] < 1 and cutout.alpha[0].max() == 0


def test_the_object_of_a_transparent_image_is_what_is_opaque(tmp_path: Path) -> None:
    write_classes(tmp_path / "a", alpha=True)
    write_classes(tmp_path / "b")
    disc = cutout_of(str(tmp_path / "a" / "cup" / "0.png"), SIZE)
    whole = cutout_of(str(tmp_path / "b" / "cup" / "0.png"), SIZE)
    assert disc.alpha.shape == (23 + 2 * PAD, 23 + 2 * PAD) and 0.70 < disc.alpha[PAD:-PAD, PAD:-PAD].mean() < 0.85
    assert whole.alpha.shape == (30 + 2 * PAD, 40 + 2 * PAD) and whole.alpha[PAD:-PAD, PAD:-PAD].min() == 1


@pytest.mark.heavy
def test_an_image_is_the_same_alone_and_among_others(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = pixels(manifest(tiny))
    monkeypatch.setattr(painting, "FEW", 1)
    monkeypatch.setattr(painting, "BLOCK", 3)
    more = pixels(manifest(tiny, seed=0, protocol="factor", factor="clutter"))
    assert len(more) == 10 * 4 * 3 and len(some) == 4 * len(more)
    for path, image in more.items():
        assert np.array_equal(image, some[path]), path
    other = pixels(manifest(tiny, seed=1, protocol="factor", factor="clutter"))
    assert not any(np.array_equal(other[path], image) for path, image in more.items() if path in other)


def test_neighbours_in_a_job_do_not_change_an_image(tiny: Path) -> None:
    images = labelled.read_labelled(tiny)
    bank = {"train": [(str(i), cutout_of(images.image(i), 32)) for i in range(10)]}
    steps = tuple((factor, level) for factor in FACTORS for level in (1, 2, 3))
    tasks = [painting.Task(images.image(i), *images.pictures[i][:2], "train", steps) for i in range(4)]
    together = [image for image, _ in map(painting.Painter(32, 0, bank), tasks)]
    last, _ = painting.Painter(32, 0, bank)(tasks[-1]._replace(steps=steps[-1:]))
    assert np.array_equal(last[0], together[-1][-1])


def test_sequence(tiny: Path) -> None:
    found = manifest(tiny)
    assert list(found.experience_names) == [f"{factor} {level}" for factor in FACTORS for level in (1, 2, 3)]
    assert (found.synthetic, found.name) == (True, "tiny with computed factors")
    assert (found.counts()[["train", "validation", "test"]] == [20, 10, 10]).all(axis=None)
    table = found.table
    shown = table.groupby("experience").recording.agg(lambda names: frozenset(names))
    assert len(set(shown)) == 1, "the same pictures everywhere"
    groups = [set(table[table.split == split].recording) for split in ("train", "validation", "test")]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert (table.factor + " " + table.level.astype(str) == [found.experience_names[e] for e in table.experience]).all()
    assert table.path.is_unique and table.path.iloc[0].startswith("train/illumination1/0/train-000")


def test_level_1_of_two_factors_are_two_views(tiny: Path) -> None:
    stored = pixels(manifest(tiny))
    pairs = [(image, stored[path.replace("pixel1", "clutter1")]) for path, image in stored.items() if "pixel1" in path]
    assert pairs and not any(np.array_equal(one, other) for one, other in pairs)


def test_levels_are_kept_beside_the_pixels(tiny: Path) -> None:
    levels = levels_of(manifest(tiny))
    assert len(levels) == 480
    for level in (1, 2, 3):
        hidden = levels[(levels.factor == "occlusion") & (levels.level == level)].hidden
        assert (hidden - HIDDEN[level]).abs().max() <= HIDDEN_TOLERANCE
        others = levels[(levels.factor != "occlusion")].hidden
        assert others.max() == 0


def test_order_moves_experiences_with_their_images(tiny: Path) -> None:
    plain, turned = manifest(tiny), manifest(tiny, order=[11, *range(11)])
    assert turned.experience_names[0] == "clutter 3" and turned.pixels == plain.pixels
    assert set(turned.table.path[turned.rows("train", 0)]) == set(plain.table.path[plain.rows("train", 11)])
    one, other = pixels(plain), pixels(turned)
    assert all(np.array_equal(image, other[path]) for path, image in one.items())
    names = manifest(tiny, order={"seed": 1}).experience_names
    assert sorted(names) == sorted(plain.experience_names) != list(names)


def test_factor(tiny: Path) -> None:
    assert list(manifest(tiny, protocol="factor", factor="pixel").experience_names) == ["pixel 1", "pixel 2", "pixel 3"]
    with pytest.raises(ValueError, match="protocol: factor"):
        manifest(tiny, factor="pixel")
    with pytest.raises(ValueError, match="sequence"):
        manifest(tiny, protocol="challenge")


def test_without_share_each_picture_is_in_one_experience(tmp_path: Path) -> None:
    root = write_idx(tmp_path, per_class=9)
    found = manifest(root, share=False, protocol="factor", factor="occlusion")
    assert found.table.recording.is_unique and len(found.table) == 10 * 4 * 3
    assert (found.counts()[["train", "validation", "test"]] == [20, 10, 10]).all(axis=None)


def test_classes_can_be_chosen(tiny: Path) -> None:
    found = manifest(tiny, objects=["7", "2"])
    assert list(found.classes) == ["2", "7"] and set(found.table.label) == {0, 1}


def test_folders_with_and_without_splits(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "flat", images=20)
    flat = manifest(root, train=None, validation=None, test=None, protocol="factor").counts().iloc[0]
    assert dict(flat[["train", "validation", "test"]]) == {"train": 28, "validation": 4, "test": 8}
    for split in ("train", "test"):
        write_classes(tmp_path / "split" / split)
    split = manifest(tmp_path / "split")
    for row in split.table.itertuples():
        assert str(row.recording).startswith("test/") == (row.split == "test")
    everything = manifest(tmp_path / "split", test=None).counts().iloc[0]
    assert everything.test == 12


def test_unpacked_files_are_the_same_images(tiny: Path, tmp_path: Path) -> None:
    packed, plain = manifest(tiny), manifest(write_idx(tmp_path / "plain", pack=False))
    assert np.array_equal(*(np.stack(list(found.sources())) for found in (packed, plain)))


def test_a_changed_picture_is_computed_anew(tmp_path: Path) -> None:
    root = write_classes(tmp_path)
    before = manifest(root)
    assert manifest(root).pixels == before.pixels
    name = before.table.recording[before.table.class_name == "cup"].iloc[0]
    Image.new("RGB", (40, 30), "red").save(root / name)
    assert manifest(root).pixels != before.pixels


def damage(root: Path, name: str, change: Callable[[bytes], bytes], packed: bool = False) -> None:
    file = root / f"{name}.gz"
    data = file.read_bytes()
    file.write_bytes(change(data) if packed else gzip.compress(change(gzip.decompress(data))))


@pytest.mark.parametrize(
    ("name", "change", "packed", "words"),
    [
        ("train-images-idx3-ubyte", lambda data: data[: len(data) // 2], True, "damaged"),
        ("t10k-labels-idx1-ubyte", lambda data: b"not gzip at all", True, "damaged"),
        ("train-images-idx3-ubyte", lambda data: data[:-5], False, "damaged"),
        ("train-labels-idx1-ubyte", lambda data: data[:6], False, "damaged"),
        ("t10k-images-idx3-ubyte", lambda data: b"\0\0\x0d\x03" + data[4:], False, "begins with 00000d03"),
        ("t10k-labels-idx1-ubyte", lambda data: data[:-1] + b"\x0a", False, "label 10 of image 39"),
        ("train-labels-idx1-ubyte", lambda data: data[:4] + b"\0\0\0\x27" + data[8:-1], False, "one for each label"),
    ],
)
def test_damaged_files_give_one_line(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], packed: bool, words: str
) -> None:
    write_idx(tmp_path, per_class=4)
    damage(tmp_path, name, change, packed)
    with pytest.raises(InputError) as refusal:
        manifest(tmp_path)
    message = str(refusal.value)
    assert words in message and "\n" not in message
    assert name.partition("-")[0] in message


def test_wrong_folders_give_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(lambda: manifest(tmp_path / "none"), "no such folder")
    (tmp_path / "empty").mkdir()
    refused(lambda: manifest(tmp_path / "empty"), "holds 0 folders")
    root = write_classes(tmp_path / "own")
    refused(lambda: manifest(root, test=7), "class 'cup' has 6 images left for test, 7 are needed")
    refused(lambda: manifest(root, test=4, validation=2, train=1), "class 'cup' has 0 images left for train")
    (root / "void").mkdir()
    refused(lambda: manifest(root), "void: holds no images")
    (root / "void" / "0.png").write_bytes(b"nothing of the kind")
    refused(lambda: manifest(root), "void")
    for split, classes in (("train", ("cup", "jar")), ("test", ("cup", "mug"))):
        write_classes(tmp_path / "split" / split, classes)
    refused(lambda: manifest(tmp_path / "split"), "no folder for the class 'jar'")
    write_idx(tmp_path / "lacking")
    (tmp_path / "lacking" / "t10k-labels-idx1-ubyte.gz").unlink()
    refused(lambda: manifest(tmp_path / "lacking"), "has no t10k-labels-idx1-ubyte.gz")
    monkeypatch.setattr(labelled, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(InputError, match="apt-get install dataset-fashion-mnist"):
        Factors().manifest()


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    root = write_classes(tmp_path, images=4)
    for file in (root / "cup").iterdir():
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"cup/\d\.png: cannot be decoded"):
        manifest(root)


def test_run_on_a_folder(tmp_path: Path, suite_file: Callable[..., Path], cli: Callable) -> None:
    root = write_classes(tmp_path / "own", alpha=True)
    suite = suite_file(benchmark={"name": "factors", "protocol": "factor", "factor": "occlusion", **FEW})
    answer = cli("run", suite, "--data-root", root, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(results.status) == ["done"] and list(results.experiences) == [3]
    assert "synthetic" in results.benchmark[0]
    again = cli("run", suite, "--data-root", tmp_path / "nowhere", "--out", tmp_path / "other")
    assert again.code == 2 and "nowhere" in again.err and len(again.err.strip().splitlines()) == 1


@pytest.mark.skipif(not installed(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_of_debian() -> None:
    found = Factors.model_validate({**FEW, "protocol": "factor"}).manifest()
    assert (found.name, list(found.classes)) == ("Fashion-MNIST with computed factors", list(labelled.FASHION))
    assert found.root == DEBIAN and len(found.table) == 10 * 4 * 3
    assert np.stack(list(found.sources())).std() > 20
