"""Features in files: every format and every usual naming is read, and whatever is wrong is one line that names it."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from lorisbench.benchmarks.features.benchmark import Features
from lorisbench.benchmarks.features.names import guessed
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import Manifest

WIDTH, CLASSES, PER_CLASS = 4, 3, 10
Y = np.repeat(np.arange(CLASSES), PER_CLASS)
X = np.random.default_rng(0).normal(size=(len(Y), WIDTH)).astype(np.float32)
NAMES = np.array(["cup", "box", "can"])


def read(file: Path, **settings: Any) -> Manifest:
    return Features(file=str(file), **settings).usable()


def npz(folder: Path, **arrays: Any) -> Path:
    file = folder / "f.npz"
    np.savez(file, **arrays)
    return file


def refused(file: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(file, **settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def as_npz(folder: Path) -> tuple[Path, dict[str, Any]]:
    return npz(folder, X=X, y=Y), {}


def as_compressed(folder: Path) -> tuple[Path, dict[str, Any]]:
    np.savez_compressed(folder / "f.npz", features=X.astype(np.float64), targets=Y.astype(np.uint8))
    return folder / "f.npz", {}


def as_npy(folder: Path) -> tuple[Path, dict[str, Any]]:
    np.save(folder / "feats.npy", X)
    np.save(folder / "y.npy", Y[:, None])
    return folder / "feats.npy", {"labels": "y.npy"}


def as_columns_first(folder: Path) -> tuple[Path, dict[str, Any]]:
    np.save(folder / "whatever.npy", np.asfortranarray(X.astype(">f4")))
    (folder / "labels.txt").write_text("label\n" + "".join(f"{value}\n" for value in Y))
    return folder / "whatever.npy", {"columns": {"labels": str(folder / "labels.txt")}}


def as_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", Y.astype(np.float32))
    return folder, {}


def as_safetensors(folder: Path) -> tuple[Path, dict[str, Any]]:
    save_file({"embeddings": X, "labels": Y}, folder / "f.safetensors")
    return folder / "f.safetensors", {}


def as_parquet(folder: Path) -> tuple[Path, dict[str, Any]]:
    return parquet(folder, {"label": Y, "features": list(map(list, X.astype(np.float64)))}), {}


def as_numbered_columns(folder: Path) -> tuple[Path, dict[str, Any]]:
    return parquet(folder, {"label": Y, **{f"f{i}": X[:, i] for i in range(WIDTH)}}), {}


def parquet(folder: Path, columns: dict[str, Any]) -> Path:
    import fastparquet

    fastparquet.write(str(folder / "f.parquet"), pd.DataFrame(columns))
    return folder / "f.parquet"


FORMATS = [as_npz, as_compressed, as_npy, as_columns_first, as_folder, as_safetensors, as_parquet, as_numbered_columns]


@pytest.mark.parametrize("make", FORMATS)
def test_every_format_gives_the_same_features_and_labels(make: Callable[..., Any], tmp_path: Path) -> None:
    file, settings = make(tmp_path)
    manifest = read(file, **settings)
    assert np.array_equal(manifest.given_features(), X)
    assert manifest.given_features().dtype == np.float32
    assert isinstance(manifest.given_features(), np.memmap)  # not copied into the memory of each process
    assert manifest.table.label.tolist() == Y.tolist()
    assert manifest.classes == ["class 0", "class 1", "class 2"]
    assert manifest.table.split.value_counts().to_dict() == {"train": 24, "test": 6}
    assert manifest.describe()["features"] == WIDTH


def test_half_precision_is_read_exactly(tmp_path: Path) -> None:
    half = X.astype(np.float16)
    assert np.array_equal(read(npz(tmp_path, X=half, y=Y)).given_features(), half.astype(np.float32))


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_features", "train_labels", "test_features", "test_labels"),
        ("trainX", "trainY", "testX", "testY"),
        ("train", "y_tr", "val", "y_val"),
        ("X", "y", "X_te", "y_te"),
    ],
)
def test_arrays_of_each_split_are_known_by_their_names(names: tuple[str, ...], tmp_path: Path) -> None:
    x, y, other, labels = names
    part = "validation" if "val" in other else "test"
    arrays = {x: X, y: Y, other: X[::2] + 1, labels: Y[::2]}
    file = npz(tmp_path, **arrays)
    manifest = Features(file=str(file)).manifest()
    assert manifest.table.split.value_counts().to_dict() == {"train": 30, part: 15}
    held_out = Features(file=str(file), validation_share=0.1).manifest().table.split.value_counts()
    assert held_out["validation"] == (15 if part == "validation" else 3)
    rows = manifest.rows(part, 0)
    assert np.array_equal(manifest.given_features()[rows], X[::2] + 1)
    assert manifest.table.label[rows].tolist() == Y[::2].tolist()


def test_everything_a_file_may_say(tmp_path: Path) -> None:
    arrays = {
        "X": X, "y": Y, "class_names": NAMES, "session": np.tile(["mon", "tue"], 15), "video": np.arange(30) // 2,
        "split": np.tile(["train", "train", "val", "test", "test"], 6), "factor": np.full(30, "light"),
        "level": np.tile([1, 2], 15), "task": np.tile([0, 1], 15), "other": np.zeros(3),
    }  # fmt: skip
    manifest = Features(file=str(npz(tmp_path, **arrays))).manifest()
    table = manifest.table
    assert manifest.classes == ["cup", "box", "can"] and manifest.experience_names == ["mon", "tue"]
    assert table.class_name.tolist() == NAMES[Y].tolist()
    assert table.experience.tolist() == [0, 1] * 15 and table.recording.tolist() == [str(i // 2) for i in range(30)]
    assert table.split.tolist() == ["train", "train", "validation", "test", "test"] * 6
    assert (table.factor == "light").all() and table.level.tolist() == [1, 2] * 15
    assert manifest.task_labels().tolist() == [0, 1] * 15
    assert "not read: 'other'" in manifest.notes["arrays"] and "recording 'video'" in manifest.notes["arrays"]


def test_classes_are_texts_or_numbers_with_gaps(tmp_path: Path) -> None:
    assert read(npz(tmp_path, X=X, y=NAMES[Y])).classes == ["box", "can", "cup"]
    assert read(npz(tmp_path, X=X, y=np.array([b"cup", b"box", b"can"])[Y])).classes == ["box", "can", "cup"]
    both = read(npz(tmp_path, X=X, y=2 * Y + 1, class_name=NAMES[Y]))
    assert both.classes == ["cup", "box", "can"] and both.table.label.tolist() == Y.tolist()
    gaps = read(npz(tmp_path, X=X, y=10 * Y + 1))
    assert gaps.classes == ["class 1", "class 11", "class 21"]
    assert gaps.notes["labels"] == "3 different ones from 1 to 21, counted from 0 here"


def test_experiences_are_of_classes_or_one_or_those_of_the_file(tmp_path: Path) -> None:
    file = npz(tmp_path, X=X, y=Y, session=np.tile([7, 3], 15))
    assert read(file).experience_names == ["experience 3", "experience 7"]
    of_classes = read(file, classes_per_experience=2)
    assert of_classes.experience_names == ["class 0, class 1", "class 2"]
    assert of_classes.table.experience.tolist() == (Y // 2).tolist()
    assert "those of the file are not used" in of_classes.notes["experiences"]
    assert read(npz(tmp_path, X=X, y=Y)).experience_names == ["all"]
    assert isinstance(of_classes.given_features(), np.memmap) and of_classes.increments == "classes"
    drawn = read(file, classes_per_experience=2, class_order=["class 2", "class 0", "class 1"])
    assert drawn.experience_names == ["class 2, class 0", "class 1"]
    assert drawn.table.experience.tolist() == np.array([0, 1, 0])[Y].tolist()
    assert "leaves no class for a second experience" in refused(file, classes_per_experience=3)


def test_test_images_without_an_experience_are_of_that_of_their_class(tmp_path: Path) -> None:
    arrays = {"X_train": X, "y_train": Y, "X_test": X[::2] + 1, "y_test": Y[::2]}
    manifest = read(npz(tmp_path, **arrays, session_train=np.array(["a", "b", "b"])[Y]))
    assert manifest.table.experience[30:].tolist() == np.array([0, 1, 1])[Y[::2]].tolist()
    text = refused(npz(tmp_path, **arrays, session_train=np.tile(["a", "b"], 15)))
    assert "the test images have no experience" in text and "columns.experience_test" in text


def test_orders_objects_and_fractions_keep_features_with_their_labels(tmp_path: Path) -> None:
    file = npz(tmp_path, X=X, y=Y)
    settings = {"classes_per_experience": 1, "objects": ["class 0", "class 2"], "fraction": 0.5, "order": [1, 0]}
    part = read(file, **settings)
    rows = [int(re.sub(r"\D", "", path)) for path in part.table.path]
    assert np.array_equal(part.given_features(), X[rows]) and len(rows) == 10
    assert part.experience_names == ["class 2", "class 0"] and set(part.table.label) == {0, 1}
    assert sorted(set(Y[rows])) == [0, 2]
    moved = read(file, classes_per_experience=1).in_order([2, 0, 1])
    assert np.array_equal(moved.given_features(), X) and moved.table.experience.tolist() == ((Y + 1) % 3).tolist()


def test_copies_are_drawn_into_one_split(tmp_path: Path) -> None:
    twice = np.repeat(X[::2], 2, axis=0)  # each image twice, one after the other
    table = read(npz(tmp_path, X=twice, y=Y)).table
    assert (table.split[::2].to_numpy() == table.split[1::2].to_numpy()).all()
    assert "test" in set(table.split)


def test_the_content_hash_is_of_features_and_labels(tmp_path: Path) -> None:
    def hash_of(x: np.ndarray, y: np.ndarray) -> str:
        return read(npz(tmp_path, X=x, y=y)).content_hash

    first = hash_of(X, Y)
    assert hash_of(X, Y) == first
    changed = X.copy()
    changed[17, 2] += 1
    assert len({first, hash_of(changed, Y), hash_of(X, np.roll(Y, 1))}) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"X": np.where(np.arange(30)[:, None] == 7, np.nan, X)}, r"'X': row 7 is not finite"),
        (
            {"X": np.where(np.arange(30)[:, None] % 10 == 3, np.inf, X)},
            r"'X': 3 of 30 rows are not finite .*: 3, 13, 23",
        ),
        (
            {"X": X.astype(np.float64) * 1e300},
            r"'X': 30 of 30 rows .*too large for float32\): 0, 1, 2, 3, 4 and 25 more",
        ),
        ({"X": X.astype(np.int64)}, r"'X': is int64, where float16, float32, float64 was expected"),
        ({"X": X.astype(np.complex64)}, r"'X': is complex64"),
        ({"X": X[:, 0]}, r"'X': has the shape \(30,\), where \(images, features\)"),
        ({"X": X[:, :, None, None] * np.ones((1, 1, 2, 2), np.float32)}, r"shape \(30, 4, 2, 2\).*reshape"),
        ({"X": X[:0], "y": Y[:0]}, r"'X': has the shape \(0, 4\)"),
        ({"X": X[:, :0]}, r"'X': has the shape \(30, 0\)"),
        ({"X": X.astype(object)}, r"'X': is objects"),
        ({"y": Y[:-1]}, r"'y': has 29 rows, and 'X' 30"),
        ({"y": np.eye(3)[Y]}, r"'y': has the shape \(30, 3\), where one value a row was expected; .*argmax"),
        ({"y": Y + 0.5}, r"'y': row 0 has 0\.5, where a whole number"),
        ({"y": np.where(Y == 2, np.nan, Y)}, r"'y': row 20 has nan"),
        ({"y": Y - 1}, r"'y': row 0 has the label -1, where 0 or more"),
        ({"y": np.where(np.arange(30) == 12, 3, Y), "class_names": NAMES}, r"row 12 has the label 3, where 0 to 2"),
        (
            {"y": np.where(np.arange(30) == 12, "cpu", NAMES[Y]), "class_names": NAMES},
            r"row 12 .*'cpu'.*did you mean 'cup'",
        ),
        ({"y": np.where(np.arange(30) == 12, "", NAMES[Y])}, r"row 12 has no class"),
        ({"y": Y.astype(object)}, r"'y': holds Python objects, which would have to be unpickled and never are"),
        ({"y": (Y * 1j)}, r"'y': is complex128, where whole numbers or text"),
        ({"class_names": np.array(["a", "a", "b"])}, r"'class_names': the name 'a' is there twice"),
        ({"split": np.tile(["train", "tset"], 15)}, r"'split': row 1 has 'tset'.*did you mean 'test'"),
        ({"split": np.tile([0, 1], 15)}, r"'split': row 0 has 0, where one of train"),
        ({"level": np.tile([0, -1], 15)}, r"'level': row 1 has -1"),
        ({"session": np.tile(["a", ""], 15)}, r"'session': row 1 has no experience"),
        ({"session": np.tile([0, 1], 15), "experience_names": NAMES[:1]}, r"row 1 has the experience 1, which"),
        ({"features": X}, r"'features' and 'X' may both be its features|'X' and 'features' may both be"),
        ({"X_test": X}, r"'X_test': has no labels; give .*columns\.labels_test"),
        ({"X_test": X[:, :2], "y_test": Y}, r"'X_test': has 2 features an image, and 'X' 4"),
        ({"y_test": Y}, r"'y_test': labels of the test split, of which there are no features"),
        ({"X_test": X, "y_test": Y + 5}, r"'class 5' has test images .* but no training image"),
        ({"X_test": X, "y_test": NAMES[Y]}, r"names, and .* numbers"),
    ],
)
def test_what_is_wrong_is_a_line_that_names_file_array_and_row(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    text = refused(npz(tmp_path, **{"X": X, "y": Y, **changes}))
    assert text.startswith(str(tmp_path)) and re.search(said, text), text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"columns": {"feature": "X"}}, r"nothing is called 'feature'; did you mean 'features'"),
        ({"columns": {"labels": "lables"}}, r"has no array 'lables'"),
        ({"columns": {"labels": "z"}}, r"columns\.labels: .*f\.npz has no array 'z'"),
        ({"columns": {"labels": "z.npy"}}, r"has no array 'z\.npy', and there is no such file beside it"),
        ({"labels": "z.npy"}, r"benchmark\.labels: z\.npy: no such file"),
        ({"labels": "y", "columns": {"labels": "y"}}, r"give one of them"),
        ({"objects": ["klass 1"]}, r"no object 'klass 1'.*did you mean 'class 1'"),
        ({"order": [0, 2, 1]}, r"a permutation of 0\.\.0"),
    ],
)
def test_settings_that_do_not_fit_name_the_nearest(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    text = refused(npz(tmp_path, X=X, y=Y), **settings)
    assert re.search(said, text), text


def test_arrays_of_other_names_are_told_by_columns_or_by_their_form(tmp_path: Path) -> None:
    file = npz(tmp_path, penultimate=X, kind=Y)
    assert np.array_equal(read(file).given_features(), X)
    two = npz(tmp_path, penultimate=X, pooled=X[:, :2], kind=Y, age=Y)
    assert "which of its arrays holds the features? 'penultimate' float32 (30, 4)" in refused(two)
    assert "'pooled': has no labels" in refused(two, columns={"features": "pooled"})
    assert read(two, columns={"features": "pooled"}, labels="kind").describe()["features"] == 2


def test_what_is_called_by_a_usual_name_and_is_something_else(tmp_path: Path) -> None:
    file = npz(tmp_path, X=X, y=Y, classes=NAMES[Y], domain=np.arange(30))
    manifest = read(file, columns={"experience": None})
    assert manifest.classes == ["cup", "box", "can"] and manifest.experience_names == ["all"]
    assert "not read: 'domain'" in manifest.notes["arrays"]


class Trap:
    def __reduce__(self) -> Any:
        return open, ("unpickled", "w")


@pytest.mark.parametrize("name", ["f.npy", "f.npz", "f.pt", "f.pkl"])
def test_nothing_is_unpickled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    if name == "f.npy":
        np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    elif name == "f.npz":
        np.savez(file, X=X, y=np.array([Trap()] * 30, dtype=object))
    elif name == "f.pt":
        with zipfile.ZipFile(file, "w") as archive:  # as PyTorch lays one out
            archive.writestr("f/data.pkl", pickle.dumps(Trap()))
    else:
        file.write_bytes(pickle.dumps(Trap()))
    Path("unpickled").unlink(missing_ok=True)
    assert re.search("pickle|objects", refused(file))
    assert not Path("unpickled").exists()


def damaged(file: Path, how: str) -> None:
    data = file.read_bytes()
    middle = len(data) // 2
    changed = {
        "cut": data[:middle], "empty": b"", "noise": b"\x01" * 500,
        "flipped": data[:200] + bytes([data[200] ^ 255]) + data[201:],
    }  # fmt: skip
    file.write_bytes(changed[how])


@pytest.mark.parametrize("how", ["cut", "empty", "noise", "flipped"])
@pytest.mark.parametrize("make", [as_npz, as_npy, as_safetensors, as_parquet])
def test_damage_is_a_line_that_names_the_file(make: Callable[..., Any], how: str, tmp_path: Path) -> None:
    file, settings = make(tmp_path)
    damaged(file, how)
    if how == "flipped" and make in (as_npy, as_safetensors, as_parquet):
        try:  # these have no checksum: another number is another number
            read(file, **settings)
        except InputError as error:
            assert str(error).startswith(str(file)) and "\n" not in str(error)
        return
    assert refused(file, **settings).startswith(str(file))


def test_files_of_other_kinds_and_none(tmp_path: Path) -> None:
    assert "cannot be read (No such file" in refused(tmp_path / "gone.npz")
    (tmp_path / "empty").mkdir()
    assert "a folder without a .npy file" in refused(tmp_path / "empty")
    table = tmp_path / "f.csv"
    table.write_text("a,b\n1,2\n")
    assert "none of these formats; .npz, .npy, .safetensors or .parquet was expected" in refused(table)
    uneven = parquet(tmp_path, {"label": [0, 1], "features": [[1.0, 2.0], [1.0]]})
    assert "'features': row 1 has 1 numbers, and row 0 has 2" in refused(uneven)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("X", ("features", "")), ("feats.npy", None), ("Y_Test", ("labels", "test")), ("xtrain", ("features", "train")),
        ("val_embeddings", ("features", "validation")), ("track", None), ("text", None), ("targets", ("labels", "")),
        ("train", ("features", "train")), ("video_ids_train", ("recording", "train")),
        ("model/features", ("features", "")),
    ],
)  # fmt: skip
def test_what_a_name_says(name: str, key: Any) -> None:
    assert guessed(name) == key
