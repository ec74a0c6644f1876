"""Everything about an answer: the tidy table of `Results.answers`, what is counted from it, the model, its features."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from answers import refused
from torch import nn

import lorisbench
from lorisbench.data.image_table import IMAGES
from lorisbench.runs.directory import RunDirectory

TINY: dict[str, Any] = {
    "backbone": {"name": "timm:test_resnet", "weights": "none", "image_size": 32},
    "training": {"epochs": 1, "batch_size": 4},
    "latency": {"enabled": False},
    "device": "cpu",
    "workers": 0,
}
TESTED = 9 * 3 * 2  # experiences, objects, frames
HEADS = {"strategy": "dnn", "expand_at": [1, 4]}


class Routed(nn.Module):
    """Two heads, of which one feature chooses."""

    answered_by: torch.Tensor | None = None

    def __init__(self, model: Any, other: nn.Module) -> None:
        super().__init__()
        self.backbone, self.heads = model.backbone, nn.ModuleList([model.head, other])

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.backbone is None or x.ndim == 2 else self.backbone(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        chosen = (features[:, 1] > 0).long()
        if not self.training:
            self.answered_by = chosen
        each = torch.stack([head(features) for head in self.heads], dim=1)
        return each[torch.arange(len(x)), chosen]


class BySign(lorisbench.Strategy, name="by-sign"):
    """A method with heads that the harness knows nothing of."""

    def wrap(self, model: nn.Module, context: lorisbench.Context) -> nn.Module:
        return Routed(model, context.new_head())


@pytest.fixture(scope="module")
def clutter(release: Path) -> dict[str, Any]:
    return {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)}


@pytest.fixture(scope="module")
def results(clutter: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> lorisbench.Results:
    """Two runs each, with scores, of two orders and seeds: a method without heads, DNN, a plugin with heads."""
    out = tmp_path_factory.mktemp("answers") / "out"
    strategies = {"naive": None, "dnn": HEADS, "by-sign": BySign()}
    settings = {"out": out, "evaluation": {"scores": True}, **TINY}
    lorisbench.run(clutter, strategies, seeds=[3], orders=[1], **settings)
    return lorisbench.run(clutter, strategies, seeds=[0], orders=[0], **settings)


def folder_of(results: lorisbench.Results, strategy: str, seed: int = 0, order: int = 0) -> Path:
    runs = results.table[(results.table.strategy == strategy) & (results.table.seed == seed)]
    return results.out / "runs" / str(runs[runs.order == order].run_id.iloc[0])


def test_each_answer_is_told_with_its_image(results: lorisbench.Results, release: Path) -> None:
    table = results.answers()
    assert list(table.columns) == [
        "strategy", "seed", "order", "after_experience", "experience", "image", "path", "recording", "factor", "level",
        "label", "class_name", "predicted", "predicted_name", "correct", "score", "head", "status", "finished",
    ]  # fmt: skip
    assert len(table) == 3 * 2 * TESTED and table.finished.all() and set(table.after_experience) == {8}
    assert table.memory_usage(deep=True).sum() < 80 * len(table) + 60_000, "texts are categories"
    for strategy, seed, order in (("naive", 0, 0), ("dnn", 3, 1), ("by-sign", 3, 1)):
        mine = table[(table.strategy == strategy) & (table.seed == seed) & (table.order == order)]
        stored = RunDirectory(folder_of(results, strategy, seed, order)).answers()
        assert stored.predicted.dtype == np.int32 and np.array_equal(mine.predicted, stored.predicted[-1])
        assert np.array_equal(mine.image, stored.image) and stored.image.dtype == np.int32
        paths = [Path(path).parts for path in mine.path]  # split/factor/segment/object/frame
        assert all((release / path).is_file() for path in mine.path) and len(set(paths)) == TESTED
        assert [path[0] for path in paths] == ["test"] * TESTED and [path[3] for path in paths] == list(mine.class_name)
        segment = np.array([int(path[2].removeprefix("segment")) for path in paths])
        assert set(segment) == set(range(1, 10))
        if order == 0:
            assert np.array_equal(segment, mine.experience + 1)
        else:
            assert len(set(zip(segment, mine.experience, strict=True))) == 9
            assert not np.array_equal(segment, mine.experience + 1)
        classes = results.data["classes"]
        assert list(mine.predicted_name) == [classes[label] for label in mine.predicted]
        assert np.array_equal(mine.correct, mine.predicted == mine.label)
        assert np.array_equal(results.images.path[mine.image], mine.path)
    assert set(table.factor) == {"clutter"} and table.level.dtype == np.int32
    accuracy = table.groupby(["strategy", "seed", "order"], observed=True).correct.mean()
    for row in results.table.itertuples():
        assert accuracy[row.strategy, row.seed, row.order] == pytest.approx(row.accuracy_last)


def test_scores_are_the_softmax_of_the_models_outputs(results: lorisbench.Results) -> None:
    for strategy in ("naive", "dnn", "by-sign"):
        stored = RunDirectory(folder_of(results, strategy)).answers()
        assert stored.scores.dtype == np.float16 and stored.scores.shape == (9, TESTED, 3)
        model = results.model(strategy, seed=0, order=0)
        with torch.no_grad():
            images = torch.from_numpy(results.pictures(stored.image, 32)).permute(0, 3, 1, 2)
            wanted = model(images).softmax(dim=1).numpy()
        assert np.allclose(stored.scores[-1], wanted, atol=2e-3)
        table = results.answers(strategy, 0, 0)
        assert np.array_equal(table.score, stored.scores[-1, np.arange(TESTED), table.predicted].astype(np.float32))
        assert not np.allclose(stored.scores[0], stored.scores[-1])


def test_the_head_that_answers_is_the_models_own_word(results: lorisbench.Results) -> None:
    """Also of a method that the harness has never heard of; and the shares in answers.csv say the same."""
    features = results.features("by-sign", seed=3, order=1)
    mine = results.answers("by-sign", 3, 1)
    assert np.array_equal(mine["head"], (features[:, 1] > 0).astype(int)) and set(mine["head"]) == {0, 1}
    assert "head" not in results.answers("naive") and (results.answers(["naive", "dnn"])["head"] == -1).any()
    for seed, order in ((0, 0), (3, 1)):
        told = results.answers("dnn", seed, order, after="all")
        shares = pd.read_csv(folder_of(results, "dnn", seed, order) / "answers.csv")
        groups = told.groupby(["after_experience", "experience"])["head"].value_counts(normalize=True)
        counted = dict(groups.items())
        columns = ["after_experience", "test_experience", "head"]
        assert counted == pytest.approx({tuple(row[columns].astype(int)): row.share for _, row in shares.iterrows()})
        assert len(set(told["head"])) > 1
    stored = RunDirectory(folder_of(results, "naive")).answers()
    assert stored.head is None


def test_what_is_wanted_can_be_chosen(results: lorisbench.Results) -> None:
    assert len(results.answers("dnn", seeds=[3], orders=1)) == TESTED
    every = results.answers(["naive"], seeds=0, orders=[0], after="all")
    predicted = results.predictions("naive", 0, 0).predicted
    assert np.array_equal(every.predicted.to_numpy().reshape(9, -1), predicted)
    assert list(every.after_experience.unique()) == list(range(9))
    some = results.answers("naive", 0, 0, after=[2, 5])
    assert np.array_equal(some.predicted.to_numpy().reshape(2, -1), predicted[[2, 5]])
    assert np.array_equal(results.answers("naive", np.int64(0), range(1), after=5).predicted, predicted[5])
    for wrong, words in (
        (lambda: results.answers("naiv"), ["naiv", "did you mean 'naive'"]),
        (lambda: results.answers(["dnn", "bysign"]), ["bysign", "did you mean 'by-sign'"]),
        (lambda: results.answers(seeds=7), ["seed 7", "0, 3"]),
        (lambda: results.answers(orders=[0, 2]), ["order 2", "0, 1"]),
        (lambda: results.answers(seeds="0"), ["seeds='0'", "whole numbers"]),
        (lambda: results.answers(after="lst"), ["lst", "did you mean 'last'"]),
        (lambda: results.answers(after=9), ["after=9", "0 to 8"]),
        (lambda: results.answers(after=-1), ["after=-1"]),
        (lambda: results.accuracy_by("clas"), ["clas", "did you mean 'class'"]),
        (lambda: results.accuracy_by("head", "naive"), ["naive", "head", "not known"]),
        (lambda: results.confusion("dn"), ["dn", "did you mean 'dnn'"]),
        (lambda: results.model("dn"), ["dn", "did you mean 'dnn'"]),
        (lambda: results.model("dnn", seed=1), ["seed 1", "0, 3"]),
        (lambda: results.features("dnn", [10**6]), ["no image 1000000"]),
        (lambda: results.features("dnn", [-1]), ["no image -1"]),
        (lambda: results.features("dnn", [0.5]), ["numbers"]),
        (lambda: results.pictures(["a.jpg"]), ["numbers"]),
    ):
        refused(wrong, *words)


def test_accuracies_and_confusions_are_counted_from_the_answers(results: lorisbench.Results) -> None:
    table = results.answers("naive")
    by_class = results.accuracy_by("class", "naive")
    assert list(by_class.columns) == ["strategy", "class", "accuracy", "sd", "images", "runs"]
    assert list(by_class["class"]) == ["box_01", "cup_01", "cup_02"] and set(by_class.runs) == {2}
    assert set(by_class.images) == {TESTED // 3}
    right = table.groupby("class_name", observed=True).correct.mean()
    assert list(by_class.accuracy) == pytest.approx(list(right))
    of_runs = table.groupby(["class_name", "seed", "order"], observed=True).correct.mean()
    assert list(by_class.sd) == pytest.approx([of_runs[name].std() for name in by_class["class"]])
    both = results.accuracy_by(["factor", "level", "experience"], after="all")
    assert len(both) == 3 * 9 * both[["factor", "level", "experience"]].drop_duplicates().shape[0]
    matrix = results.matrix("dnn", 0, 0)
    mine = results.accuracy_by("experience", "dnn", 0, 0, after="all").pivot(
        index="after_experience", columns="experience", values="accuracy"
    )
    assert np.allclose(mine, matrix)
    assert set(results.accuracy_by("head").strategy) == {"dnn", "by-sign"}, "naive has none"
    recordings = results.accuracy_by("recording", "naive")
    assert len(recordings) == table.recording.nunique() > 9
    counts = results.confusion("naive", seed=3)
    chosen = table[table.seed == 3]
    assert counts.equals(
        pd.crosstab(chosen.class_name, chosen.predicted_name, dropna=False).reindex_like(counts)
    ) and counts.to_numpy().sum() == len(chosen)


def test_models_and_features_come_back(results: lorisbench.Results, release: Path) -> None:
    run_id = folder_of(results, "dnn", 3, 1).name
    model = results.model(run_id)
    table = results.answers("dnn", 3, 1)
    files = [release / path for path in table.path]
    features = results.features(run_id)
    assert features.shape == (TESTED, 96) and features.dtype == np.float32
    with torch.no_grad():
        answered = model(torch.from_numpy(features)).argmax(dim=1)
    assert np.array_equal(answered, table.predicted)
    few = table.image.to_numpy()[[5, 1]]
    for given in (few, list(few), [files[5], files[1]], results.pictures(few, 32)):
        assert np.allclose(results.features("dnn", given, seed=3, order=1), features[[5, 1]], atol=1e-5)
    assert results.pictures(few).shape == (2, 96, 96, 3) and results.pictures([]).shape == (0, 96, 96, 3)


@pytest.fixture
def copied(results: lorisbench.Results, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results.out, tmp_path / "out"))


def test_without_the_data_set_all_is_there_but_its_pixels(copied: Path, release: Path, tmp_path: Path) -> None:
    suite = copied / "suite.yaml"
    suite.write_text(suite.read_text().replace(str(release), str(tmp_path / "gone")))
    loaded = lorisbench.load(copied)
    assert len(loaded.answers("dnn", 0, 0)) == TESTED and loaded.answers("dnn", 0, 0).path.notna().all()
    assert loaded.model("dnn") is not None
    pixels = np.zeros((2, 40, 40, 3), dtype=np.uint8)
    assert loaded.features("dnn", pixels).shape == (2, 96)
    refused(lambda: loaded.features("dnn"), "gone")
    refused(lambda: loaded.pictures([0]), "gone")


def test_rows_of_unfinished_runs_are_marked(results: lorisbench.Results, copied: Path) -> None:
    folder = copied / "runs" / folder_of(results, "naive").name
    stored = RunDirectory(folder).answers()
    RunDirectory(folder).set_status("pending", "interrupted")
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:4]))
    RunDirectory(folder).write_predictions(**stored.until(4)._asdict())
    loaded = lorisbench.load(copied)
    table = loaded.answers("naive")
    marked = table[~table.finished]
    assert set(marked.seed) == {0} == set(marked.order) and set(marked.status) == {"pending"} and len(marked) == TESTED
    assert set(marked.after_experience) == {3} and set(table[table.finished].after_experience) == {8}
    assert not len(loaded.answers("naive", 0, 0, after=8)) and set(loaded.accuracy_by("class", "naive").runs) == {1}
    refused(lambda: loaded.model(folder.name), "not finished")


def test_files_that_are_damaged_or_missing_are_told_of(results: lorisbench.Results, copied: Path, capsys: Any) -> None:
    of = folder_of(results, "naive").name
    file = copied / "runs" / of / "predictions.npz"
    with np.load(file) as stored:
        arrays = dict(stored)
    for name, wrong, said in (
        ("image", arrays["image"][:-1], "image"),
        ("scores", arrays["scores"][:2], "scores"),
        ("head", arrays["predicted"][:, 1:].astype(np.int16), "head"),
    ):
        np.savez_compressed(file, **{**arrays, name: wrong})
        capsys.readouterr()
        assert len(lorisbench.load(copied).answers("naive")) == TESTED, "the other run"
        assert f"{file}: {said}: " in capsys.readouterr().err
    np.savez_compressed(file, **{name: arrays[name] for name in ("predicted", "label", "experience")})
    table = lorisbench.load(copied).answers("naive")  # of an earlier version
    old = table[table.order == 0]
    assert (old.image == -1).all() and old.path.isna().all() and old.level.isna().all() and old.score.isna().all()
    assert old.class_name.notna().all() and table[table.order == 1].path.notna().all()
    refused(lambda: lorisbench.load(copied).accuracy_by("recording", "naive", 0, 0), "recording", "not known")
    (copied / IMAGES).write_bytes((copied / IMAGES).read_bytes()[:-30])
    refused(lambda: lorisbench.load(copied).answers(), IMAGES)
    (copied / IMAGES).unlink()
    table = lorisbench.load(copied).answers("dnn", 0, 0)
    assert table.path.isna().all() and table.class_name.notna().all() and IMAGES in capsys.readouterr().err
    refused(lambda: lorisbench.load(copied).images, IMAGES)


def test_streams_are_told_apart(clutter: dict[str, Any], tmp_path: Path) -> None:
    streams = {"one": clutter, "other": {**clutter, "factor": "pixel"}}
    suite = {"name": "two", "benchmarks": streams, "strategies": ["naive"], "seeds": [0]}
    results = lorisbench.run({**suite, "evaluation": {"rows": "last"}}, out=tmp_path / "out", **TINY)
    table = results.answers(after="all")
    assert list(table.columns[:2]) == ["stream", "strategy"] and len(table) == 2 * TESTED
    assert {(s, f) for s, f in zip(table.stream, table.factor, strict=True)} == {("one", "clutter"), ("other", "pixel")}
    assert all(f"/{factor}/" in path for factor, path in zip(table.factor, table.path, strict=True))
    by_factor = results.accuracy_by("factor")
    assert list(by_factor.columns[:3]) == ["stream", "strategy", "factor"] and len(by_factor) == 2
    one = results.on("one")
    assert "stream" not in one.answers() and len(one.images) == 162 and one.features("naive").shape == (TESTED, 96)
    for wrong in (lambda: results.images, lambda: results.confusion("naive"), lambda: results.model("naive")):
        refused(wrong, "choose one by .on(stream)")
