"""Runs on features from a file: the same numbers as on the images, and every command that follows works or says why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from small_models import FEATURES, SMALL, TWO_CALLS

import lorisbench
from lorisbench.benchmarks.features.benchmark import Features
from lorisbench.common.errors import InputError
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics.records import read_latency
from lorisbench.report import write_report
from lorisbench.runs.elsewhere import measure_again
from lorisbench.runs.feature_file import stream_named, write_features
from lorisbench.runs.launch import launch
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import load_suite, resolve

STRATEGIES = ["naive", "ncm"]


@pytest.fixture(scope="module")
def both(release: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """`images` and `features`: outputs of one suite on the images and on the `file` of their features."""
    folder = tmp_path_factory.mktemp("both")
    suite = {
        "name": "tiny", "backbone": SMALL, "training": {"epochs": 1, "batch_size": 4}, "strategies": STRATEGIES,
        "seeds": [0], "orders": 2, "device": "cpu", "latency": {"enabled": False},
        "benchmark": {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)},
    }  # fmt: skip
    images = folder / "images.yaml"
    images.write_text(yaml.safe_dump(suite))
    file = folder / "tiny.npz"
    told = write_features(stream_named(str(images)), file)
    launch(load_suite(str(images)), folder / "images")
    features = folder / "features.yaml"
    features.write_text(yaml.safe_dump({**suite, "benchmark": {"features": "tiny.npz"}, "latency": TWO_CALLS}))
    launch(load_suite(str(features)), folder / "features")
    return SimpleNamespace(images=folder / "images", features=folder / "features", file=file, suite=features, told=told)


def test_the_matrix_is_that_of_the_images_bit_for_bit(both: SimpleNamespace) -> None:
    columns = ["order", "after_experience", "test_experience", "accuracy", "n"]
    tables = [pd.read_csv(out / "matrix.csv") for out in (both.images, both.features)]
    assert len(tables[0]) == len(STRATEGIES) * 2 * 81
    for one, other in zip(*(table[columns].itertuples(index=False) for table in tables), strict=True):
        assert one == other
    for one, other in zip(runs_of(both.images), runs_of(both.features), strict=True):
        with np.load(one / "predictions.npz") as first, np.load(other / "predictions.npz") as second:
            assert all(np.array_equal(first[key], second[key]) for key in ("predicted", "label", "experience"))
    assert both.told == f"162 images of OpenLORIS-Object, {FEATURES} features each, 9 experiences"


def runs_of(out: Path) -> Iterator[Path]:
    return iter(sorted((out / "runs").iterdir(), key=lambda run: re.sub(r"^[^.]+|[^.]+$", "", run.name)))


def test_all_that_the_images_had_is_in_the_file(both: SimpleNamespace, release: Path) -> None:
    config = load_suite(str(both.suite)).config
    read = config.benchmark.usable()
    images = stream_named(str(both.suite.with_name("images.yaml"))).benchmark.usable()
    columns = ["path", "label", "class_name", "experience", "split", "factor", "level", "recording"]
    assert read.table[columns].equals(images.table[columns])
    assert (read.classes, read.experience_names) == (list(images.classes), list(images.experience_names))
    assert (read.name, read.synthetic) == (images.name, images.synthetic)
    assert read.source.startswith(f"features of {SMALL['name']} at 32 pixels; ")


def test_output_and_report_say_that_no_image_was_seen(both: SimpleNamespace) -> None:
    assert read_yaml(both.features / "suite.yaml")["backbone"]["name"] == "none"
    assert json.loads((both.features / "data.json").read_text())["features"] == FEATURES
    assert "features" not in json.loads((both.images / "data.json").read_text())
    page = write_report(both.features).read_text()
    assert "Features only: no image was seen" in page and f"{FEATURES} features of each image were given" in page
    results = lorisbench.load(both.features)
    assert results.matrix("ncm", order=0).shape == (9, 9)
    said = "adapt_ratio: features were given: there are no images for a forward pass"
    assert all(said in text for text in results.table.undefined)


def test_latency_is_that_of_the_head(both: SimpleNamespace) -> None:
    for run in runs_of(both.features):
        found = read_latency(run / "latency.json")
        assert found is not None and found["features"] == FEATURES and "image_size" not in found
        assert found["ms"] and found["bare_ms"]
    again = measure_again(both.features, "cpu", calls=2, strategies=["naive"])
    assert again.images.tolist() == ["own"] and again.error.tolist() == [""] and again.image_size.tolist() == [""]
    both.file.rename(both.file.with_suffix(".away"))
    try:
        gone = measure_again(both.features, "cpu", calls=2, strategies=["naive"])
    finally:
        both.file.with_suffix(".away").rename(both.file)
    assert gone.images.tolist() == ["random"] and gone.error.tolist() == [""]


def test_another_file_is_refused_and_the_same_one_goes_on(both: SimpleNamespace, tmp_path: Path) -> None:
    suite = load_suite(str(both.suite))
    assert launch(suite, both.features).status.tolist() == ["done"] * 4
    with np.load(both.file) as stored:
        arrays = dict(stored)
    arrays["features"][3] += 1
    np.savez(tmp_path / "tiny.npz", **arrays)
    changed = load_suite(str(both.suite), assignments=[f"benchmark.file={tmp_path / 'tiny.npz'}"])
    assert [spec.run_id for spec in changed.runs] == [spec.run_id for spec in suite.runs]
    with pytest.raises(InputError, match="were made from other images"):
        launch(changed, both.features)


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["backbone.train=first"], r"^backbone\.train: first needs images, and benchmark 'features' has features only"),
        (["backbone.train=always"], r"^backbone\.train: always needs images"),
        (["training.augment.views=2"], r"^strategies\.naive\.training\.augment: .* no images that could be augmented"),
        (["strategies.ncm.training.augment.views=2"], r"^strategies\.ncm\.training\.augment"),
    ],
)
def test_what_needs_images_is_refused(both: SimpleNamespace, assignments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_suite(str(both.suite), assignments=assignments)


def test_a_backbone_that_a_suite_gives_is_not_loaded_and_changes_no_run(both: SimpleNamespace) -> None:
    ids = [spec.run_id for spec in load_suite(str(both.suite)).runs]
    for own in ("backbone.name=no-such-network", "backbone.norm=group", "backbone.cache=false"):
        suite = load_suite(str(both.suite), assignments=[own])
        assert [spec.run_id for spec in suite.runs] == ids and suite.config.backbone.on_features


def test_streams_of_images_and_of_features_in_one_suite(both: SimpleNamespace, release: Path) -> None:
    images = {"name": "openloris", "protocol": "factor", "root": str(release)}
    raw = {
        "name": "two", "backbone": SMALL, "strategies": ["naive"],
        "benchmarks": {"images": images, "given": {"features": str(both.file)}},
    }  # fmt: skip
    suite = resolve(parse(SuiteConfig, raw))
    assert [config.backbone.name for config in suite.streams.values()] == [SMALL["name"], "none"]
    again = resolve(parse(SuiteConfig, {key: value for key, value in suite.resolved.items() if key != "schema"}))
    assert again.resolved == suite.resolved
    raw["backbone"] = {**SMALL, "train": "first"}
    with pytest.raises(InputError, match=r"^streams\.given\.backbone\.train: first needs images"):
        resolve(parse(SuiteConfig, raw))
    raw["streams"] = {"given": {"backbone": {"train": "never"}}}
    assert resolve(parse(SuiteConfig, raw)).streams["given"].backbone.name == "none"


def test_no_backbone_is_for_features_alone(suite_file: Callable[..., Path], tmp_path: Path) -> None:
    suite = load_suite(str(suite_file(backbone={"name": "none"})))
    with pytest.raises(InputError, match="backbone 'none': only a benchmark of features has none"):
        launch(suite, tmp_path / "out")


def test_a_stream_for_a_script_of_ones_own(both: SimpleNamespace) -> None:
    made = lorisbench.stream({"features": str(both.file)})
    x, y, *_ = made.train_stream[0].dataset[0]
    assert x.shape == (FEATURES,) and isinstance(y, int) and len(made.test_stream) == 9
    with pytest.raises(InputError, match="holds features already"):
        lorisbench.stream({"features": str(both.file)}, backbone="efficientnet-lite0")


def test_commands_on_a_file_of_features(both: SimpleNamespace, cli: Callable[..., object], tmp_path: Path) -> None:
    told = cli("data", "describe", both.file)
    assert told.code == 0 and f"features: {FEATURES} of each image" in told.out
    assert "a run can use these data" in told.out
    checked = cli("data", "verify", both.file)
    assert checked.code == 0 and "162 rows of features checked" in checked.out and "no bad files" in checked.out
    for words in (("leaks", both.file), ("describe", both.file, "--sheet", tmp_path / "s.png")):
        answer = cli("data", *words)
        assert answer.code == 2 and "holds features, and this needs images" in answer.err
    answer = cli("data", "split", both.file, "--disjoint", "-o", tmp_path / "s.csv")
    assert answer.code == 2 and "are not files that a list could name" in answer.err
    answer = cli("run", both.suite, "--out", both.features, "--dry-run")
    assert answer.code == 0 and len(answer.out.splitlines()) == 4


def test_a_rehearsal_finds_what_a_run_would(both: SimpleNamespace, cli: Callable[..., object], tmp_path: Path) -> None:
    x = np.ones((20, 3), np.float32)
    x[4, 1] = np.nan
    np.savez(tmp_path / "bad.npz", X=x, y=np.arange(20) % 2)
    words = ("run", both.suite, "--set", f"benchmark.file={tmp_path / 'bad.npz'}", "--out", tmp_path / "out")
    answers = [cli(*words, *more) for more in ((), ("--dry-run",))]
    assert [answer.code for answer in answers] == [2, 2]
    for answer in answers:
        assert "'X': row 4 is not finite" in answer.err.splitlines()[-1]
    x[4, 1] = 0
    np.savez(tmp_path / "bad.npz", X=x, y=np.arange(20) % 2)
    answer = cli(*words[:-2], "--set", "orders=[0]", "--out", tmp_path / "out", "--dry-run")
    assert answer.code == 0 and "would be made in the cache" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("quickstrt", "f.npz"), "did you mean 'quickstart'"),
        (("openloris", "f.npz"), "benchmark.root|--data-root"),
        (("quickstart", "f.npy"), "the name must end in .npz"),
        (("quickstart", "f.npz", "--set", "backbone.train=first"), "backbone.train: first gives features that"),
        (("features", "f.npz", "--set", "benchmark.file=tiny.npz"), "has features already"),
        (("hik2019", "f.npz", "--stream", "nothing"), "nothing"),
    ],
)
def test_what_cannot_be_written(
    words: tuple[str, ...], said: str, cli: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    both: SimpleNamespace,
) -> None:  # fmt: skip
    monkeypatch.chdir(both.file.parent if words[0] == "features" else tmp_path)
    answer = cli("data", "features", *words)
    assert answer.code == 2 and re.search(said, answer.err), answer.err
    assert not Path("f.npz").exists()


def test_a_file_is_written_whole_or_not_at_all(
    both: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stream_named(str(both.suite.with_name("images.yaml")))
    file = tmp_path / "f.npz"
    file.write_bytes(b"before")
    monkeypatch.setattr(np, "savez", lambda stream, **arrays: stream.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_features(config, file)
    assert file.read_bytes() == b"before" and [path.name for path in tmp_path.iterdir()] == ["f.npz"]


def test_exported_heads_take_features(both: SimpleNamespace, tmp_path: Path) -> None:
    from lorisbench.export import trained

    run = trained.read_run(next(run for run in runs_of(both.features) if ".naive." in run.name))
    assert run.width == FEATURES
    import torch

    x = torch.from_numpy(Features(file=str(both.file)).manifest().given_features())
    assert trained.restore_run(run)(x).shape == (162, 3)
