"""Protocols: order, subsets, validation images as replay, the mixed batches of OpenLORIS-Sim, published counts."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorisbench.benchmarks.openloris.benchmark import OpenLORIS, read_release
from lorisbench.benchmarks.openloris.counts import count_differences
from lorisbench.benchmarks.sim.render import SimSettings, render
from lorisbench.benchmarks.sim.scene import BATCHES, LEVELS
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.data.subsets import thin


def manifest(release: Path, **settings: object) -> Manifest:
    return OpenLORIS.model_validate({"root": str(release), **settings}).manifest()


def test_order_is_the_permutation_that_is_given(release: Path) -> None:
    plain = manifest(release, protocol="factor", factor="pixel")
    turned = manifest(release, protocol="factor", factor="pixel", order=[8, 0, 1, 2, 3, 4, 5, 6, 7])
    assert list(turned.experience_names) == [plain.experience_names[i] for i in (8, 0, 1, 2, 3, 4, 5, 6, 7)]
    first = turned.table.iloc[turned.rows("test", 0)]
    assert set(first.path) == set(plain.table.iloc[plain.rows("test", 8)].path)
    assert set(first.level) == {3}


def test_seeded_order_is_a_shuffle_that_depends_on_the_seed(release: Path) -> None:
    names = [tuple(manifest(release, order={"seed": seed}).experience_names) for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert sorted(names[0]) == sorted(manifest(release).experience_names) != list(names[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"order": [0, 1, 2]}, "0..11"),
        ({"objects": 9}, "the folder has 3"),
        ({"objects": ["cup_01", "cup_3"]}, "'cup_3'"),
    ],
)
def test_wrong_subsets_are_refused(release: Path, settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        manifest(release, **settings)


def test_objects_by_number_and_by_name(release: Path) -> None:
    assert list(manifest(release, objects=2).classes) == ["box_01", "cup_01"]
    chosen = manifest(release, objects=["cup_02", "box_01"])
    assert list(chosen.classes) == ["box_01", "cup_02"]
    assert set(zip(chosen.table.class_name, chosen.table.label, strict=True)) == {("box_01", 0), ("cup_02", 1)}


def test_fraction_keeps_every_class_in_every_split(release: Path) -> None:
    half = manifest(release, fraction=0.5)
    assert len(half.table) == 324
    least = manifest(release, fraction=0.001)
    assert set(Counter(zip(least.table.experience, least.table.split, least.table.label, strict=True)).values()) == {3}


@given(size=st.integers(1, 60), fraction=st.floats(0.01, 1))
def test_thinning_spaces_what_it_keeps_evenly(size: int, fraction: float) -> None:
    rows = [(f"{i}.jpg", 0, "a", 0, "train", "clutter", 1, "r") for i in range(size)]
    kept = [int(path[:-4]) for path in thin(pd.DataFrame(rows, columns=COLUMNS), fraction).path]
    assert len(kept) == max(1, round(size * fraction)) and kept == sorted(set(kept))
    gaps = np.diff(kept)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.heavy
def test_validation_images_as_replay(suite_file: Callable[..., Path], cli, tmp_path: Path, release: Path) -> None:
    benchmark = {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)}
    results = {}
    for replay in (False, True):
        suite = suite_file(benchmark={**benchmark, "val_as_replay": replay}, latency={"enabled": False},
                           strategies=["naive", "joint"], training={"epochs": 1, "batch_size": 6})  # fmt: skip
        assert cli("run", suite, "--out", tmp_path / str(replay)).code == 0
        results[replay] = pd.read_csv(tmp_path / str(replay) / "results.csv").set_index("strategy")
    assert results[False].replay_samples.to_dict() == {"naive": 0, "joint": 48}
    assert results[True].replay_samples.to_dict() == {"naive": 48, "joint": 96}  # eight earlier tasks of six images
    assert results[True].accuracy_last["naive"] != results[False].accuracy_last["naive"]
    refusal = cli("run", suite, "--out", tmp_path / "no", "--set", "evaluation.split=validation")
    assert refusal.code == 2 and "val_as_replay" in refusal.err


@pytest.mark.heavy
def test_mixed_batches_of_the_synthetic_set(tmp_path: Path) -> None:
    settings = SimSettings(objects=2, frames=5, size=48, mixed=True)
    root = render(tmp_path / "mixed", settings, progress=False)
    found = OpenLORIS(root=str(root), protocol="challenge").manifest()
    assert found.synthetic and found.experiences == 9 and len(found.table) == settings.images == 90
    assert (root / "test" / "batch9").is_dir()
    levels = pd.read_csv(root / "levels.csv").set_index("path")
    for batch, (illumination, hidden, pixel, clutter) in BATCHES.items():
        rows = levels.loc[found.table.iloc[found.rows("train", batch - 1)].path]
        assert (rows.hidden_fraction - hidden).abs().max() <= (0.07 if hidden else 0)
        for factor, level in (("illumination", illumination), ("pixel", pixel), ("clutter", clutter)):
            column, bounds = LEVELS[factor]
            assert rows[column].between(*bounds[level]).all(), (batch, factor)


def test_published_counts_are_listed_where_they_differ() -> None:
    def made(train: int, factor: str = "clutter") -> Manifest:
        splits = ["train"] * train + ["test"] * 1535 + ["validation"] * 1535
        rows = [(f"{i}.jpg", i % 121, "", 0, split, factor, 1, "") for i, split in enumerate(splits)]
        names = [str(i) for i in range(121)]
        return Manifest(pd.DataFrame(rows, columns=COLUMNS), Path(), "x", False, names, ["clutter 1.1"])

    assert count_differences(made(12283)) == []
    (line,) = count_differences(made(12000))
    assert "12,000" in line and "12,283" in line and "-283" in line and "ICRA 2020" in line


def test_unknown_numbers_of_classes_have_no_published_counts(release: Path) -> None:
    (line,) = count_differences(read_release(release))
    assert "no counts are published for 3 classes" in line
