"""What is checked after a manifest's last change: class names of all splits, images in two splits, what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answers import refused
from hypothesis import given
from hypothesis import strategies as st

from lorisbench.data.benchmark import Benchmark
from lorisbench.data.disjoint import disjoint
from lorisbench.data.manifest import COLUMNS, POSITION, Manifest
from lorisbench.data.subsets import Subset, arrange
from lorisbench.data.usable import alike, checked, difference, faults, folded, told

Row = tuple[str, str, int, str]  # path, class, experience, split

WHOLE = [
    (f"{c}{e}{split}{i}.png", c, e, split)
    for e in range(2)
    for c in ("cup", "pen")
    for split, count in (("train", 3), ("validation", 1), ("test", 2))
    for i in range(count)
]


def make(rows: Iterable[Row], root: Path = Path("/nowhere"), **changes: object) -> Manifest:
    table = pd.DataFrame(list(rows), columns=["path", "class_name", "experience", "split"])
    classes = sorted(set(table.class_name))
    table = table.assign(label=table.class_name.map(classes.index), factor="", level=0, recording="")
    names = [f"e{index}" for index in range(2)]
    return Manifest(table[COLUMNS], root, "made", False, classes, names, **changes)  # type: ignore[arg-type]


def test_a_whole_manifest_has_no_faults_and_nothing_to_tell() -> None:
    manifest = make(WHOLE)
    assert faults(manifest, "test") == faults(manifest, "validation") == []
    assert told(manifest).notes == {}


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Cup", "the trained 'cup' differs in case only"),
        ("cup ", "the trained 'cup' differs in blanks only"),
        ("\u00a0CUP", "the trained 'cup' differs in case and blanks only"),
        ("cup\u200b", "the trained 'cup' differs in the Unicode form only"),
        ("pens", "the nearest trained class is 'pen'"),
        ("toy", "the nearest trained class is"),
    ],
)
def test_a_class_that_is_never_trained_is_refused_with_the_nearest_name(split: str, name: str, said: str) -> None:
    manifest = make([*WHOLE, ("more.png", name, 1, split)])
    line = refused(
        lambda: checked(manifest, "test"), f"class {name!r} has {split} images (1)", said, "untrained: allow"
    )
    assert "'pen' has" not in line
    allowed = checked(manifest, "test", allow_untrained=True)
    assert repr(name) in allowed.notes["untrained classes"] and "untrained: allow" in allowed.notes["untrained classes"]


def test_a_class_trained_in_another_experience_is_trained() -> None:
    rows = [*WHOLE, ("later.png", "toy", 1, "train"), ("now.png", "toy", 0, "test")]
    assert faults(make(rows), "test") == []


def test_the_setting_is_one_of_every_reader() -> None:
    class Own(Benchmark):
        def manifest(self) -> Manifest:
            return make([*WHOLE, ("more.png", "Cup", 0, "test")])

    refused(lambda: Own().usable(), "'Cup'", "'cup'")
    assert "names alike" in Own(untrained="allow").usable().notes


def test_names_that_are_all_but_equal_are_told_wherever_they_are() -> None:
    rows = [*WHOLE, ("a.png", "Pen", 0, "train"), ("b.png", "pen", 0, "test")]
    assert told(make(rows)).notes["names alike"] == "classes 'Pen' and 'pen' (differ in case only)"
    assert alike(["Müller", "Mu\u0308ller", "cup", "red  cup", "RED CUP"]) == [
        "'Müller' and 'Mu\u0308ller' (differ in the Unicode form only)",
        "'red  cup' and 'RED CUP' (differ in case and blanks only)",
    ]
    named = make(WHOLE)
    table = named.table.assign(recording=["r1", "R1"] * (len(named.table) // 2))
    both = Manifest(table, named.root, "made", False, named.classes, ["Day", "day "])
    assert told(both).notes["names alike"] == (
        "experiences 'Day' and 'day ' (differ in case and blanks only); recordings 'r1' and 'R1' (differ in case only)"
    )


@given(st.text(max_size=8))
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert difference(text, text.upper()) in ("", "case", "case and the Unicode form") or len(text.upper()) != len(text)


def test_missing_classes_are_told_for_each_split() -> None:
    rows = [row for row in WHOLE if row[1:] != ("pen", 1, "test") and row[1:] != ("cup", 0, "validation")]
    notes = told(make(rows)).notes
    assert notes["missing classes"] == ("'e0' has no validation images of 'cup'; 'e1' has no test images of 'pen'")
    apart = [row for row in WHOLE if row[1:3] in (("cup", 0), ("pen", 1))]
    assert "missing classes" not in told(make(apart)).notes, "each class comes once"


@pytest.mark.parametrize(("gone", "split"), [("train", "test"), ("test", "test"), ("validation", "validation")])
def test_a_run_refuses_only_a_split_that_it_uses(gone: str, split: str) -> None:
    manifest = make([row for row in WHOLE if row[2:] != (1, gone)])
    refused(lambda: checked(manifest, split), f"experience 'e1' has no {gone} images")
    assert told(manifest).notes["empty splits"] == f"experience 'e1' has no {gone} images"
    if gone == "validation":
        assert checked(manifest, "test").counts().validation.tolist() == [2, 0]


def files(root: Path, rows: Iterable[Row]) -> None:
    for path, *_ in rows:
        (root / path).write_bytes(path.encode())


def link(root: Path, kind: str) -> str:
    """Another name of the training image `cup0train0.png`."""
    if kind == "dot":
        return "./cup0train0.png"
    place = root / "other.png"
    if kind == "symlink":
        place.symlink_to("cup0train0.png")
    elif kind == "hardlink":
        os.link(root / "cup0train0.png", place)
    else:
        (root / "linked").symlink_to(".")
        return "linked/cup0train0.png"
    return "other.png"


@pytest.mark.parametrize("kind", ["dot", "symlink", "hardlink", "folder"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_no_image_is_in_two_splits_under_whatever_name(tmp_path: Path, kind: str, split: str) -> None:
    files(tmp_path, WHOLE)
    manifest = make([*WHOLE, (link(tmp_path, kind), "cup", 1, split)], tmp_path)
    refused(lambda: checked(manifest, "test"), "cup0train0.png", "train of 'e0'", f"{split} of 'e1'")
    again = make([*WHOLE, ("other-name.png", "cup", 1, "train")], tmp_path)
    assert faults(again, "test") == []


def test_no_position_of_a_file_of_pixels_is_in_two_splits(tmp_path: Path) -> None:
    manifest = make(WHOLE, pixels=tmp_path / "pixels.npy")
    assert faults(manifest, "test") == []
    positions = np.arange(len(WHOLE))
    positions[WHOLE.index(("cup1test0.png", "cup", 1, "test"))] = 0
    table = manifest.table.assign(**{POSITION: positions})
    shared = Manifest(table, tmp_path, "made", False, manifest.classes, ["e0", "e1"], pixels=tmp_path / "pixels.npy")
    refused(lambda: checked(shared, "test"), "two splits")


def test_later_changes_are_checked_too(tmp_path: Path) -> None:
    rows = [
        *WHOLE,
        ("toy.png", "toy", 0, "train"),
        ("toy-test.png", "toy", 0, "test"),
        ("t.png", "toy", 0, "validation"),
    ]
    files(tmp_path, rows)
    manifest = arrange(make(rows, tmp_path), Subset(order=[1, 0], objects=["toy", "cup"], val_as_replay=True))
    assert faults(manifest, "test") == [] and "val_as_replay" in faults(manifest, "validation")[0]
    only = arrange(manifest, Subset(objects=["toy"]))
    refused(lambda: checked(only, "test"), "experience 'e1' has no train images")
    single = make([(f"r{n}/{i}.png", c, 0, "train") for n, c in enumerate(("cup", "cup", "pen")) for i in range(2)])
    table = single.table.assign(recording=single.table.path.str.partition("/")[0], split="test")
    apart = disjoint(Manifest(table, single.root, "made", False, single.classes, ["e0"]))
    assert apart.table.split[apart.table.class_name == "pen"].eq("train").all(), "a single recording trains"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("split", "val", "split val is not in train, validation, test"),
        ("experience", 2, "experience 2 is not in 0..1"),
        ("label", 2, "label 2 is not in 0..1"),
        ("class_name", "mug", "a label stands for one class"),
    ],
)
def test_a_table_of_a_reader_of_ones_own_is_checked(column: str, value: object, said: str) -> None:
    manifest = make(WHOLE)
    values = manifest.table[column].astype(object).tolist()
    values[3] = value
    table = manifest.table.assign(**{column: values})
    refused(lambda: Manifest(table, manifest.root, "made", False, manifest.classes, ["e0", "e1"]), said)


def test_rows_that_repeat_are_told() -> None:
    assert "1 rows" in told(make([*WHOLE, WHOLE[0]])).notes["repeated images"]


def test_a_class_that_its_task_does_not_train_is_told() -> None:
    manifest = make(WHOLE)
    table = manifest.table.assign(task=manifest.table.experience)
    assert (
        "untrained in tasks"
        not in told(Manifest(table, manifest.root, "made", False, manifest.classes, ["a", "b"])).notes
    )
    table = table[~((table.split == "train") & (table.class_name == "cup") & (table.task == 1))]
    notes = told(Manifest(table, manifest.root, "made", False, manifest.classes, ["a", "b"])).notes
    assert notes["untrained in tasks"] == "task 1 tests 'cup' and does not train it"
