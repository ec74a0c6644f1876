"""The split by whole recordings: what is never shared, what is kept, and data with too few recordings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorisbench.benchmarks.openloris.benchmark import OpenLORIS
from lorisbench.common.errors import InputError
from lorisbench.data.disjoint import disjoint, shared_recordings, verified
from lorisbench.data.manifest import COLUMNS, SPLITS, Manifest
from lorisbench.data.usable import faults
from lorisbench.suite.spec import title_of


def make(cells: dict[tuple[int, str], list[tuple[str, int]]]) -> Manifest:
    """A manifest from (experience, class) -> [(recording, frames)]; the old splits take turns."""
    rows = []
    classes = sorted({name for _, name in cells})
    for (experience, name), recordings in cells.items():
        for recording, frames in recordings:
            for frame in range(frames):
                split = SPLITS[len(rows) % 3]
                path = f"{split}/{experience}/{name}/{recording}/{frame}.jpg"
                rows.append((path, classes.index(name), name, experience, split, "", 0, recording))
    experiences = 1 + max(experience for experience, _ in cells)
    return Manifest(pd.DataFrame(rows, columns=COLUMNS), Path("/nowhere"), "made", True, classes,
                    [f"e{n}" for n in range(experiences)])  # fmt: skip


def sides(manifest: Manifest, experience: int, name: str) -> dict[str, set[str]]:
    """Split -> recordings of a class in an experience."""
    table = manifest.table[(manifest.table.experience == experience) & (manifest.table.class_name == name)]
    return {split: set(rows.recording) for split, rows in table.groupby("split")}


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Some classes, experiences and recordings; with `roaming`, recordings that are of several experiences."""
    experiences, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    roaming = draw(st.booleans())
    cells = {}
    for e in range(experiences):
        for c in range(classes):
            # 3 frames at least, so that each experience of the manifest of before has all splits
            count = draw(st.integers(1, 6))
            cells[e, f"c{c}"] = [(f"{c}-{n}" if roaming else f"{e}-{c}-{n}", draw(st.integers(3, 7)))
                                 for n in range(count)]  # fmt: skip
    return make(cells)


@settings(max_examples=40, deadline=None)
@given(manifests(), st.integers(0, 3), st.sampled_from([(0.2, 0.1), (0.4, 0.4), (0.05, 0.9)]))
def test_no_test_recording_is_seen_in_training(before: Manifest, seed: int, shares: tuple[float, float]) -> None:
    try:
        after = disjoint(before, *shares, seed)
    except InputError as error:
        assert "would have no" in str(error)  # of one recording, or of several experiences that leave no way
        return
    table = after.table
    assert not shared_recordings(after, ["train", "validation"])
    tested = set(table.recording[table.split == "test"])
    assert tested and tested.isdisjoint(table.recording[table.split != "test"])
    pd.testing.assert_frame_equal(table.drop(columns="split"), before.table.drop(columns="split"))
    assert verified(before, after).startswith(f"checked: all {len(table)} images")
    assert (disjoint(before, *shares, seed).table.split == table.split).all()
    mixed = table.groupby("recording").split.unique().map(sorted)
    assert {tuple(splits) for splits in mixed} <= {("train",), ("test",), ("validation",), ("train", "validation")}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(3, 9), st.integers(0, 5))
def test_three_recordings_give_every_split_one(experiences: int, classes: int, count: int, seed: int) -> None:
    before = make({(e, f"c{c}"): [(f"{e}/{c}/{n}", 3) for n in range(count)]
                   for e in range(experiences) for c in range(classes)})  # fmt: skip
    after = disjoint(before, seed=seed)
    for e in range(experiences):
        for c in range(classes):
            found = sides(after, e, f"c{c}")
            assert set(found) == set(SPLITS) and sum(map(len, found.values())) == count
            assert len(found["test"]) == max(1, round(0.2 * count)) and len(found["validation"]) == 1
    assert "no test images" not in after.notes and "shared with validation" not in after.notes


def test_the_seed_matters_and_the_order_of_the_table_does_not() -> None:
    before = make({(e, f"c{c}"): [(f"{e}/{c}/{n}", 3) for n in range(3)] for e in range(4) for c in range(4)})
    splits = [tuple(disjoint(before, seed=seed).table.split) for seed in range(4)]
    assert len(set(splits)) == 4
    shuffled = before.table.sample(frac=1, random_state=0)
    other = disjoint(Manifest(shuffled.reset_index(drop=True), before.root, "made", True, before.classes,
                              before.experience_names))  # fmt: skip
    told = dict(zip(other.table.path, other.table.split, strict=True))
    assert tuple(before.table.path.map(told)) == splits[0]


def test_the_seed_matters_for_a_single_class() -> None:
    before = make({(e, "a"): [(f"{e}/{n}", 3) for n in range(3)] for e in range(4)})
    assert len({tuple(disjoint(before, seed=seed).table.split) for seed in range(6)}) > 3


def test_what_one_experience_needs_binds_the_others() -> None:
    """A recording that is all there is of a class in one experience trains, though others could spare it."""
    cells = {(0, "a"): [("p", 3), ("q", 3), ("r", 3)], (1, "a"): [("p", 3)],
             (1, "b"): [("x", 3), ("y", 3), ("z", 3)]}  # fmt: skip
    for seed in range(6):
        after = disjoint(make(cells), seed=seed)
        assert sides(after, 1, "a") == {"train": {"p"}}
        assert sides(after, 0, "a")["train"] == {"p"} and set(sides(after, 0, "a")) == set(SPLITS)


def test_notes_of_the_old_split_are_not_kept() -> None:
    before = make({(0, "a"): [("x", 3), ("y", 3), ("z", 3)]})
    before.notes.update(layout="made", validation="every 8th training frame")
    notes = disjoint(before).notes
    assert notes["layout"] == "made" and "validation" not in notes and "seed 0" in notes["split"]


def test_the_views_take_turns() -> None:
    """Each of three views is tested by a third of the classes."""
    before = make({(0, f"c{c}"): [(f"view{n}/c{c}", 3) for n in range(3)] for c in range(9)})
    for seed in range(5):
        table = disjoint(before, seed=seed).table
        for split in SPLITS:
            views = table[table.split == split].drop_duplicates("recording").recording.str.split("/").str[0]
            assert views.value_counts().to_dict() == {"view0": 3, "view1": 3, "view2": 3}


def test_a_recording_is_on_one_side_in_every_experience() -> None:
    shared = [(f"r{n}", 3) for n in range(6)]
    after = disjoint(make({(e, "a"): shared for e in range(3)}))
    assert sides(after, 0, "a") == sides(after, 1, "a") == sides(after, 2, "a")
    assert set(sides(after, 0, "a")) == set(SPLITS)


def test_of_two_recordings_one_is_tested_and_the_end_of_the_other_is_validation() -> None:
    cells = {(0, "a"): [("one", 12), ("two", 12)], (0, "b"): [("x", 3), ("y", 3), ("z", 3)]}
    after = disjoint(make(cells), 0.2, 0.1)
    found = sides(after, 0, "a")
    assert len(found["test"]) == 1 and found["train"] == found["validation"] == {"one", "two"} - found["test"]
    (trained,) = found["train"]
    table = after.table[after.table.recording == trained]
    numbers = table.path.str.extract(r"(\d+)\.jpg")[0].astype(int)
    assert sorted(numbers[table.split == "validation"]) == [10, 11]  # by number: "9" comes after "10" as text
    assert after.notes["shared with validation"].endswith(f"1: {trained}")


def test_an_image_of_two_experiences_is_in_one_split() -> None:
    before = make({(0, "a"): [("p", 8), ("q", 8)], (1, "a"): [("p", 8), ("q", 8), ("r", 8)]})
    table = before.table.assign(path=[f"{r}/{n}.jpg" for r, n in zip(before.table.recording,
                                                                     before.table.groupby(["experience", "recording"])
                                                                     .cumcount(), strict=True)])  # fmt: skip
    after = disjoint(Manifest(table, before.root, "made", True, ["a"], ["e0", "e1"]))
    assert (after.table.groupby("path").split.nunique() == 1).all()
    assert set(sides(after, 0, "a")) == set(sides(after, 1, "a")) == set(SPLITS)


def test_a_class_of_one_recording_only_trains_and_is_listed() -> None:
    cells = {(0, "a"): [("lonely", 6)], (0, "b"): [("x", 3), ("y", 3), ("z", 3)]}
    after = disjoint(make(cells))
    assert sides(after, 0, "a") == {"train": {"lonely"}}
    assert after.notes["no test images"] == "1: e0: a"
    assert after.name == "made (disjoint recordings)" and after.synthetic


def test_what_cannot_be_split_is_refused_in_one_line() -> None:
    good = {(0, "a"): [("x", 3), ("y", 3), ("z", 3)]}
    with pytest.raises(InputError, match="experience 'e1' would have no test images"):
        disjoint(make({**good, (1, "a"): [("only", 6)]}))
    single_frames = {(1, "a"): [("p", 1), ("q", 1)], (1, "b"): [("s", 1), ("t", 1)]}
    found = faults(disjoint(make({**good, **single_frames})), "validation")
    assert "experience 'e1' has no validation images" in found[0], "only a run evaluated on them is refused"
    unnamed = make({(0, "a"): [("x", 3), ("", 3), ("z", 3)]})
    with pytest.raises(InputError, match="no recording is named"):
        disjoint(unnamed)
    for shares, said in (((0.0, 0.1), "test share 0 "), ((0.2, 1.0), "validation share 1 "), ((0.6, 0.4), "leave")):
        with pytest.raises(InputError, match=said):
            disjoint(make(good), *shares)


def test_the_command_splits_the_release(cli, release: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    answer = cli("data", "split", release, "--disjoint", "-o", out)
    assert answer.code == 0, answer.err
    line = next(line for line in answer.out.splitlines() if "pixel 3" in line)
    assert line.split() == ["8", "pixel", "3", "18", "18", "18", "18", "18", "18"]
    assert "none of the 36 test recordings (of 108) is in train or validation" in answer.out
    table = pd.read_csv(out, comment="#")
    assert len(table) == 648 and not set(table.recording[table.split == "test"]) & set(
        table.recording[table.split != "test"]
    )
    from lorisbench.benchmarks.own.csv_manifest import ManifestFile

    stored = ManifestFile(file=str(out)).manifest()
    told = dict(zip(table.path, table.split, strict=True))
    assert not shared_recordings(stored, ["train", "validation"]) and stored.experiences == 12
    assert [told[path] for path in stored.table.path] == stored.table.split.tolist()
    again = cli("data", "split", release, "--disjoint", "-o", tmp_path / "again.csv", "--protocol", "sequence")
    assert again.code == 0 and (pd.read_csv(tmp_path / "again.csv", comment="#").split == table.split).all()
    other = cli("data", "split", release, "--disjoint", "-o", tmp_path / "other.csv", "--seed", 1)
    assert other.code == 0 and (pd.read_csv(tmp_path / "other.csv", comment="#").split != table.split).any()
    single = cli("data", "split", release, "--disjoint", "-o", tmp_path / "no.csv", "--protocol", "factor")
    assert single.code == 2 and "illumination 1.1" in single.err and not (tmp_path / "no.csv").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--disjoint"),
        (["--disjoint", "--protocol", "sequense"], "did you mean 'sequence'"),
        (["--disjoint", "--factor", "pixel"], "--factor needs"),
        (["--disjoint", "--protocol", "factor", "--factor", "pixels"], "did you mean 'pixel'"),
        (["--disjoint", "--test-share", "1.5"], "test share 1.5"),
    ],
)
def test_the_command_refuses_in_one_line(cli, release: Path, tmp_path: Path, options: list[str], said: str) -> None:
    answer = cli("data", "split", release, "-o", tmp_path / "x.csv", *options)
    assert answer.code == 2 and said in answer.err and len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "x.csv").exists()


def test_a_benchmark_can_be_split_by_recording(release: Path) -> None:
    chosen = {"root": str(release), "protocol": "sequence", "disjoint": True}
    manifest = OpenLORIS.model_validate(chosen).manifest()
    assert shared_recordings(manifest, ["train", "validation"]) == []
    assert len(manifest.table) == 648 and "disjoint" in manifest.name
    turned = OpenLORIS.model_validate({**chosen, "order": list(range(12))[::-1], "objects": 2}).manifest()
    tested = manifest.table[(manifest.table.split == "test") & (manifest.table.label < 2)]
    assert set(turned.table.path[turned.table.split == "test"]) == set(tested.path)  # whatever the order
    assert title_of({"name": "openloris", "protocol": "sequence", "disjoint": True}) == "openloris-sequence-disjoint"
