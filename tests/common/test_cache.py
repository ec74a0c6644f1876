"""The cache of images and what it is made from: pixels in one file, odd names, two processes, a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import trees
from PIL import Image

from lorisbench.benchmarks.openloris.layouts import read
from lorisbench.benchmarks.openloris.protocols import Subset
from lorisbench.common import cache as caching
from lorisbench.common.errors import InputError
from lorisbench.data import images
from lorisbench.data.manifest import COLUMNS, SPLITS, Manifest
from lorisbench.data.stream import Store, make_stream


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def table(count: int = 12, experiences: int = 2, **columns: object) -> pd.DataFrame:
    """Images 0, 1, ... in turn of each split and experience, of two classes."""
    rows = [
        (f"{i}.png", i // 6 % 2, "ab"[i // 6 % 2], i // 3 % experiences, SPLITS[i % 3], "clutter", 1, "r")
        for i in range(count)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).assign(**columns)


def of_files(root: Path, size: tuple[int, int] = (20, 16), **columns: object) -> Manifest:
    root.mkdir(exist_ok=True)
    frame = table(**columns)
    for number, path in enumerate(frame.path):
        Image.new("RGB", size, (number * 20, 90, 255 - number * 20)).save(root / path)
    return Manifest(frame, root, "files", True, ["a", "b"], ["first", "second"])


def of_pixels(file: Path, pixels: np.ndarray | None = None, **columns: object) -> Manifest:
    if pixels is not None:
        np.save(file, pixels)
    return Manifest(table(**columns), file.parent, "pixels", True, ["a", "b"], ["first", "second"], pixels=file)


def noise(count: int = 12, height: int = 14, width: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


# Pixels in one file


@pytest.mark.parametrize("size", [8, 10, 23])
def test_pixels_are_resized_as_single_images_are(tmp_path: Path, own_cache: Path, size: int) -> None:
    pixels = noise()
    stored = images.cached(of_pixels(tmp_path / "all.npy", pixels), size)
    assert stored.shape == (12, size, size, 3) and stored.dtype == np.uint8
    for row, image in zip(stored, pixels, strict=True):
        Image.fromarray(image).save(tmp_path / "one.png")
        assert np.array_equal(row, images.decode(str(tmp_path / "one.png"), size))


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (noise(11), "holds 11 images where 12 were expected"),
        (noise()[..., 0], "(12, 14, 10)"),
        (noise()[..., :2], "(12, 14, 10, 2)"),
        (noise()[..., None], "(12, 14, 10, 3, 1)"),
        (noise().astype(np.float32), "float32"),
        (np.uint8(3), "uint8 ()"),
        (np.zeros((12, 0, 4, 3), np.uint8), "all.npy"),
        (np.array([None] * 12), "not a readable .npy file"),
    ],
)
def test_pixels_of_another_shape_are_refused(tmp_path: Path, own_cache: Path, pixels: np.ndarray, words: str) -> None:
    with pytest.raises(InputError) as error:
        images.cached(of_pixels(tmp_path / "all.npy", pixels), 8)
    assert str(tmp_path / "all.npy") in str(error.value) and words in str(error.value)
    assert "\n" not in str(error.value) and not (own_cache / "images").exists()


def test_missing_and_damaged_pixels_are_refused(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(InputError, match=r"gone.npy: cannot be read \(No such file"):
        images.cached(of_pixels(tmp_path / "gone.npy"), 8)
    manifest = of_pixels(tmp_path / "all.npy", noise())
    (tmp_path / "all.npy").write_bytes((tmp_path / "all.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"all.npy: not a readable .npy file"):
        images.cached(manifest, 8)
    (tmp_path / "all.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"all.npy: the image has no bytes"):
        images.cached(of_pixels(tmp_path / "all.npy"), 8)


def test_the_content_hash_follows_the_bytes_of_the_pixels(tmp_path: Path, own_cache: Path) -> None:
    pixels = noise()
    before = of_pixels(tmp_path / "all.npy", pixels).content_hash
    (tmp_path / "elsewhere").mkdir()
    assert of_pixels(tmp_path / "elsewhere" / "other.npy", pixels).content_hash == before
    pixels[7, 3, 2, 1] ^= 1
    assert of_pixels(tmp_path / "all.npy", pixels).content_hash != before


# Task labels


def test_task_labels_reach_experiences_and_minibatches(tmp_path: Path) -> None:
    from tiny_stream import Spy

    from lorisbench.engine.engine import Engine, make_optimizer
    from lorisbench.suite.config import TrainingConfig

    tasks = [3 if number // 3 % 2 == 0 else 5 for number in range(12)]
    manifest = of_pixels(tmp_path / "all.npy", noise(), task=tasks)
    assert manifest.task_labels().dtype == np.int64 and manifest.task_labels().flags.writeable
    store = Store(
        torch.rand(12, 4),
        torch.tensor(manifest.table.label.tolist()),
        torch.from_numpy(manifest.task_labels()),
    )
    stream = make_stream(manifest, store)
    assert [[e.task_labels for e in s] for s in stream.streams.values()] == [[[3], [5]]] * 3
    model, training = torch.nn.Linear(4, 2), TrainingConfig(epochs=1, batch_size=2)
    seen: list[list[int]] = []

    def look(strategy: Engine) -> None:
        seen.append(strategy.mb_task_id.tolist())

    spy = Spy(before_training_iteration=look, before_eval_iteration=look)
    engine = Engine(
        model=model, optimizer=make_optimizer(model, training), plugins=[spy], store=store, training=training,
        device=torch.device("cpu"), seed=0,
    )  # fmt: skip
    for experience in stream.train_stream:
        engine.train(experience)
    engine.eval(stream.test_stream)
    assert seen == [[3, 3], [5, 5], [3, 3], [5, 5]]


def test_the_content_hash_follows_the_task_labels(tmp_path: Path, own_cache: Path) -> None:
    pixels = noise()
    plain = of_pixels(tmp_path / "all.npy", pixels)
    assert (plain.task_labels() == 0).all()
    hashes = [of_pixels(tmp_path / "all.npy", task=task).content_hash for task in (0, 1)]
    assert len({plain.content_hash, *hashes}) == 3


# Names


def test_names_with_spaces_and_other_letters_all_the_way(tmp_path: Path, own_cache: Path) -> None:
    root = trees.lists(tmp_path / "räume und mehr", ("blaue Schüssel_01", "茶碗_02", "naïve “cup”_03"))
    folders, lists = (read(root, layout, "factor", "clutter", Subset()) for layout in ("release", "avalanche"))
    assert set(folders.files()) == set(lists.files()) and all(os.path.isfile(file) for file in folders.files())
    assert folders.content_hash != lists.content_hash, "the lists have labels of their own"
    assert read(root, "release", "factor", "clutter", Subset()).content_hash == folders.content_hash
    pixels = {manifest.name + layout: dict(zip(manifest.table.path, images.cached(manifest, 8), strict=True))
              for layout, manifest in (("folders", folders), ("lists", lists))}  # fmt: skip
    by_folder, by_list = pixels.values()
    for path, image in by_folder.items():
        assert np.array_equal(image, by_list[path])
    path = folders.table.path.iloc[5]
    (root / path).write_bytes(trees.PICTURES[63])
    assert read(root, "release", "factor", "clutter", Subset()).content_hash != folders.content_hash


@pytest.mark.parametrize(
    ("folder", "below"), [("train/clutter/segment3/box_01", b".jpg"), ("test/pixel/segment2", b"/000.jpg")]
)
def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path, folder: str, below: bytes) -> None:
    root = trees.release(tmp_path / "set")
    file = Path(os.fsdecode(os.fsencode(root / folder) + b"/\xff\xe9" + below))
    try:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(trees.PICTURES[0])
    except OSError:
        pytest.skip("the file system refuses such a name")
    with pytest.raises(InputError, match=r"xff.xe9.* is not UTF-8 text") as error:
        read(root, "auto", "sequence", None, Subset())
    assert str(error.value).startswith(f"{root / folder}: ") and str(error.value).encode("utf-8")


# One maker of an entry

MAKER = """
import os, sys, time
from pathlib import Path
import numpy as np
from lorisbench.common.cache import cached_array, cache_root
log, gate = Path(sys.argv[1]), Path(sys.argv[2])
def blocks():
    with open(log, "a") as stream:
        stream.write(f"{os.getpid()}\\n")
    yield np.full((2, 3), 7, np.uint8)
    while not gate.exists():
        time.sleep(0.01)
    yield np.full((2, 3), 9, np.uint8)
array = cached_array(cache_root() / "images" / "entry.npy", "|u1", (4, 3), "making", blocks)
assert array.tolist() == [[7] * 3] * 2 + [[9] * 3] * 2
"""


def start(log: Path, gate: Path) -> subprocess.Popen[str]:
    """A process that makes the entry: it says so in `log` and ends it once `gate` is there."""
    command = [sys.executable, "-c", MAKER, str(log), str(gate)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def begin(log: Path, gate: Path) -> subprocess.Popen[str]:
    """Such a process that is making it."""
    process = start(log, gate)
    while not log.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def test_two_processes_make_an_entry_once(tmp_path: Path, own_cache: Path) -> None:
    log = tmp_path / "log"
    first = begin(log, tmp_path / "gate")
    second = start(log, tmp_path / "gate")
    assert second.stderr is not None and "another process is making it; waiting" in second.stderr.readline()
    (tmp_path / "gate").touch()
    for process in (first, second):
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert log.read_text().split() == [str(first.pid)]
    assert visible(own_cache / "images") == ["entry.npy"] == os.listdir(own_cache / "images")


def test_a_killed_maker_leaves_nothing_to_see_and_nothing_locked(tmp_path: Path, own_cache: Path) -> None:
    log = tmp_path / "log"
    killed = begin(log, tmp_path / "never")
    waiting = start(log, tmp_path)
    assert waiting.stderr is not None and "waiting" in waiting.stderr.readline()
    assert visible(own_cache / "images") == []
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    _, said = waiting.communicate()
    assert waiting.returncode == 0, said
    assert log.read_text().split() == [str(killed.pid), str(waiting.pid)]
    assert os.listdir(own_cache / "images") == ["entry.npy"], "what the killed process had written is gone too"


def test_a_maker_that_fails_leaves_nothing_and_the_next_one_makes_it(own_cache: Path) -> None:
    path = own_cache / "images" / "entry.npy"

    def failing():
        yield np.zeros((1, 2), np.uint8)
        raise InputError("an image is damaged")

    with pytest.raises(InputError, match="damaged"):
        caching.cached_array(path, "|u1", (2, 2), "making", failing)
    assert os.listdir(path.parent) == []
    made = caching.cached_array(path, "|u1", (2, 2), "making", lambda: iter([np.ones((2, 2), np.uint8)]))
    assert made.tolist() == [[1, 1], [1, 1]]


def test_who_waited_for_a_lock_that_was_removed_takes_the_new_one(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waits, B fails and removes the lock, C makes a new one: A and C must not both make the entry."""
    path = own_cache / "images" / "entry.npy"
    lock = path.with_name(".entry.npy.lock")
    import fcntl

    taken = []
    kept = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        kept(descriptor, how)
        if not os.fstat(descriptor).st_nlink:
            return  # not the lock: a nameless file, by which the library finds out whether there are locks at all
        taken.append(os.fstat(descriptor).st_ino)
        if len(taken) == 1:
            lock.unlink()
            lock.touch()

    monkeypatch.setattr(fcntl, "flock", flock)
    with caching._alone(path, "making"):
        assert len(taken) == 2 and taken[1] == lock.stat().st_ino != taken[0]


def test_rows_of_another_shape_are_an_error_of_the_program(own_cache: Path) -> None:
    with pytest.raises(ValueError, match="making: rows of shape"):
        caching.cached_array(own_cache / "x.npy", "|u1", (2, 2), "making", lambda: iter([np.ones((2, 3), np.uint8)]))
    assert os.listdir(own_cache) == []


# A full disk


def test_too_little_space_is_one_line_before_anything_is_written(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = of_pixels(tmp_path / "all.npy", noise())
    needed = 12 * 8 * 8 * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed - 1))
    monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(InputError, match=r"images: decoding images needs 0.00 GB, 0.00 GB are free") as error:
        images.cached(manifest, 8)
    assert str(own_cache) in str(error.value) and "\n" not in str(error.value)
    assert os.listdir(own_cache / "images") == []
    monkeypatch.undo()
    monkeypatch.setenv("LORISBENCH_CACHE", str(own_cache))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed))
    assert len(images.cached(manifest, 8)) == 12


def test_a_cache_folder_that_cannot_be_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(InputError, match=r"cache/images: a file, where a folder is needed"):
        caching.cached_array(tmp_path / "cache/images/x.npy", "|u1", (1, 1), "making", lambda: iter([]))
    for root in (tmp_path / "cache", Path("/proc/cache")):  # there no folder can be made
        monkeypatch.setenv("LORISBENCH_CACHE", str(root))
        assert caching.remembered("stamp", lambda: "found out") == "found out", "it is worth more than its memory"
    with pytest.raises(InputError, match=r"/proc/cache/images: cannot be written"):
        caching.cached_array(Path("/proc/cache/images/x.npy"), "|u1", (1, 1), "making", lambda: iter([]))


def test_what_cannot_be_cleared_is_named_and_all_else_is_freed(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("images", "features", "pixels"):
        (own_cache / kind).mkdir(parents=True)
        (own_cache / kind / "entry.npy").write_bytes(bytes(2_000_000))
    kept = os.rmdir

    def rmdir(path, **how):
        if str(path).endswith("features"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        kept(path, **how)

    monkeypatch.setattr(os, "rmdir", rmdir)
    with pytest.raises(InputError, match=r"cache/features: cannot be deleted \(Read-only file system\); 6.0 MB were"):
        caching.clear_cache()
    assert os.listdir(own_cache) == ["features"]
    monkeypatch.undo()
    monkeypatch.setenv("LORISBENCH_CACHE", str(own_cache))
    assert caching.clear_cache("features") == 0 and os.listdir(own_cache) == []


# Keys


def test_the_key_follows_images_size_and_preprocessing(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"

    def entries(size: int = 8) -> int:
        images.cached(Manifest(table(), root, "files", True, ["a", "b"], ["first", "second"]), size)
        return len(visible(own_cache / "images"))

    of_files(root)
    assert entries() == entries() == 1
    assert entries(9) == 2
    changed = root / "4.png"
    stat = changed.stat()
    Image.new("RGB", (20, 16), (1, 2, 3)).save(changed)
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert entries() == 3
    monkeypatch.setattr(images, "PREPROCESSING", "another crop")
    assert entries() == 4 and entries() == 4


def test_an_entry_is_read_and_not_made_again(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = of_files(tmp_path / "set")
    first = np.array(images.cached(manifest, 8))
    monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("an image was decoded again"))
    assert np.array_equal(images.cached(manifest, 8), first)


# `lorisbench cache`


def test_cache_ls_and_clear_of_one_part(tmp_path: Path, own_cache: Path, cli) -> None:
    stored = images.cached(of_files(tmp_path / "set"), 64)
    (own_cache / "features").mkdir()
    (own_cache / "features" / "f.npy").write_bytes(b"x" * 3_000_000)
    (own_cache / "images" / ".left.npy.abc").write_bytes(b"x" * 2_000_000)  # of a process that was killed
    parts = {line.split()[0]: line.split()[1:] for line in cli("cache", "ls").out.splitlines()[1:]}
    assert parts["images"] == ["1", "entries", f"{(stored.nbytes + 128 + 2e6) / 1e6:.1f}", "MB"]
    assert parts["features"] == ["1", "entries", "3.0", "MB"] and parts["hashes"][0] == "1"
    assert cli("cache", "clear", "images").out == "2.1 MB freed\n"
    assert sorted(os.listdir(own_cache)) == ["features", "hashes", "timings"]
    assert cli("cache", "clear", "images").out == "0.0 MB freed\n"


def test_what_cannot_be_deleted_is_not_said_to_be_freed(own_cache: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_cache / "images").mkdir(parents=True)
    (own_cache / "images" / "a.npy").write_bytes(b"x" * 2_000_000)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as in a folder of somebody else
    assert cli("cache", "clear", "images").out == "0.0 MB freed\n"


def test_cache_ls_while_entries_vanish(own_cache: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is listed is gone when it is looked at: files before their size is asked, folders before their files."""
    for name in ("images/a.npy", "images/b.npy", "features/c.npy", "renders/set/train/d.jpg", "hashes/e.json"):
        (own_cache / name).parent.mkdir(parents=True, exist_ok=True)
        (own_cache / name).write_bytes(b"x" * 1_000_000)
    scandir, lstat = os.scandir, os.lstat

    def vanishing_scandir(folder: str | Path = "."):
        if str(folder).endswith(("features", "set")):
            shutil.rmtree(folder)
        return scandir(folder)

    def vanishing_lstat(path: str | Path, **options: object):
        if str(path).endswith("a.npy"):
            Path(path).unlink()
        return lstat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "scandir", vanishing_scandir)
    monkeypatch.setattr(os, "lstat", vanishing_lstat)
    answer = cli("cache", "ls")
    assert answer.code == 0, answer.err
    parts = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines()[1:]}
    assert parts["images"] == ["2", "entries", "1.0", "MB"] and parts["features"] == ["0", "entries", "0.0", "MB"]
    assert parts["hashes"] == ["1", "entries", "1.0", "MB"] and parts["renders"][2] == "0.0"
