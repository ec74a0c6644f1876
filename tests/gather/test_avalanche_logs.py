"""Logs that Avalanche itself writes, in a run that takes a moment, give the matrix that it measured."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from answers import refused

from lorisbench.gather.avalanche import read_avalanche
from lorisbench.gather.formats import read_one

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 3


def logged(
    folder: Path, tests_of: Callable[[int], Sequence[int]] = lambda after: range(SIZE), twice: bool = False
) -> np.ndarray:
    """Train naive on three experiences with all three loggers; the accuracies that the model has on the test stream.

    tests_of : which experiences are tested after each. Writes csv/eval_results.csv, text.log and shown.log.
    """
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
    from avalanche.logging import CSVLogger, InteractiveLogger, TextLogger
    from avalanche.training import Naive
    from avalanche.training.plugins import EvaluationPlugin

    torch.manual_seed(0)
    parts = {
        split: [(torch.randn(count, 4) + 2 * place, torch.randint(0, 2, (count,))) for place in range(SIZE)]
        for split, count in (("train", 12), ("test", 10))
    }
    stream = tensors_benchmark(
        train_tensors=parts["train"], test_tensors=parts["test"], task_labels=[0] * SIZE, complete_test_set_only=False
    )
    model = torch.nn.Linear(4, 2)
    measured = np.full((SIZE, SIZE), np.nan)
    with open(folder / "text.log", "w") as text, contextlib.redirect_stdout(io.StringIO()) as shown:
        loggers = [CSVLogger(str(folder / "csv")), TextLogger(text), InteractiveLogger()]
        metrics = [accuracy_metrics(epoch=True, experience=True, stream=True), loss_metrics(experience=True)]
        strategy = Naive(
            model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.5), train_mb_size=4, train_epochs=2,
            eval_mb_size=10, evaluator=EvaluationPlugin(*metrics, loggers=loggers), eval_every=1,
        )  # fmt: skip
        strategy.eval(stream.test_stream)
        for experience in stream.train_stream:
            strategy.train(experience, eval_streams=[[experience]])
            after = experience.current_experience
            for _ in range(1 + twice):
                strategy.eval([stream.test_stream[tested] for tested in tests_of(after)])
            for tested in tests_of(after):
                x, y = parts["test"][tested]
                with torch.no_grad():
                    measured[after, tested] = (model(x).argmax(1) == y).float().mean()
        loggers[0].close()
    (folder / "shown.log").write_text(shown.getvalue(), encoding="utf-8")
    return measured


FILES = ("csv/eval_results.csv", "text.log", "shown.log")


def test_all_three_loggers_give_the_matrix_that_was_measured(tmp_path: Path) -> None:
    measured = logged(tmp_path)
    assert len(np.unique(measured)) > 3 and not np.array_equal(measured, measured.T)
    for file in FILES:
        read = read_avalanche(tmp_path / file)
        assert np.allclose(read.matrix, measured, atol=1e-4), file
        assert read.notes[0] == "3 tests before any training passed over"
        assert ("counted" in read.notes[-1]) == (file == "shown.log")
        assert np.array_equal(read_one(tmp_path / file).matrix, read.matrix), "the format is found out"
    assert len((tmp_path / "text.log").read_text().split("Start of eval phase")) > 2 + SIZE, "tests within training"


def test_tests_of_the_past_alone_leave_the_future_open(tmp_path: Path) -> None:
    measured = logged(tmp_path, lambda after: range(after + 1), twice=True)
    assert np.isnan(measured[np.triu_indices(SIZE, 1)]).all()
    for file in FILES:
        read = read_avalanche(tmp_path / file)
        assert np.allclose(read.matrix, measured, atol=1e-4, equal_nan=True)
        assert "experiences still to come were not tested" in read.notes


HEAD = "eval_exp,training_exp,eval_accuracy,eval_loss,forgetting\n"
TRAIN = "-- Starting training on experience {} (Task 0) from train stream --\n"
TESTED = "\tTop1_Acc_Exp/eval_phase/{}/Task000/Exp00{} = {}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["neither"]),
        ("something else\n", ["neither", "something else"]),
        ("training_exp,epoch,training_accuracy\n", ["no test"]),
        (HEAD, ["no accuracy"]),
        (HEAD + "0,None,0.5,1,0\n", ["no accuracy"]),
        (HEAD + "0,0,0,1,0\n0,1,0,1,0\n", ["all accuracies are 0", "accuracy_metrics"]),
        (HEAD + "0,0,abc,1,0\n", [":2", "'abc'"]),
        (HEAD + "x,0,0.5,1,0\n", [":2", "'x'"]),
        (HEAD + "0,0,1.5,1,0\n", ["1.5, more than 1"]),
        (HEAD + "0,0,-0.5,1,0\n", ["-0.5"]),
        (HEAD + "0,0,nan,1,0\n", ["nan"]),
        (HEAD + "0,0,0.5,1,0\n0,0,0.6,1,0\n", ["tested twice", "0.5 and 0.6"]),
        (HEAD + "0,0,0.5,1,0\n0,1,0.5,1,0\n", ["trains on 2 experiences and tests on 1"]),
        (HEAD + "0,0,0.5,1,0,7,8\n", ["not a table"]),
        (HEAD + "999999999,0,0.5,1,0\n", ["more than 1000"]),
        ("eval_exp,accuracy\n0,1\n", ["training_exp"]),
        (TRAIN.format(0) + "no accuracy\n", ["Top1_Acc_Exp", "accuracy_metrics"]),
        (TRAIN.format(0) + TESTED.format("test_stream", 0, "half"), [":2", "'half'"]),
        (TRAIN.format(0) + TESTED.format("test_stream", 0, "2.0"), ["more than 1"]),
        (
            TRAIN.format(0) + TESTED.format("a", 0, "0.5") + TESTED.format("b", 0, "0.5"),
            ["a, b", "none of test_stream"],
        ),
    ],
)
def test_what_is_none_is_refused_in_one_line(text: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text(text)
    refused(lambda: read_avalanche(tmp_path / "x.log"), "x.log", *words)


def test_the_test_stream_counts_beside_that_of_training(tmp_path: Path) -> None:
    lines = TRAIN.format(0) + TESTED.format("train_stream", 0, "0.9") + TESTED.format("test_stream", 0, "0.5")
    (tmp_path / "x.log").write_text(lines)
    assert read_avalanche(tmp_path / "x.log").matrix.tolist() == [[0.5]]
    (tmp_path / "x.log").write_text(lines.replace("test_stream", "valid_stream"))
    assert read_avalanche(tmp_path / "x.log").matrix.tolist() == [[0.5]]
