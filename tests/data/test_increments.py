"""Class-incremental experiences, objects put into categories, and few shots of each class."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from answers import refused
from hypothesis import given
from hypothesis import strategies as st

from lorisbench.benchmarks.openloris.benchmark import OpenLORIS
from lorisbench.data.increments import arriving, by_category, by_classes
from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.data.subsets import Shuffle, Subset, arrange


def opened(root: Path, **settings: Any) -> Manifest:
    return OpenLORIS.model_validate({"root": str(root), **settings}).usable()


def made(classes: int, experiences: int, frames: int = 2, recordings: int = 3) -> Manifest:
    """Every class in every experience: `recordings` for training, of `frames` each, and one for testing."""
    names = [f"thing{number // 2}_{number % 2:02d}" for number in range(classes)]
    rows = [
        (f"{e}/{name}/{r}/{f}.jpg", label, name, e, split, "clutter", e + 1, f"{e}-{name}-{r}")
        for e in range(experiences)
        for label, name in enumerate(names)
        for split, which in (("train", range(recordings)), ("test", [recordings]))
        for r in which
        for f in range(frames)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Manifest(table, Path("made"), "made", True, names, [f"e{e}" for e in range(experiences)])


def classes_of(manifest: Manifest, split: str) -> list[set[str]]:
    return [set(manifest.table.class_name.iloc[manifest.rows(split, e)]) for e in range(manifest.experiences)]


def test_new_classes_bring_all_their_images_at_once(release: Path) -> None:
    manifest = opened(release, protocol="classes", classes_per_experience=2)
    assert classes_of(manifest, "train") == classes_of(manifest, "test") == [{"box_01", "cup_01"}, {"cup_02"}]
    assert list(manifest.experience_names) == ["box_01, cup_01", "cup_02"]
    assert len(manifest.table) == 648 and set(manifest.table.factor) == {
        "illumination",
        "occlusion",
        "pixel",
        "clutter",
    }
    assert manifest.increments == "classes" and not manifest.placed
    counts = manifest.counts()
    assert set(counts.factor) == {""} and set(counts.level) == {0}, "factors inside an experience are not its own"
    assert counts.train.tolist() == [144, 72]


def test_a_factor_alone_and_the_order_of_the_classes(release: Path) -> None:
    settings = {"protocol": "classes", "factor": "pixel", "classes_per_experience": 1}
    plain = opened(release, **settings, class_order=["cup_02", "box_01", "cup_01"])
    assert list(plain.experience_names) == ["cup_02", "box_01", "cup_01"] and set(plain.table.factor) == {"pixel"}
    assert list(opened(release, **settings, order=[2, 0, 1]).experience_names) == ["cup_02", "box_01", "cup_01"]
    drawn = [tuple(opened(release, **settings, class_order={"seed": seed}).experience_names) for seed in (3, 3, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and sorted(drawn[2]) == sorted(plain.classes)


def test_both_lets_classes_arrive_while_the_tasks_go_on(release: Path) -> None:
    manifest = opened(release, protocol="both", factor="clutter", order={"seed": 1})
    tasks = opened(release, protocol="factor", factor="clutter", order={"seed": 1})
    arrived = [{"box_01"}, {"box_01", "cup_01"}, *[{"box_01", "cup_01", "cup_02"}] * 7]
    assert classes_of(manifest, "train") == classes_of(manifest, "test") == arrived
    assert list(manifest.experience_names) == list(tasks.experience_names), "the order is that of the tasks"
    assert manifest.increments == "both"
    assert "missing classes" not in manifest.notes, "a class that is still to arrive is not missing"
    refused(lambda: manifest.in_order([1, 0, *range(2, 9)]), "orders", "protocol: both", "benchmark.order")


def test_categories_are_names_without_their_numbers(release: Path) -> None:
    manifest = opened(release, labels="category")
    assert list(manifest.classes) == ["box", "cup"] and manifest.increments == "data"
    whole = opened(release)
    names = whole.table.class_name.str.slice(0, 3)
    assert manifest.table.class_name.tolist() == names.tolist()
    assert manifest.table.label.tolist() == (names == "cup").astype(int).tolist()
    assert manifest.content_hash != whole.content_hash
    assert list(opened(release, labels="category", protocol="classes").experience_names) == ["box", "cup"]
    refused(lambda: by_category(manifest), "labels: category", "bottle_01", "box, cup")


@pytest.mark.parametrize("settings", [{"protocol": "classes"}, {"protocol": "both"}], ids=str)
def test_unseen_recordings_stay_unseen(release: Path, settings: dict[str, Any]) -> None:
    manifest = opened(release, disjoint=True, **settings)
    tested = set(manifest.table.recording[manifest.table.split == "test"])
    assert tested and not tested & set(manifest.table.recording[manifest.table.split == "train"])


@hypothesis.settings(deadline=None, max_examples=40)
@given(classes=st.integers(2, 9), experiences=st.integers(2, 6), each=st.integers(1, 9), seed=st.integers(0, 9))
def test_every_class_arrives_once(classes: int, experiences: int, each: int, seed: int) -> None:
    whole = made(classes, experiences, frames=1, recordings=1)
    if each >= classes:
        refused(lambda: by_classes(whole, each, Shuffle(seed=seed)), "classes_per_experience", "second experience")
    else:
        grouped = by_classes(whole, each, Shuffle(seed=seed))
        groups = classes_of(grouped, "train")
        assert sum(map(len, groups)) == classes == len(set.union(*groups)) and len(grouped.table) == len(whole.table)
        assert all(len(group) == each for group in groups[:-1])
    if each * experiences < classes:
        refused(
            lambda: arriving(whole, each, Shuffle(seed=seed)),
            "classes_per_experience",
            f"at least {-(-classes // experiences)}",
        )
    else:
        present = classes_of(arriving(whole, each, Shuffle(seed=seed)), "test")
        assert all(before <= after for before, after in itertools.pairwise(present))
        assert len(present[-1]) == classes and len(present[0]) == min(each, classes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"factor": "clutter"}, "goes with protocol"),
        ({"classes_per_experience": 2}, "'classes_per_experience' goes with protocol"),
        ({"protocol": "factor", "class_order": {"seed": 1}}, "'class_order' goes with protocol"),
        ({"protocol": "classes", "class_order": ["cup_01", "cup_01"]}, "exactly once"),
        ({"protocol": "classes", "class_order": ["cup_01", "cup_3"]}, "'cup_3'; did you mean"),
        ({"protocol": "classes", "class_order": ["cup_01", "box_01"]}, "'cup_02' is missing"),
        ({"protocol": "classes", "classes_per_experience": 3}, "second experience"),
        ({"shots": {}}, "`recordings` or `frames`"),
        ({"shots": {"frames": 0}}, "shots.frames"),
        ({"labels": "categories"}, "labels"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_is_refused(release: Path, settings: dict[str, Any], words: str) -> None:
    from lorisbench.suite.parsing import parse

    refused(lambda: parse(OpenLORIS, {"root": str(release), **settings}, "benchmark").manifest(), words)


def test_few_recordings_and_frames_are_left_of_each_class() -> None:
    whole = made(classes=3, experiences=2, frames=5)
    few = arrange(whole, Subset(shots=_shots(recordings=1, test=2)))
    counted = few.table.groupby(["experience", "class_name", "split"]).agg({"path": "size", "recording": "nunique"})
    assert set(map(tuple, counted.xs("train", level="split").to_numpy())) == {(5, 1)}, "whole recordings"
    assert set(map(tuple, counted.xs("test", level="split").to_numpy())) == {(2, 1)}
    again = [arrange(whole, Subset(order=[1, 0], shots=_shots(recordings=1, test=2, seed=seed))) for seed in (0, 1)]
    assert sorted(again[0].table.path) == sorted(few.table.path), "the order changes no draw"
    assert sorted(again[1].table.path) != sorted(few.table.path)
    spread = arrange(whole, Subset(shots=_shots(frames=3))).table
    assert set(spread[spread.split == "train"].groupby(["experience", "label"]).recording.nunique()) == {3}
    assert len(spread[spread.split == "test"]) == len(whole.table[whole.table.split == "test"])
    short = arrange(whole, Subset(shots=_shots(recordings=9)))
    assert "3" not in short.notes["shots"] and "have fewer" in short.notes["shots"]
    assert len(short.table) == len(whole.table)


def test_recordings_that_nobody_names_cannot_be_counted() -> None:
    whole = made(2, 2)
    unnamed = Manifest(
        whole.table.assign(recording=""), whole.root, "made", True, whole.classes, whole.experience_names
    )
    refused(lambda: arrange(unnamed, Subset(shots=_shots(recordings=1))), "shots", "0/thing0_00/0/0.jpg", "frames")


def _shots(**values: int) -> Any:
    from lorisbench.data.subsets import Shots

    return Shots.model_validate(values)


def test_a_robot_sees_one_recording_after_the_other() -> None:
    whole = made(classes=2, experiences=1, frames=4)
    shuffled = whole.table.sample(frac=1, random_state=0).reset_index(drop=True)
    manifest = Manifest(shuffled, whole.root, "made", True, whole.classes, whole.experience_names)
    seen = shuffled.iloc[np.argsort(manifest.recorded_order())]
    videos = seen.recording.tolist()
    assert len(dict.fromkeys(videos)) == sum(a != b for a, b in itertools.pairwise(videos)) + 1
    for video in set(videos):  # the frames of each, in the order of the table
        assert seen.path[seen.recording == video].tolist() == shuffled.path[shuffled.recording == video].tolist()
    unnamed = Manifest(shuffled.assign(recording=""), whole.root, "made", True, whole.classes, ["e0"])
    assert unnamed.recorded_order().tolist() == list(range(len(shuffled)))


def test_one_pass_in_the_order_of_the_recordings(suite_file: Callable[..., Path], cli, tmp_path: Path) -> None:
    """Each image is trained on once, in its recording's order; in several passes or shuffled, it is not."""
    plugin = tmp_path / "watch.py"
    plugin.write_text(WATCH)

    def seen(**training: Any) -> list[list[int]]:
        suite = suite_file(
            strategies={"watch": {"strategy": "watch"}}, training={"batch_size": 5, "lr": 0.01, **training}, seeds=[0]
        )
        out = tmp_path / str(training)
        answer = cli("run", suite, "--out", out, "--plugin", plugin)
        assert answer.code == 0, answer
        table = pd.read_csv(next(out.glob("runs/*/seen.csv")))
        return [rows.row.tolist() for _, rows in table.groupby("experience")]

    ordered = seen(online=True, stream="instance")
    assert all(rows == sorted(rows) and len(set(rows)) == len(rows) for rows in ordered)
    shuffled = seen(online=True)
    assert [sorted(rows) for rows in shuffled] == ordered != shuffled


WATCH = '''
import torch
from avalanche.core import SupervisedPlugin
from lorisbench import Strategy
from lorisbench.data.stream import rows_of


class Plugin(SupervisedPlugin):
    def __init__(self):
        super().__init__()
        self.tables = {"seen": []}

    def before_training_exp(self, strategy, **kwargs):
        self.rows = rows_of(strategy.experience.dataset).tolist()
        self.x = torch.stack([strategy.experience.dataset[i][0] for i in range(len(self.rows))]).flatten(1)

    def after_training_iteration(self, strategy, **kwargs):
        for x in strategy.mb_x.flatten(1):
            row = self.rows[int((self.x - x).abs().sum(dim=1).argmin())]
            self.tables["seen"].append({"experience": strategy.clock.train_exp_counter, "row": row})


class Watch(Strategy, name="watch"):
    """Writes down which images it is given."""

    def plugins(self, context):
        return [Plugin()]
'''


@pytest.mark.parametrize(
    ("training", "strategies", "words"),
    [
        ({"online": True, "epochs": 3}, ["naive"], ("training", "one pass", "not 3")),
        ({"online": True, "later": {"epochs": 2}}, ["naive"], ("later.epochs must be 1",)),
        ({"online": True}, ["naive", "gdumb"], ("strategies.gdumb", "one pass", "its memory")),
        ({"online": True}, {"x": {"stack": ["ewc", "joint"]}}, ("strategies.x", "one pass")),
    ],
    ids=str,
)
def test_what_needs_epochs_says_so(
    suite_file: Callable[..., Path], cli, tmp_path: Path, training: Any, strategies: Any, words: tuple[str, ...]
) -> None:
    suite = suite_file(strategies=strategies, training=training, seeds=[0])
    refused(cli("run", suite, "--out", tmp_path / "out"), *words)
