"""One file of a data set in any layout cut off, emptied or replaced: an answer or one line, never a traceback."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lorisbench.benchmarks.tools import describe, leaks, verify
from lorisbench.benchmarks.tools.archives import find_archives
from lorisbench.benchmarks.tools.open_data import open_data
from lorisbench.benchmarks.tools.unpack import unpack
from lorisbench.common.errors import InputError

CSV = "path,class_name,experience,split\n"
EVERYDAY = settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
THOROUGH = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
NONSENSE = st.one_of(
    st.sampled_from(
        [b"", b"[]", b"null", b"3", b"\xff\xfe\0", b"path\n", b"path,experience\n,,\n", b"a\0b", b"# root: x\n"]
    ),
    st.binary(max_size=100),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(["half", "end", "folder", "gone", "link to itself"]),
)


def images(folder: Path, count: int, first: int = 0) -> None:
    """Small images that look different, so that leaks are searched among them."""
    folder.mkdir(parents=True)
    for index in range(first, first + count):
        pixels = np.random.default_rng(index).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def own_folders(root: Path) -> Path:
    for domain in ("cat walk", "sketch"):
        for split in ("train", "test", "validation"):
            for name in ("cup", "pen"):
                images(root / domain / split / name, 2, len(split))
    return root


def own_list(root: Path) -> Path:
    images(root, 12)
    rows = []
    for index in range(12):
        split = ("train", "test", "validation")[index // 2 % 3]
        rows.append(f"{index}.png,{'cup' if index % 2 else 'pen'},{index // 6},{split}")
    (root / "list.csv").write_text(CSV + "\n".join(rows) + "\n")
    return root / "list.csv"


def archive(root: Path) -> Path:
    root.mkdir()
    with zipfile.ZipFile(root / "a.zip", "w") as target:
        for number in range(3):
            target.writestr(f"a/{number}.txt", 50 * str(number))
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "release": lambda root: trees.release(root, trees.OBJECTS[:2]),
    "benchmark1": trees.benchmark1,
    "challenge": trees.challenge,
    "avalanche": lambda root: trees.lists(root, trees.OBJECTS[:2]),
    "own folders": own_folders,
    "own list": own_list,
    "archive": archive,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("layouts")
    return {name: make(folder / name) for name, make in LAYOUTS.items()}


def use(path: Path, layout: str) -> None:
    """What `data unpack`, `describe`, `verify`, `leaks` and the manifest of a run do."""
    if layout == "archive":
        unpack(find_archives([path]), path.parent / "unpacked")
        return
    manifest = open_data(path)
    list(describe.describe(manifest))
    verify.bad_files(manifest.files()[:40], workers=1)
    manifest.describe()
    if layout.startswith("own"):
        found = leaks.leaks(manifest, 40)
        leaks.per_experience(manifest, found), leaks.summary(manifest, found, 40), leaks.per_recording(manifest, found)


def attempt(whole: dict[str, Path], work: Path, layout: str, which: int, how: str | bytes) -> None:
    shutil.rmtree(work, ignore_errors=True)
    root = whole[layout].parent if whole[layout].is_file() else whole[layout]
    shutil.copytree(root, work / root.name, copy_function=lambda a, b: Path(b).hardlink_to(a))
    path = work / whole[layout].relative_to(root.parent)
    files = sorted(file for file in (work / root.name).rglob("*") if file.is_file())
    lists = [file for file in files if file.suffix not in (".jpg", ".png")]
    chosen = lists[which % len(lists)] if lists and which % 2 else files[which % len(files)]
    data = chosen.read_bytes()
    chosen.unlink()
    if how == "folder":
        chosen.mkdir()
    elif how == "link to itself":
        chosen.symlink_to(chosen.name)
    elif how != "gone":
        chosen.write_bytes({"half": data[: len(data) // 2], "end": data[:-3]}[how] if isinstance(how, str) else how)
    try:
        use(path, layout)
    except InputError as error:
        assert "\n" not in str(error)


layouts, positions = st.sampled_from(sorted(LAYOUTS)), st.integers(0, 10_000)


@EVERYDAY
@given(layout=layouts, which=positions, how=NONSENSE)
def test_a_damaged_file_gives_no_traceback(
    whole: dict[str, Path], tmp_path: Path, layout: str, which: int, how: str | bytes
) -> None:
    attempt(whole, tmp_path / "work", layout, which, how)


@pytest.mark.heavy
@THOROUGH
@given(layout=layouts, which=positions, how=NONSENSE)
def test_no_random_damage_gives_a_traceback(
    whole: dict[str, Path], tmp_path: Path, layout: str, which: int, how: str | bytes
) -> None:
    attempt(whole, tmp_path / "work", layout, which, how)
