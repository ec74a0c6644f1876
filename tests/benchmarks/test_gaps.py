"""Careless data: one image in several experiences, empty domains, few images, differing names, missing parts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trees
from answers import refused
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorisbench.benchmarks.openloris.layouts import read, refusals
from lorisbench.benchmarks.own.own_splits import OwnData
from lorisbench.data.manifest import SPLITS, Manifest
from lorisbench.data.subsets import Subset
from lorisbench.suite.benchmarks import make_benchmark

CSV = "path,class_name,experience,split\n"


def picture(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    shade = np.full((6, 6, 3), (number * 29 % 256, number // 9 * 31 % 256, 90), np.uint8)
    Image.fromarray(shade).save(file)


def domain(folder: Path, images: int = 2, classes: tuple[str, ...] = ("cup", "pen"), first: int = 0) -> Path:
    """Pictures of these classes, no two alike within one domain."""
    for place, name in enumerate(classes):
        for number in range(images):
            picture(folder / name / f"{number:02d}.png", first + place * images + number)
    return folder


def folder(root: Path, **settings: object) -> Any:
    return make_benchmark({"name": "folder", "root": str(root), **settings})


def listed(root: Path, text: str, **settings: object) -> Any:
    (root / "list.csv").write_text(CSV + text, encoding="utf-8")
    return make_benchmark({"name": "manifest", "file": str(root / "list.csv"), **settings})


def splits_of(manifest: Manifest, *paths: str) -> set[str]:
    return set(manifest.table.split[manifest.table.path.isin(paths)])


def lines(experience: str, name: str, images: range, split: str = "") -> str:
    return "".join(f"own/{name}/{i:02d}.png,{name},{experience},{split}\n" for i in images)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("held_out", ["random", "tail"])
def test_an_image_of_two_experiences_is_drawn_once(tmp_path: Path, seed: int, held_out: str) -> None:
    domain(tmp_path / "own", 20)
    text = "".join(lines("a", name, range(12)) + lines("b", name, range(6, 20)) for name in ("cup", "pen"))
    manifest = listed(tmp_path, text, split_seed=seed, held_out=held_out).usable()
    assert (manifest.table.groupby("path").split.nunique() == 1).all()
    counts = manifest.counts()
    assert len(manifest.table) == 52 and (counts[list(SPLITS)] > 0).all(axis=None), counts
    assert (counts.test <= 10).all() and (counts.test >= 4).all(), counts


def test_a_split_that_one_line_names_holds_for_the_others(tmp_path: Path) -> None:
    domain(tmp_path / "own", 12)
    text = "".join(
        lines("a", name, range(9), "train") + lines("a", name, range(9, 12), "test") + lines("b", name, range(6, 12))
        for name in ("cup", "pen")
    )
    manifest = listed(tmp_path, text).usable()
    assert splits_of(manifest, *(f"own/{n}/{i:02d}.png" for n in ("cup", "pen") for i in range(9, 12))) == {"test"}
    assert (manifest.table.groupby("path").split.nunique() == 1).all()
    twice = listed(
        tmp_path,
        lines("a", "cup", range(1), "train") + lines("a", "cup", range(1)) + text[:0] + lines("a", "pen", range(3)),
    ).manifest()
    assert splits_of(twice, "own/cup/00.png") == {"train"}


def test_validation_drawn_from_training_images_takes_no_image_that_trains_elsewhere(tmp_path: Path) -> None:
    """`a` has validation images of its own; `b` draws some from its training images, which `a` trains on too."""
    domain(tmp_path / "own", 12)
    text = "".join(
        lines("a", name, range(6), "train") + lines("a", name, range(6, 7), "validation")
        + lines("a", name, range(7, 8), "test") + lines("b", name, range(11), "train").replace("06.png", "08.png")
        .replace("07.png", "09.png") + lines("b", name, range(11, 12), "test")
        for name in ("cup", "pen")
    )  # fmt: skip
    manifest = listed(tmp_path, text).usable()
    assert splits_of(manifest, *(f"own/{n}/{i:02d}.png" for n in ("cup", "pen") for i in range(6))) == {"train"}
    assert manifest.counts().validation.tolist() == [2, 2]


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.sampled_from(["", "", "train"])), min_size=1),
    seed=st.integers(0, 3),
    held_out=st.sampled_from(["random", "tail"]),
)
def test_whatever_is_listed_no_image_gets_two_splits(
    rows: list[tuple[int, int, str]], seed: int, held_out: str
) -> None:
    image = np.array([number for number, _, _ in rows])
    table = pd.DataFrame(
        {
            "path": [f"{place}/{number}.png" for place, (number, _, _) in enumerate(rows)],
            "class_name": ["cup" if number % 2 else "pen" for number in image],
            "experience": [experience for _, experience, _ in rows],
            "split": [split for _, _, split in rows],
        }
    )
    settings = OwnData.model_validate({"split_seed": seed, "held_out": held_out})
    decided = settings.decide(table, {}, image)
    assert set(decided.split) <= set(SPLITS) and (decided.groupby(image).split.nunique() == 1).all()
    assert not ((decided.split == "test") & (table.split == "train")).any(), "what is marked for training is not tested"


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "folder", "copy"])
def test_one_image_in_two_domains_is_in_one_split(tmp_path: Path, kind: str) -> None:
    domain(tmp_path / "a", 10)
    if kind == "folder":
        (tmp_path / "b").symlink_to("a")
    else:
        copy = {"symlink": os.symlink, "hardlink": os.link, "copy": shutil.copyfile}[kind]
        shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=lambda one, two: copy(Path(one).resolve(), two))
    for seed in range(3):
        manifest = folder(tmp_path, split_seed=seed).usable()
        table = manifest.table.assign(image=manifest.table.path.str.partition("/")[2])
        assert (table.groupby("image").split.nunique() == 1).all() and len(table) == 40
        assert manifest.counts().test.tolist() == [4, 4]
        assert ("copies" in manifest.notes) == (kind == "copy")


def test_images_that_are_all_alike_are_still_tested(tmp_path: Path) -> None:
    for number in range(4):
        for name in ("cup", "pen"):
            picture(tmp_path / "a" / name / f"{number}.png", 0)
    manifest = folder(tmp_path).usable()
    assert manifest.counts().test.tolist() == [2] and "copies in another split" in manifest.notes["copies"]


def test_an_image_linked_into_another_class_is_refused(tmp_path: Path) -> None:
    domain(tmp_path / "a", 4)
    (tmp_path / "a/pen/link.png").symlink_to("../cup/00.png")
    refused(lambda: folder(tmp_path).manifest(), "a/cup/00.png ('cup')", "a/pen/link.png ('pen')", "one image")


def test_an_image_linked_into_another_split_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        domain(tmp_path / "a" / split, 2, first=9 * (split == "test"))
    (tmp_path / "a/test/cup/00.png").unlink()
    os.link(tmp_path / "a/train/cup/00.png", tmp_path / "a/test/cup/00.png")
    refused(lambda: folder(tmp_path, validation_share=0.01).usable(), "a/train/cup/00.png", "a/test/cup/00.png")
    refused(lambda: make_benchmark({"name": "factors", "root": str(tmp_path / "a")}).manifest(), "are one image")


LEFT = (".DS_Store", "Thumbs.db", "desktop.ini", "._x.png", "@eaDir/00.png/SYNOPHOTO_THUMB_M.png",
        "__MACOSX/a/b.png", ".thumbnails/1.png", ".ipynb_checkpoints/cup/0.png", "$RECYCLE.BIN/x/y.png")  # fmt: skip


@pytest.mark.parametrize("left", ["", *LEFT, "cup/.DS_Store", "cup/Thumbs.db", "cup/._00.png", "train/cup/desktop.ini"])
def test_an_empty_domain_is_told_and_stops_nothing(tmp_path: Path, cli: Any, left: str) -> None:
    domain(tmp_path / "a", 3)
    (tmp_path / "b").mkdir()
    if left:
        (tmp_path / "b" / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / left).write_bytes(b"")
    manifest = folder(tmp_path).usable()
    assert list(manifest.experience_names) == ["a"] and list(manifest.classes) == ["cup", "pen"]
    assert manifest.notes["empty domains"].startswith("b: no images")
    assert folder(tmp_path, domains=["a"]).usable().experiences == 1
    refused(lambda: folder(tmp_path, domains=["a", "b"]).usable(), "benchmark.domains", str(tmp_path / "b"))
    if not left:
        for command in ("describe", "verify"):
            answer = cli("data", command, tmp_path)
            assert answer.code == 0 and "empty domains: b" in answer.out, answer


@pytest.mark.parametrize("place", LEFT)
def test_leftovers_are_no_classes_and_no_domains(tmp_path: Path, place: str) -> None:
    domain(tmp_path / "a", 3)
    for above in (tmp_path, tmp_path / "a", tmp_path / "a/cup"):
        (above / place).parent.mkdir(parents=True, exist_ok=True)
        (above / place).write_bytes(b"")
    manifest = folder(tmp_path).usable()
    assert (
        len(manifest.table) == 6
        and "empty domains" not in manifest.notes
        and "empty class folders" not in manifest.notes
    )
    tree = trees.challenge(tmp_path / "tree", number=1)
    (tree / "train/task1" / place).parent.mkdir(parents=True, exist_ok=True)
    (tree / "train/task1" / place).write_bytes(b"")
    assert list(refusals(tree)) == ["sequence"] and "object" not in str(refusals(tree)["sequence"][0][:-1])


@pytest.mark.parametrize("images", [1, 2])
def test_one_experience_of_one_class_can_be_used(tmp_path: Path, images: int) -> None:
    for split in ("train", "test"):
        domain(tmp_path / split, images, ("cup",), first=9 * (split == "test"))
    reader = folder(tmp_path)
    manifest = reader.usable()
    assert list(manifest.classes) == ["cup"] and list(manifest.experience_names) == [tmp_path.name]
    assert manifest.counts()[list(SPLITS)].to_numpy().tolist() == [[images - (images > 1), images - 1, images]]
    if images == 1:
        refused(lambda: reader.usable("validation"), f"experience {tmp_path.name!r} has no validation images")


def test_the_computed_factors_need_one_class_of_two_images(tmp_path: Path) -> None:
    domain(tmp_path, 2, ("cup",))
    few = {"train": 1, "validation": 0, "test": 1, "protocol": "factor", "factor": "clutter", "size": 32}
    for settings in (few, {**few, "train": None, "validation": None, "test": None}):
        manifest = make_benchmark({"name": "factors", "root": str(tmp_path), **settings}).usable()
        assert manifest.counts()[list(SPLITS)].to_numpy().tolist() == [[1, 0, 1]] * 3


def test_the_computed_factors_refuse_only_classes_that_they_use(tmp_path: Path) -> None:
    for split in ("train", "test"):
        domain(tmp_path / split, 2, ("cup", "pen"), first=9 * (split == "test"))
    (tmp_path / "train/void").mkdir()
    domain(tmp_path / "test", 1, ("pens",))
    few = {"train": 1, "validation": 1, "test": 1, "protocol": "factor", "factor": "pixel", "size": 32}
    reader = {"name": "factors", "root": str(tmp_path), **few}
    assert list(make_benchmark({**reader, "objects": ["cup", "pen"]}).usable().classes) == ["cup", "pen"]
    refused(lambda: make_benchmark({**reader, "objects": ["cup", "void"]}).usable(), "void")
    refused(lambda: make_benchmark(reader).usable(), "void")
    (tmp_path / "train/void").rmdir()
    refused(lambda: make_benchmark(reader).usable(), "no folder for the class 'pens'", "did you mean 'pen'?")


def test_a_single_image_a_class_has_nothing_to_test_and_is_told(tmp_path: Path, cli: Any) -> None:
    domain(tmp_path / "a", 1)
    refused(lambda: folder(tmp_path).usable(), "experience 'a' has no test images")
    assert "a run will be refused: " in cli("data", "describe", tmp_path).out
    answer = cli("data", "verify", tmp_path, "--workers", 1)
    assert answer.code == 1 and "experience 'a' has no test images" in answer.out


@pytest.fixture
def careless(tmp_path: Path) -> Path:
    """Test folders whose names are not those of the training folders."""
    for split, classes in (("train", ("box", "cup", "pen")), ("test", ("Cup", "box ", "pens", "box"))):
        domain(tmp_path / "own/a" / split, 2, classes, first=40 * (split == "test"))
    return tmp_path / "own"


def test_a_run_refuses_names_that_no_split_trains(careless: Path, cli: Any, suite_file: Callable[..., Path]) -> None:
    suite = suite_file(
        benchmark={"name": "folder", "root": str(careless)}, backbone={"name": "pixels", "image_size": 16}
    )
    out = careless.parent / "out"
    refused(
        cli("run", suite, "--out", out), "class 'Cup'", "'cup' differs in case only", "class 'box '",
        "'box' differs in blanks only", "class 'pens'", "the nearest trained class is 'pen'",
    )  # fmt: skip
    assert not (out / "suite.yaml").exists()
    for command in ("describe", "verify"):
        answer = cli("data", command, careless)
        assert answer.code == (command == "verify") and "names alike: classes 'Cup' and 'cup'" in answer.out, answer
        assert "a run will be refused: " in answer.out and "'a' has no train images of 'Cup'" in answer.out


def test_untrained_classes_can_be_allowed_and_are_noted(careless: Path) -> None:
    notes = folder(careless, untrained="allow").usable().notes
    assert "as untrained: allow lets it" in notes["untrained classes"]
    text = "own/a/train/cup/00.png,cup,1,train\nown/a/test/Cup/00.png,Cup,1,test\n"
    refused(lambda: listed(careless.parent, text).usable(), "'cup' differs in case only")
    assert listed(careless.parent, text, untrained="allow").usable().counts().test.tolist() == [1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trees.every(tmp_path_factory.mktemp("gaps"))


@pytest.mark.parametrize("tree", ["release", "benchmark1", "challenge", "batches", "avalanche"])
def test_a_whole_tree_lacks_nothing(whole: Any, tree: str) -> None:
    found = refusals(getattr(whole, tree))
    assert found and all(lists == ([], []) for lists in found.values()), found
    assert ("factor: pixel" in found) == (tree in ("release", "benchmark1", "avalanche"))


GONE = [
    ("release", "train/clutter/segment5", {"sequence", "factor: clutter"}, "train/clutter/segment5 is not there"),
    ("release", "*/clutter/segment[456]", {"sequence", "factor: clutter"}, "level 2 of factor 'clutter' is not there"),
    ("release", "*/pixel", {"sequence", "factor: pixel"}, "factor 'pixel' is not there"),
    ("release", "test", {"sequence", *(f"factor: {f}" for f in trees.FACTORS)}, "factor 'pixel', test is not there"),
    ("release", "validation", set(), "factor 'pixel', validation is not there"),
    ("release", "test/clutter/segment5/cup_01", {"factor: clutter"}, "object 'cup_01' has no test image of task"),
    ("benchmark1", "clutter/test/task9", {"sequence", "factor: clutter"}, "clutter/test/task9 is not there"),
    ("challenge", "train/task7", {"sequence"}, "train/task7 is not there"),
    ("batches", "*/batch3", {"challenge"}, "train/batch3 is not there"),
    ("avalanche", "batches_filelists/domain/pixel", {"factor: pixel"}, "the lists of factor 'pixel' are not there"),
    ("avalanche", "batches_filelists/domain/iros/train_batch_03.txt", {"sequence"}, "train_batch_03.txt is not there"),
]


@pytest.mark.parametrize(("tree", "pattern", "protocols", "said"), GONE)
def test_what_a_protocol_will_miss_is_named_where_a_run_is_refused(
    whole: Any, tmp_path: Path, tree: str, pattern: str, protocols: set[str], said: str
) -> None:
    root = shutil.copytree(getattr(whole, tree), tmp_path / "tree", copy_function=os.link)
    for place in root.glob(pattern):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    found = refusals(root)
    assert {name for name, (always, _) in found.items() if always} == protocols
    assert any(said in line for lists in found.values() for line in [*lists[0], *lists[1]]), found
    for name in found:
        protocol, _, factor = name.partition(": ")
        read_it = lambda: read(root, "auto", protocol, factor or None, Subset())  # noqa: B023, E731
        refused(read_it) if name in protocols else read_it()


def test_verify_does_not_pass_what_a_run_refuses(whole: Any, tmp_path: Path, cli: Any) -> None:
    root = shutil.copytree(whole.challenge, tmp_path / "tree", copy_function=os.link)
    assert "protocols: sequence can be run" in cli("data", "describe", root).out
    shutil.rmtree(root / "test/task7")
    for command in ("describe", "verify"):
        answer = cli("data", command, root)
        assert answer.code == (command == "verify"), answer
        assert "protocol sequence: a run will be refused: test/task7 is not there" in answer.out
        assert "missing parts: test/task7" in answer.out
