"""`lorisbench bench data`: a set as large as OpenLORIS-Object, the image cache, and the search for bad files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path

import numpy as np

from lorisbench.bench.measured import Ratio, paired
from lorisbench.bench.timing import peak_so_far
from lorisbench.common.errors import InputError

IMAGES, OBJECTS = 1_106_424, 121  # of the ICRA 2020 data set, depth images included
SEGMENTS = 9
SIZE = 224
PHOTO = (424, 240)  # width, height of a frame of OpenLORIS-Object
BATCH = 64
LINKS = 60_000  # hard links to one file: ext4 allows 65,000


def reading(images: int = IMAGES, objects: int = OBJECTS) -> list[str]:
    """Wall time and peak memory of a fresh process that reads a set of this size and makes a pass over its stream."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        start = time.perf_counter()
        write_tree(root, images, objects)
        made = time.perf_counter() - start
        took = in_fresh_process(root, Path(folder) / "cache")
    whole = took["read"] + took["stream"] + took["pass"]
    return [
        f"a manifest and stream of {took['images']:,.0f} images (made in {made:.0f} s, not counted): {whole:.1f} s "
        f"(read {took['read']:.1f}, stream {took['stream']:.1f}, a pass over all minibatches {took['pass']:.1f}) "
        f"after {took['import']:.1f} s of imports; peak {took['peak']:.2f} GB",
        f"their content hash: {took['hash']:.1f} s, {took['hash again']:.1f} s when nothing has changed; "
        f"peak {took['peak with hash']:.2f} GB",
    ]


def write_tree(root: Path, images: int, objects: int) -> None:
    """Write a tree in the release layout whose images are hard links to a few tiny files, or copies if links fail."""
    from lorisbench.benchmarks.openloris.words import FACTORS
    from lorisbench.data.manifest import SPLITS

    root.mkdir(parents=True)
    tiny = [root / f"tiny{number}.jpg" for number in range(-(-images // LINKS))]
    for number, file in enumerate(tiny):
        write_photo(file, number, (16, 16))
    source = cycle(tiny)
    cells = list(product(SPLITS, FACTORS, range(1, SEGMENTS + 1), range(1, objects + 1)))
    for position, (split, factor, segment, number) in enumerate(cells):
        folder = root / split / factor / f"segment{segment}" / f"object_{number:03d}"
        folder.mkdir(parents=True)
        for frame in range(images * position // len(cells), images * (position + 1) // len(cells)):
            link(next(source), folder / f"{frame:07d}.jpg")


def link(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy if the file system supports no hard links or allows no more of them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_photo(file: Path, seed: int, size: tuple[int, int] = PHOTO) -> None:
    """Write a JPEG of quality 90 with roughly the statistics of a photo: smooth noise overlaid with a fine texture."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    width, height = size
    coarse = rng.integers(0, 256, (9, 16, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.float32)
    texture = rng.normal(0, 8, (height, width, 1)).astype(np.float32)
    Image.fromarray(np.clip(smooth + texture, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)


def in_fresh_process(root: Path, cache: Path) -> dict[str, float]:
    """What `measure_reading` prints, run in its own process with its own cache folder."""
    code = "import sys; from lorisbench.bench.data import measure_reading; measure_reading(sys.argv[1])"
    environment = {**os.environ, "LORISBENCH_CACHE": str(cache)}
    command = [sys.executable, "-c", code, str(root)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise InputError(f"reading {root} ended with exit code {process.returncode}: {process.stderr[-300:]}")
    return json.loads(process.stdout.splitlines()[-1])


def measure_reading(root: str) -> None:
    """Print as JSON the seconds of each step from folder to minibatches, and the peak resident memory so far in GB."""
    times: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name], last = now - last, now

    import torch

    from lorisbench.benchmarks.openloris.layouts import read
    from lorisbench.data.stream import Store, make_stream, rows_of
    from lorisbench.data.subsets import Subset
    from lorisbench.engine.loader import TensorLoader

    lap("import")
    manifest = read(Path(root), "auto", "sequence", None, Subset())
    lap("read")
    labels = torch.from_numpy(manifest.table.label.to_numpy(np.int64, copy=True))
    store = Store(torch.zeros(len(labels), 1), labels)
    stream = make_stream(manifest, store)
    lap("stream")
    seen = 0
    for experience in [*stream.train_stream, *stream.validation_stream, *stream.test_stream]:
        rows = rows_of(experience.dataset)
        assert rows is not None  # no dataset of the stream has samples from elsewhere
        for _, y, _ in TensorLoader(store, rows, BATCH, torch.device("cpu")):
            seen += len(y)
    lap("pass")
    times |= {"images": seen, "peak": peak_so_far()}
    last = time.perf_counter()
    first = manifest.content_hash
    lap("hash")
    del manifest.__dict__["content_hash"]  # as in a later process, which has only what is in the cache folder
    assert manifest.content_hash == first
    lap("hash again")
    print(json.dumps({**times, "peak with hash": peak_so_far()}))


def caching(count: int = 300, size: int = SIZE, pairs: int = 7) -> Ratio:
    """Decoding on all cores, to reading the same rows from the image cache."""
    from lorisbench.common.cache import load_array
    from lorisbench.data import images

    with tempfile.TemporaryDirectory() as folder:
        files = _photos(Path(folder), count)
        path = Path(folder) / "photos.npy"
        np.save(path, np.concatenate(list(images.batches(files, size, BATCH))))

        def from_cache() -> Iterator[np.ndarray]:
            stored = load_array(path)  # mapped anew in each round: the page faults on first access are part of the cost
            assert stored is not None
            for start in range(0, count, BATCH):
                yield np.array(stored[start : start + BATCH])

        return paired(
            f"decoding {count} JPEGs of {PHOTO[0]}x{PHOTO[1]} to {size} pixels, to reading them from the cache",
            lambda: sum(map(len, images.batches(files, size, BATCH))),
            lambda: sum(map(len, from_cache())),
            pairs=pairs,
        )


def verifying(count: int = 5_000, distinct: int = 300, pairs: int = 7) -> Ratio:
    """Finding bad files by one process per core, to a single one."""
    from lorisbench.benchmarks.tools.verify import bad_files

    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(Path(folder), distinct)
        files = []
        for number, photo in zip(range(count), cycle(photos), strict=False):
            files.append(str(Path(folder) / f"link{number}.jpg"))
            link(Path(photo), Path(files[-1]))

        def found(workers: int) -> None:
            with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for each round would only be noise
                bad = bad_files(files, workers=workers)
            if bad:
                raise InputError(f"{bad[0][0]}: {bad[0][1]}")

        what = f"looking through {count} JPEGs with {cores} workers, to one worker"
        return paired(what, lambda: found(cores), lambda: found(1), pairs=pairs)


def _photos(folder: Path, count: int) -> list[str]:
    files = [folder / f"photo{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        write_photo(file, number)
    return [str(file) for file in files]
