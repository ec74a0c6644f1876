"""The four layouts: detection, experiences, Avalanche's own reader as the oracle, and one line for damaged trees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from lorisbench.benchmarks.openloris.layouts import find_layout, read, read_root
from lorisbench.benchmarks.tree import relative_path
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import Manifest
from lorisbench.data.subsets import Subset
from lorisbench.data.usable import faults

ALL = Subset()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One tree of each layout; tests that change one take a copy."""
    made = trees.every(tmp_path_factory.mktemp("layouts"))
    trees.for_avalanche(made.avalanche)
    return made


@pytest.fixture
def copy(made: SimpleNamespace, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(getattr(made, name), tmp_path / name))


def flist_of(data: object) -> Any:
    """The list data set under Avalanche's wrappers, which are checked to leave its order as it is."""
    while not hasattr(data, "imgs"):
        assert getattr(data, "_indices", None) is None
        (data,) = data._datasets  # type: ignore[attr-defined]
    return data


def pairs(manifest: Manifest, split: str, experience: int) -> list[tuple[str, int]]:
    rows = manifest.table.iloc[manifest.rows(split, experience)]
    return list(zip(rows.path, rows.label, strict=True))


@pytest.mark.parametrize(
    ("tree", "layout", "experiences"),
    [
        ("release", "release", 12),
        ("benchmark1", "benchmark1", 36),
        ("challenge", "challenge", 12),
        ("batches", "challenge", 9),
        ("avalanche", "avalanche", 36),
    ],
)
def test_each_layout_is_found_and_read_whole(made: SimpleNamespace, tree: str, layout: str, experiences: int) -> None:
    root = getattr(made, tree)
    manifest = read_root(root)
    assert manifest.notes["layout"] == layout and set(manifest.notes) == {"layout", "protocol"}
    assert manifest.experiences == experiences
    on_disk = {p.relative_to(root).as_posix() for p in root.rglob("*.jpg")}
    assert set(manifest.table.path) == on_disk and len(manifest.table) == len(on_disk)
    assert set(manifest.classes) == set(trees.OBJECTS)
    assert (manifest.table.class_name == manifest.table.path.str.split("/").str[-2]).all()
    assert (manifest.table.split == manifest.table.path.str.extract("(train|validation|test)")[0]).all()
    assert read_root(root, layout).content_hash == manifest.content_hash


def test_the_same_images_give_the_same_tasks_in_every_layout(made: SimpleNamespace) -> None:
    """Sequence: 12 tasks of the same names, factors and levels; the tests of a task are of its own segments."""
    for tree in ("release", "benchmark1", "challenge", "avalanche"):
        manifest = read(getattr(made, tree), "auto", "sequence", None, ALL)
        assert list(manifest.experience_names[2:5]) == ["illumination 3", "occlusion 1", "occlusion 2"]
        counts = manifest.counts()
        assert counts.factor.tolist() == [factor for factor in trees.FACTORS for _ in range(3)]
        assert counts.level.tolist() == [1, 2, 3] * 4
        views = 1 if tree == "challenge" else 3
        assert counts[["train", "validation", "test"]].to_numpy().tolist() == [[6 * views, 3 * views, 3 * views]] * 12
    for tree in ("release", "benchmark1", "avalanche"):
        manifest = read(getattr(made, tree), "auto", "factor", "pixel", ALL)
        assert manifest.experience_names[4] == "pixel 2.2" and set(manifest.table.factor) == {"pixel"}
        places = {path.split("/")[2] for path, _ in pairs(manifest, "test", 4)}
        assert places <= {"segment5", "task5"} and len(places) == 1


def test_challenge_takes_the_nine_batches_or_the_twelve_tasks(made: SimpleNamespace) -> None:
    nine = read(made.batches, "auto", "challenge", None, ALL)
    assert nine.experiences == 9 and set(nine.table.factor) == {"mixed"} and set(nine.table.level) == {0}
    assert read(made.challenge, "auto", "challenge", None, ALL).experiences == 12
    with pytest.raises(InputError, match="no experiences for protocol 'sequence'"):
        read(made.batches, "auto", "sequence", None, ALL)
    with pytest.raises(InputError, match="no experiences for protocol 'factor'"):
        read(made.challenge, "auto", "factor", "pixel", ALL)


@pytest.mark.parametrize("factor", [*trees.FACTORS, "mixture-iros"])
def test_avalanches_own_benchmark_has_the_same_batches_order_and_labels(made: SimpleNamespace, factor: str) -> None:
    from avalanche.benchmarks.classic import OpenLORIS

    oracle = OpenLORIS(factor=factor, dataset_root=made.avalanche)
    protocol = "sequence" if factor == "mixture-iros" else "factor"
    manifest = read(made.avalanche, "avalanche", protocol, None if protocol == "sequence" else factor, ALL)

    def listed(experience: object) -> list[tuple[str, int]]:
        data = flist_of(experience.dataset._flat_data)  # type: ignore[attr-defined]
        read = [str(file) for file, *_ in data.imgs]
        labels = [int(label) for label in experience.dataset.targets]  # type: ignore[attr-defined]
        return [(Path(file).as_posix(), n) for file, n in zip(read, labels, strict=True)]

    assert manifest.experiences == len(oracle.train_stream)
    for index, experience in enumerate(oracle.train_stream):
        found = listed(experience)
        assert pairs(manifest, "train", index) == found
        assert [int(label) for label in experience.dataset.targets] == [label for _, label in found]
    (whole,) = oracle.test_stream
    tests = [pair for index in range(manifest.experiences) for pair in pairs(manifest, "test", index)]
    assert sorted(tests) == sorted(listed(whole)), "the tests of all batches are Avalanche's one test set"
    order = {pair: place for place, pair in enumerate(listed(whole))}
    for index in range(manifest.experiences):
        places = [order[pair] for pair in pairs(manifest, "test", index)]
        assert places == sorted(places)


def test_missing_validation_is_every_eighth_training_frame_and_said(tmp_path: Path) -> None:
    root = trees.benchmark1(tmp_path / "b", validation=False, train=17)
    manifest = read(root, "auto", "factor", "clutter", ALL)
    assert "8th" in manifest.notes["validation"]
    paths = [Path(path) for path, _ in pairs(manifest, "validation", 0)]
    assert {path.name for path in paths} == {"007.jpg", "015.jpg"} and len(paths) == 2 * 3
    assert all(path.parts[1] == "train" for path in paths)
    assert not set(map(str, paths)) & {path for path, _ in pairs(manifest, "train", 0)}


def test_lists_without_validation_folder(copy: Callable[[str], Path]) -> None:
    root = copy("avalanche")
    shutil.rmtree(root / "validation")
    manifest = read(root, "auto", "factor", "clutter", ALL)
    assert "8th" in manifest.notes["validation"] and manifest.counts().validation.tolist() == [3] * 9


@pytest.mark.parametrize("as_names", [False, True])
def test_challenge_labels_from_label_csv(copy: Callable[[str], Path], as_names: bool) -> None:
    root = copy("batches")
    expected = read(root, "auto", "challenge", None, ALL)
    for batch in range(1, 10):
        folder = root / "test" / f"batch{batch}"
        lines = ["file name,label"]
        for number, name in enumerate(trees.OBJECTS):
            shutil.move(folder / name / "000.jpg", folder / f"{9 - number} é.jpg")
            shutil.rmtree(folder / name)
            lines.append(f"{9 - number} é.jpg,{name if as_names else number}")
        (folder / "label.csv").write_text("\n".join(lines), encoding="utf-8")
    manifest = read(root, "auto", "challenge", None, ALL)
    assert manifest.counts().equals(expected.counts())
    assert pairs(manifest, "test", 8) == [(f"test/batch9/{9 - n} é.jpg", n) for n in range(3)]
    shutil.copy(root / "test/batch1/9 é.jpg", root / "test/batch1/extra.jpg")
    assert "1 images" in read_root(root).notes["unlisted in test/batch1"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("../../../etc/passwd.jpg,0", "label.csv:3: the path '../../../etc/passwd.jpg' leaves"),
        ("000.jpg,3", "label.csv:3: the label 3 is not in 0..2"),
        ("000.jpg,-1", "label.csv:3: the label -1 is not in 0..2"),
        ("000.jpg,cap_01", "label.csv:3: the label 'cap_01' is neither"),
        ("000.jpg", "label.csv:3: has fewer fields"),
        ("nothing.jpg,0", "label.csv:3: .*nothing.jpg: cannot be read"),
        ("box_01/000.jpg,1", "label.csv:3: 'box_01/000.jpg' has the label 'cup_01' here and 'box_01' before"),
    ],
)
def test_damaged_label_csv(copy: Callable[[str], Path], line: str, named: str) -> None:
    root = copy("batches")
    (root / "test/batch2/label.csv").write_text(f"file name,label\nbox_01/000.jpg,0\n{line}\n")
    with pytest.raises(InputError, match=named):
        read(root, "auto", "challenge", None, ALL)


def test_label_csv_with_other_columns(copy: Callable[[str], Path]) -> None:
    root = copy("batches")
    (root / "test/batch2/label.csv").write_text("path;class\n")
    with pytest.raises(InputError, match=r"label.csv:1: the column 'file name' is missing; found 'path', 'class'"):
        read(root, "auto", "challenge", None, ALL)


def test_names_with_spaces_and_other_letters(tmp_path: Path) -> None:
    names = ("blaue Schüssel_01", "box_01", "茶碗_02")
    root = trees.lists(tmp_path / "räume und mehr", names)
    by_lists = read(root, "avalanche", "sequence", None, ALL)
    assert list(by_lists.classes) == [names[2], names[0], names[1]], "the lists' labels, not the sorted order"
    by_folders = read(root, "release", "sequence", None, ALL)
    assert list(by_folders.classes) == sorted(names)
    assert set(by_lists.table.path) == set(by_folders.table.path)


def test_lists_of_categories(copy: Callable[[str], Path]) -> None:
    """Two cups with one label are one class, named by what their folders share."""
    root = copy("avalanche")
    for file in root.glob("batches_filelists/domain/*/*.txt"):
        lines = [line.rpartition(" ")[0] for line in file.read_text().splitlines()]
        file.write_text("".join(f"{line} {int('cup' in line)}\n" for line in lines))
    assert list(read_root(root).classes) == ["box_01", "cup"]


LIST = "batches_filelists/domain/clutter/train_batch_02.txt"
SAMPLE = "train/clutter/segment3/box_01/012.jpg"


def first_line(root: Path) -> str:
    return (root / LIST).read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("../../etc/passwd 0", "the path '../../etc/passwd' leaves"),
        ("train/../../../etc/box_01/x.jpg 0", "leaves the data set's folder"),
        ("/etc/box_01/passwd 0", "the path '/etc/box_01/passwd' leaves"),
        ("train/clutter/segment3/box_01/003.jpg 2", "object 'box_01' has the label 2 here and 1 in"),
        ("train/clutter/segment3/box_01/003.jpg", "a line 'path label' was expected"),
        ("train/clutter/segment3/box_01/003.jpg -1", "a line 'path label' was expected"),
        ("train/clutter/segment3/mug_01/003.jpg 77", "the label 77 is not in 0..3"),
        ("train/clutter/segment3/box_01/999.jpg 1", "999.jpg: cannot be read"),
        ("train/clutter/segment2/box_01/002.jpg 1", "is in .*train_batch_01.txt:\\d+ too"),
    ],
)
def test_damaged_lists_are_named_with_their_line(copy: Callable[[str], Path], line: str, named: str) -> None:
    root = copy("avalanche")
    kept = (root / LIST).read_text()
    (root / LIST).write_text(f"{kept}{line}\n")
    if "mug_01" in line:
        trees.fill(root / "train/clutter/segment3/mug_01", 1, 3)
    with pytest.raises(InputError, match=named) as error:
        read(root, "auto", "factor", "clutter", ALL)
    assert f"train_batch_02.txt:{len(kept.splitlines()) + 1}:" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_that_is_no_text(copy: Callable[[str], Path]) -> None:
    root = copy("avalanche")
    (root / LIST).write_bytes((first_line(root) + "\n").encode() + b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"train_batch_02.txt:2: not UTF-8"):
        read(root, "auto", "factor", "clutter", ALL)


def test_duplicate_lines_are_used_once_and_noted(copy: Callable[[str], Path]) -> None:
    root = copy("avalanche")
    before = read(root, "auto", "factor", "clutter", ALL)
    kept = (root / LIST).read_text()
    (root / LIST).write_text(f"{kept}\n{first_line(root)}\n")
    manifest = read(root, "auto", "factor", "clutter", ALL)
    assert manifest.table.equals(before.table)
    assert f"train_batch_02.txt:{len(kept.splitlines()) + 2}" in manifest.notes["duplicates"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("test/clutter/segment4/", "test/"), "its path names no segment or task"),
        (lambda text: text.replace("/segment4/", "/segment44/"), "no training list has images of 'clutter/segment44'"),
    ],
)
def test_tests_that_cannot_be_told_apart_are_an_error(
    copy: Callable[[str], Path], change: Callable[[str], str], reason: str
) -> None:
    root = copy("avalanche")
    file = root / "batches_filelists/domain/clutter/test.txt"
    changed = change(file.read_text())
    for line in changed.splitlines():  # the images are there, only their place tells nothing
        path = root / line.rpartition(" ")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(trees.PICTURES[0])
    file.write_text(changed)
    with pytest.raises(InputError, match=f"test.txt:\\d+: .*{reason}.*no test set for each batch"):
        read(root, "auto", "factor", "clutter", ALL)


def test_batches_that_share_a_segment_have_no_tests_of_their_own(copy: Callable[[str], Path]) -> None:
    root = copy("avalanche")
    other = root / "batches_filelists/domain/clutter/train_batch_03.txt"
    line, *rest = (root / LIST).read_text().splitlines()
    (root / LIST).write_text("\n".join(rest) + "\n")
    other.write_text(other.read_text() + line + "\n")
    with pytest.raises(InputError, match="several training lists have images of 'clutter/segment3'"):
        read(root, "auto", "factor", "clutter", ALL)


@pytest.mark.parametrize(
    ("tree", "protocol", "place"),
    [
        ("release", "factor", "test/clutter/segment7"),
        ("benchmark1", "factor", "clutter/test/task7"),
        ("challenge", "sequence", "train/task7"),
        ("batches", "challenge", "validation/batch7"),
        ("avalanche", "factor", "batches_filelists/domain/clutter/train_batch_06.txt"),
    ],
)
def test_a_missing_task_is_named_and_a_protocol_without_it_reads(
    copy: Callable[[str], Path], tree: str, protocol: str, place: str
) -> None:
    root = copy(tree)
    shutil.rmtree(root / place) if (root / place).is_dir() else (root / place).unlink()
    factor = "clutter" if protocol == "factor" else None
    if place.startswith("validation"):  # only what is evaluated on them needs them
        lacking = read(root, "auto", protocol, factor, ALL)
        assert place in lacking.notes["missing parts"] and not faults(lacking, "test")
        assert "'batch 7' has no validation images" in faults(lacking, "validation")[0]
        return
    with pytest.raises(InputError, match=f"{place}.*: no such"):
        read(root, "auto", protocol, factor, ALL)
    if protocol == "factor":
        assert read(root, "auto", protocol, "pixel", ALL).experiences == 9


def test_a_task_missing_in_all_splits_is_noted_when_everything_is_read(copy: Callable[[str], Path]) -> None:
    root = copy("challenge")
    for split in ("train", "validation", "test"):
        shutil.rmtree(root / split / "task7")
    manifest = read_root(root)
    assert manifest.experiences == 11 and "train/task7" in manifest.notes["missing tasks"]


@pytest.mark.parametrize(
    ("tree", "protocol", "place"),
    [
        ("benchmark1", "factor", "clutter/train/task3/cup_02"),
        ("challenge", "sequence", "test/task3/cup_02"),
        ("batches", "challenge", "validation/batch3/cup_02"),
    ],
)
def test_an_empty_class_is_named(copy: Callable[[str], Path], tree: str, protocol: str, place: str) -> None:
    root = copy(tree)
    (root / place / "000.jpg").unlink()
    (root / place / "001.jpg").unlink(missing_ok=True)
    if not place.startswith("validation"):
        with pytest.raises(InputError, match=f"'cup_02' has no .*{place.rpartition('/')[0]}"):
            read(root, "auto", protocol, "clutter" if protocol == "factor" else None, ALL)
    assert "'cup_02'" in read_root(root).notes["missing classes"]


@pytest.mark.parametrize("target", ["circle", "..", "."])
def test_symbolic_link_loops_end_in_one_line(copy: Callable[[str], Path], target: str) -> None:
    root = copy("challenge")
    (root / "train/task1/circle").symlink_to(target)
    with pytest.raises(InputError, match="train/task1/circle: a symbolic link that leads in a circle"):
        read_root(root)


def test_an_image_that_links_to_itself_and_one_without_bytes(copy: Callable[[str], Path]) -> None:
    root = copy("challenge")
    image = root / "train/task1/cup_01/000.jpg"
    image.unlink()
    image.symlink_to("000.jpg")
    with pytest.raises(InputError, match=r"cup_01/000.jpg: cannot be read"):
        read(root, "auto", "sequence", None, ALL)
    image.unlink()
    image.write_bytes(b"")
    with pytest.raises(InputError, match=r"cup_01/000.jpg: the image has no bytes"):
        read(root, "auto", "sequence", None, ALL)
    assert len(read_root(root).table) == 12 * 3 * 4, "data verify lists bad files, so reading the root ends at none"


def test_a_folder_reached_by_a_link_is_read(made: SimpleNamespace, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / split).symlink_to(made.challenge / split)
    assert read_root(tmp_path).experiences == 12


def test_wrong_layouts_say_what_was_looked_for(made: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"release: .*segment.*benchmark1: .*task.*challenge: .*batch"):
        read_root(tmp_path)
    with pytest.raises(InputError, match=r"does not have the layout 'release': looked for .*segment"):
        read_root(made.challenge, "release")
    with pytest.raises(InputError, match=r"unknown layout 'chalenge'.*'challenge'"):
        find_layout(made.challenge, "chalenge")
    with pytest.raises(InputError, match="no such folder"):
        read_root(tmp_path / "nowhere")


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b c", "é"]), min_size=1, max_size=6), st.booleans())
def test_no_listed_path_leaves_the_root(parts: list[str], absolute: bool) -> None:
    text = ("/" if absolute else "") + "/".join(parts)
    try:
        path = relative_path(text, "list:1")
    except InputError:
        assert ".." in parts or text.startswith("/")
    else:
        assert os.path.normpath(f"/root/{path}").startswith("/root")
