"""Damaged trees: what each layout says of links in a circle, empty classes, doubled lines and files that are none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trees
from answers import refused

from lorisbench.benchmarks.openloris.layouts import read, read_root
from lorisbench.data.subsets import Subset

ALL = Subset()
PROTOCOLS = {
    "release": ("factor", "clutter"),
    "benchmark1": ("factor", "clutter"),
    "challenge": ("sequence", None),
    "batches": ("challenge", None),
    "avalanche": ("factor", "clutter"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One tree of each layout; tests that change one take a copy."""
    return trees.every(tmp_path_factory.mktemp("layouts"))


@pytest.fixture
def copy(made: SimpleNamespace, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(getattr(made, name), tmp_path / name, copy_function=os.link))


def not_read(tree: str, root: Path, *words: str) -> None:
    refused(lambda: read(root, "auto", *PROTOCOLS[tree], ALL), *words)


@pytest.mark.parametrize("target", ["circle", "..", "../.."])
@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ("release", "train/clutter"),
        ("release", "test/clutter/segment2"),
        ("benchmark1", "clutter/train"),
        ("benchmark1", "clutter/validation/task4"),
        ("challenge", "train"),
        ("batches", "test/batch5"),
    ],
)
def test_a_link_in_a_circle_is_named_at_every_depth(
    copy: Callable[[str], Path], tree: str, place: str, target: str
) -> None:
    root = copy(tree)
    (root / place / "circle").symlink_to(target)
    not_read(tree, root, f"{root / place / 'circle'}: a symbolic link that leads in a circle")


def test_two_links_to_each_other(copy: Callable[[str], Path]) -> None:
    root = copy("release")
    (root / "train/clutter/segment1/one").symlink_to("two")
    (root / "train/clutter/segment1/two").symlink_to("one")
    not_read("release", root, "train/clutter/segment1/", "a symbolic link that leads in a circle")


def test_a_segment_that_links_to_itself(copy: Callable[[str], Path]) -> None:
    root = copy("release")
    shutil.rmtree(root / "train/clutter/segment3")
    (root / "train/clutter/segment3").symlink_to("segment3")
    not_read("release", root, "train/clutter/segment3: a symbolic link that leads in a circle")


def test_a_link_to_nowhere_is_no_object(copy: Callable[[str], Path]) -> None:
    root = copy("release")
    (root / "train/clutter/segment1/mug_09").symlink_to("/nonexistent/place")
    assert list(read(root, "auto", "factor", "clutter", ALL).classes) == list(trees.OBJECTS)


def test_a_listed_image_or_a_list_that_links_to_itself(copy: Callable[[str], Path]) -> None:
    root = copy("avalanche")
    file = root / "batches_filelists/domain/clutter/train_batch_04.txt"
    line = file.read_text().splitlines()[2]
    image = root / line.rpartition(" ")[0]
    image.unlink()
    image.symlink_to(image.name)
    not_read("avalanche", root, f"{file}:3: {image}: cannot be read (Too many levels of symbolic links)")
    file.unlink()
    file.symlink_to(file.name)
    not_read("avalanche", root, str(file))


def test_validation_beside_the_lists_that_links_to_itself(copy: Callable[[str], Path]) -> None:
    root = copy("avalanche")
    image = next((root / "validation/clutter/segment3/box_01").iterdir())
    image.unlink()
    image.symlink_to(image.name)
    not_read("avalanche", root, f"{image}: cannot be read (Too many levels of symbolic links)")


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_class_of_a_segment_is_named(copy: Callable[[str], Path], split: str, gone: bool) -> None:
    root = copy("release")
    folder = root / split / "clutter/segment6/cup_02"
    shutil.rmtree(folder)
    if not gone:
        folder.mkdir()
    if split == "validation":  # which a run may do without
        notes = read(root, "auto", "factor", "clutter", ALL).notes
        assert notes["missing classes"] == "'clutter 2.3' has no validation images of 'cup_02'"
    else:
        not_read(
            "release", root, f"object 'cup_02' has no {split} image of task 'clutter 2.3'", f"{split}/clutter/segment6"
        )
    assert "'cup_02'" not in str(read(root, "auto", "factor", "pixel", ALL).notes)
    assert read(root, "auto", "sequence", None, ALL).experiences == 12, "two more segments of the level have it"


@pytest.mark.parametrize("file", ["train_batch_05.txt", "test.txt"])
def test_an_empty_class_of_a_list_is_named(copy: Callable[[str], Path], file: str) -> None:
    root = copy("avalanche")
    lists = root / "batches_filelists/domain/clutter"
    kept = [line for line in (lists / file).read_text().splitlines() if "segment6/cup_02" not in line]
    (lists / file).unlink()  # a hard link to the tree that other tests copy
    (lists / file).write_text("\n".join(kept) + "\n")
    if file == "test.txt":
        not_read("avalanche", root, "object 'cup_02' has no test image of task 'clutter 2.3'", f"clutter/{file}")
    else:
        not_read("avalanche", root, "object 'cup_02' has no", f"clutter/{file}")
        assert "missing classes" in read_root(root).notes


def test_an_empty_list_is_a_task_without_images(copy: Callable[[str], Path]) -> None:
    root = copy("avalanche")
    file = root / "batches_filelists/domain/clutter/train_batch_05.txt"
    file.unlink()
    file.write_text("\n\n")
    not_read("avalanche", root, "segment6")


def test_a_group_without_object_folders(copy: Callable[[str], Path]) -> None:
    root = copy("benchmark1")
    shutil.rmtree(root / "clutter/train/task2")
    (root / "clutter/train/task2").mkdir()
    (root / "clutter/train/task2/readme.txt").write_text("moved")
    not_read("benchmark1", root, "clutter/train/task2: holds no object folders")


def label_csv(root: Path, *lines: str) -> Path:
    file = root / "test/batch2/label.csv"
    objects = [f"{name}/000.jpg,{number}" for number, name in enumerate(trees.OBJECTS)]
    file.write_text("\n".join(["file name,label", *objects, *lines]) + "\n")
    return file


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("..\\..\\secret\\x.jpg,0", "leaves the data set's folder"),
        ("C:/x.jpg,0", "leaves the data set's folder"),
        ("~/x.jpg,0", "leaves the data set's folder"),
        ("box_01/../../../x.jpg,0", "leaves the data set's folder"),
        ("box_01/000.jpg,999999999999", "is not in 0..2"),
    ],
)
def test_label_csv_that_escapes_or_is_out_of_range(copy: Callable[[str], Path], line: str, words: str) -> None:
    root = copy("batches")
    not_read("batches", root, f"{label_csv(root, line)}:5: ", words)


def test_doubled_lines_of_label_csv_are_used_once_and_noted(copy: Callable[[str], Path]) -> None:
    root = copy("batches")
    before = read(root, "auto", "challenge", None, ALL)
    file = label_csv(root, "", "cup_01/000.jpg,1")
    manifest = read(root, "auto", "challenge", None, ALL)
    assert manifest.table.equals(before.table)
    assert f"{file}:6: 'cup_01/000.jpg' is listed twice" in manifest.notes["duplicates"]


@pytest.mark.parametrize(
    ("tree", "image"),
    [
        ("benchmark1", "clutter/test/task3/cup_01/000.jpg"),
        ("batches", "train/batch3/cup_01/001.jpg"),
        ("release", "validation/clutter/segment3/cup_01/012.jpg"),
        ("avalanche", "test/clutter/segment3/cup_01/012.jpg"),
        ("avalanche", "validation/clutter/segment3/cup_01/012.jpg"),
    ],
)
def test_an_image_without_bytes_is_named_in_every_layout(copy: Callable[[str], Path], tree: str, image: str) -> None:
    root = copy(tree)
    (root / image).unlink()
    (root / image).write_bytes(b"")
    not_read(tree, root, f"{root / image}: the image has no bytes")
    assert image in set(read_root(root).table.path)


@pytest.mark.parametrize("tree", ["release", "avalanche"])
def test_a_folder_that_is_named_like_an_image_is_named(copy: Callable[[str], Path], tree: str) -> None:
    root = copy(tree)
    image = root / "train/clutter/segment3/cup_01/012.jpg"
    image.unlink()
    image.mkdir()
    not_read(tree, root, f"{image}: a folder or device, not a file")
