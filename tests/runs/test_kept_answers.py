"""predictions.npz: images, heads and probabilities, which no interrupt changes; and images.csv.gz."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from answers import refused
from small_runs import CLASSES, EXPERIENCES, SPLITS, bench, interrupted, manifest, run, written
from torch import nn

import lorisbench
from lorisbench.common.errors import InputError, Stopped
from lorisbench.data.image_table import IMAGES, add_images, read_images
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.resume import PLACE
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import resolve

pytestmark = pytest.mark.usefixtures("one_thread")
TESTED = EXPERIENCES * SPLITS["test"]
HEADS = {"strategy": "dnn", "expand_at": [1, 2]}


class Telling(nn.Module):
    """A model that says of each image what it was told to say."""

    def __init__(self, model: Any, say: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.backbone, self.head, self.say = model.backbone, model.head, say

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.answered_by = self.say(x)
        return self.head(x)


SAID: dict[str, Callable[[torch.Tensor], Any]] = {
    "tensor": lambda x: torch.arange(len(x)) - 1,
    "int8": lambda x: (torch.arange(len(x)) - 1).to(torch.int8),
    "array": lambda x: np.arange(len(x)) - 1,
    "list": lambda x: list(range(-1, len(x) - 1)),
    "nothing": lambda x: None,
    "floats": lambda x: torch.zeros(len(x)),
    "truths": lambda x: torch.zeros(len(x), dtype=torch.bool),
    "column": lambda x: torch.zeros(len(x), 1, dtype=torch.int64),
    "number": lambda x: 3,
    "texts": lambda x: ["a"] * len(x),
    "too few": lambda x: torch.zeros(len(x) - 1, dtype=torch.int64),
    "large": lambda x: torch.full((len(x),), 40_000),
    "below": lambda x: torch.full((len(x),), -2),
}


class Tells(lorisbench.Strategy, name="tells"):
    """A strategy whose model says which head answered, rightly or wrongly."""

    what: str = "tensor"

    def wrap(self, model: nn.Module, context: lorisbench.Context) -> nn.Module:
        return Telling(model, SAID[self.what])


@pytest.mark.parametrize("settings", [{"scores": True}, {"scores": True, "rows": "last"}], ids=str)
def test_an_interrupted_run_keeps_every_answer(tmp_path: Path, settings: dict[str, Any]) -> None:
    made = bench(HEADS, evaluation=settings)
    whole = written(run(made, tmp_path / "whole").path)
    folder = interrupted(made, tmp_path / "cut", (1, 2, 2)).path  # again before anything is written
    assert RunDirectory(folder).status()["resumed"] == [1, 2, 2]
    assert written(folder) == whole
    stored = RunDirectory(folder).answers()
    assert stored.scores.dtype == np.float16 and stored.scores.shape == (EXPERIENCES, TESTED, CLASSES)
    assert stored.head.dtype == np.int16 and stored.head.shape == stored.predicted.shape
    untested = EXPERIENCES - 1 if "rows" in settings else 0
    assert (stored.predicted[:untested] == -1).all() and (stored.head[:untested] == -1).all()
    assert np.isnan(stored.scores[:untested]).all() and not np.isnan(stored.scores[untested:]).any()
    assert (stored.predicted[untested:] >= 0).all() and len(set(stored.head[-1])) > 1
    assert np.allclose(stored.scores[-1].astype(float).sum(axis=1), 1, atol=3e-3)
    assert (stored.scores[-1].argmax(axis=1) == stored.predicted[-1]).mean() > 0.9  # ties in float16 apart


def test_images_are_rows_of_the_manifest_in_the_runs_order(tmp_path: Path) -> None:
    made = bench("naive", orders=[1])
    stored = run(made, tmp_path / "run").answers()
    moved = [1, 0, 2]  # some order in which experiences come
    table = manifest().table
    assert stored.image.dtype == np.int32 and stored.head is None and stored.scores is None
    assert set(table.split[stored.image]) == {"test"} and np.array_equal(table.label[stored.image], stored.label)
    order = list(dict.fromkeys(table.experience[stored.image]))
    assert sorted(order) == sorted(moved) and order != [0, 1, 2]
    assert np.array_equal(np.repeat(order, SPLITS["test"]), table.experience[stored.image])


@pytest.mark.parametrize("name", ["scores", "head", "image"])
def test_a_checkpoint_does_not_fit_other_answers(name: str, tmp_path: Path, capsys: Any) -> None:
    made = bench(HEADS, evaluation={"scores": True})
    kept: list[Path] = []

    def stop() -> bool:
        if len(RunDirectory(tmp_path / "run").lines()) == 2:
            kept.append(tmp_path)
        return len(kept) > 2

    with pytest.raises(Stopped):
        run(made, tmp_path / "run", stop)
    directory = RunDirectory(tmp_path / "run")
    arrays = directory.answers()._asdict()
    changed = arrays[name].copy()
    changed.flat[0] = 0 if changed.flat[0] else 1
    directory.write_predictions(**{**arrays, name: changed})
    assert (tmp_path / "run" / PLACE).exists()
    assert "resumed" not in run(made, tmp_path / "run").status()
    assert "predictions.npz is not what it was" in capsys.readouterr().err


@pytest.mark.parametrize("what", SAID)
def test_what_a_model_says_of_its_heads_is_kept_or_refused(what: str, tmp_path: Path) -> None:
    made = bench({"strategy": "tells", "what": what})
    directory = run(made, tmp_path / "run")
    status = directory.status()
    if what in ("tensor", "int8", "array", "list"):
        one = np.arange(SPLITS["test"]) - 1  # each test set is a minibatch
        assert status["status"] == "done" and np.array_equal(directory.answers().head, np.tile(one, (3, EXPERIENCES)))
    elif what == "nothing":
        assert status["status"] == "done" and directory.answers().head is None
    else:
        assert status["status"] == "failed" and "Telling.answered_by: " in status["reason"], status
        assert "expected" in status["reason"] and "\n" not in status["reason"]


def test_with_a_head_for_each_task_its_label_is_the_head(tmp_path: Path) -> None:
    of = manifest(tasks=True, classes_arrive=True)
    stored = run(bench("naive", of, head={"per_task": True}), tmp_path / "run").answers()
    assert np.array_equal(stored.head, np.tile(stored.experience, (EXPERIENCES, 1)))


@pytest.mark.parametrize("answer", ["open", "confidence", "mean", "oracle"])
def test_the_heads_of_dnn_are_those_of_its_table(answer: str, tmp_path: Path) -> None:
    directory = run(bench({**HEADS, "answer": answer}), tmp_path / "run")
    stored, table = directory.answers(), pd.read_csv(directory.path / "answers.csv")
    for (after, test), rows in table.groupby(["after_experience", "test_experience"]):
        heads = stored.head[after][stored.experience == test]
        if answer == "mean" and after > 0:
            assert set(heads) == {-1}, "all have an equal share"
            continue
        found = {head: np.mean(heads == head) for head in set(heads)}
        assert found == pytest.approx(dict(zip(rows["head"], rows["share"], strict=True)))


def test_scores_change_no_number_and_no_id_of_a_run_without_them(tmp_path: Path) -> None:
    def id_of(**evaluation: Any) -> str:
        values = {
            "name": "x",
            "benchmark": {"name": "openloris-sim"},
            "strategies": ["naive"],
            "evaluation": evaluation,
        }
        return resolve(parse(SuiteConfig, values)).runs[0].run_id

    assert id_of() == id_of(scores=False) == id_of(split="test") != id_of(scores=True)
    one, other = (run(bench("naive", evaluation={"scores": on}), tmp_path / str(on)).answers() for on in (False, True))
    assert np.array_equal(one.predicted, other.predicted) and one.scores is None and other.scores is not None
    refused(lambda: id_of(score=True), "evaluation.score", "did you mean 'scores'")


def test_the_table_of_images_grows_by_streams_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    file, small = tmp_path / IMAGES, manifest()
    add_images(file, {"a": small})
    before = file.read_bytes()
    add_images(file, {"a": small})
    assert file.read_bytes() == before
    add_images(file, {"a": small, 'b, "c"': manifest(classes_arrive=True)})
    for name, of in (("a", small), ('b, "c"', manifest(classes_arrive=True))):
        table = read_images(file, name)
        assert list(table.image) == list(range(len(of.table))) and list(table.path) == list(of.table.path)
        assert np.array_equal(table.label, of.table.label) and table.experience.dtype == np.int32
    assert read_images(file, "none").empty
    text = gzip.decompress(file.read_bytes()).decode()
    for wrong in (
        b"",
        before[:-9],
        b"plain text",
        gzip.compress(b"stream,image\na,0\n"),
        gzip.compress(text.replace("a,1,", "a,one,").encode()),
        gzip.compress(text.replace("a,1,", "a,5,").encode()),
        gzip.compress(b"\xff\xfe"),
    ):
        file.write_bytes(wrong)
        refused(lambda: read_images(file, "a"), str(file))
    file.unlink()
    with pytest.raises(InputError, match=IMAGES):
        read_images(file, "a")


def test_all_orders_share_the_images_and_a_dry_run_tells_the_size_of_scores(
    suite_file: Callable[..., Path], cli: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    suite = suite_file(strategies=["naive"], orders=2, training={"epochs": 1, "batch_size": 64})
    size = 2 * 9 * 54 * 3  # bytes, experiences, images, classes
    planned = cli("run", suite, "--out", out, "--dry-run", "--set", "evaluation.scores=true")
    assert f"of which scores at most {2 * size / 1e6:.2g} MB" in planned.err, planned.err
    last = "--set", "evaluation.scores=true", "--set", "evaluation.rows=last"
    assert f"at most {2 * size / 9 / 1e6:.2g} MB" in cli("run", suite, "--out", out, "--dry-run", *last).err
    assert "scores" not in cli("run", suite, "--out", out, "--dry-run").err
    assert cli("run", suite, "--out", out).code == 0
    stamp = (out / IMAGES).stat().st_mtime_ns
    assert cli("run", suite, "--out", out, "--seeds", "1").code == 0 and (out / IMAGES).stat().st_mtime_ns == stamp
    (out / IMAGES).unlink()
    assert cli("run", suite, "--out", out).code == 0 and len(read_images(out / IMAGES, "openloris-clutter")) == 162
