"""Heads with an output layer for each task label: what they compute, who trains them, and where they are refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from built_in import BUILT_IN
from hypothesis import given
from hypothesis import strategies as st
from small_models import TWO_CALLS
from torch import nn
from torch.nn.functional import log_softmax

from lorisbench.data.stream import Store, with_task
from lorisbench.model.models import Classifier
from lorisbench.model.task_heads import MASKED, TaskClassifier, TaskHead
from lorisbench.reproduce.verification.tiny import (
    CLASSES,
    LINEAR,
    WIDTH,
    Spy,
    plugin_of,
    seen,
    stream,
    trained,
    weights,
)
from lorisbench.strategies.ewc import EWCPlugin
from lorisbench.strategies.mas import MASPlugin
from lorisbench.strategies.parts import distillation

pytestmark = pytest.mark.usefixtures("one_thread")

OF_TASKS = [[0, 1], [2], [], [0, 1, 2]]  # of four tasks; no image has the label 2
RIVALS = {"dnn-dce", "dnn-expert-gate", "dnn-s-prompts", "dnn-soyo", "fecam", "klda", "simplecil"}
REFUSED = {"dnn", "ncm", "slda", "ranpac", "dgr", *RIVALS}
OPEN = {"avalanche", "stack"}  # need settings
WORKING = sorted(set(BUILT_IN) - REFUSED - OPEN)


def head(hidden: list[int]) -> TaskHead:
    torch.manual_seed(0)
    return TaskHead(5, OF_TASKS, 3, hidden)


def by_hand(module: TaskHead, x: np.ndarray, task: int) -> np.ndarray:
    """Logits of one sample: shared layer with ReLU where there is one, the task's own layer, its classes' places."""
    value = {name: p.detach().numpy() for name, p in module.named_parameters()}
    if "shared.0.weight" in value:
        x = np.maximum(value["shared.0.weight"] @ x + value["shared.0.bias"], 0)
    logits = np.full(3, MASKED)
    logits[OF_TASKS[task]] = value[f"outputs.{task}.weight"] @ x + value[f"outputs.{task}.bias"]
    return logits


@pytest.mark.parametrize("hidden", [[], [4]])
@pytest.mark.parametrize("training", [True, False])
@given(tasks=st.lists(st.sampled_from([0, 1, 3]), min_size=1, max_size=9))
def test_each_sample_is_answered_by_the_layer_of_its_task(hidden: list[int], training: bool, tasks: list[int]) -> None:
    module = head(hidden).train(training)
    x = torch.randn(len(tasks), 5, generator=torch.Generator().manual_seed(len(tasks)))
    answered = module(with_task(x, torch.tensor(tasks))).detach().numpy()
    wanted = np.stack([by_hand(module, row, task) for row, task in zip(x.numpy(), tasks, strict=True)])
    assert answered.shape == wanted.shape and np.allclose(answered, wanted, atol=1e-5)


def test_layers_of_tasks_that_are_not_in_the_batch_get_no_gradient_at_all() -> None:
    module = head([4]).train()
    module(with_task(torch.randn(6, 5), torch.tensor([0, 3, 3, 0, 0, 3]))).sum().backward()
    given_one = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert given_one == {
        f"{part}.{kind}" for part in ("shared.0", "outputs.0", "outputs.3") for kind in ("weight", "bias")
    }


def test_labels_beside_the_inputs_count_as_those_of_avalanche_do() -> None:
    model = TaskClassifier(None, head([]))
    x, own, other = torch.randn(4, 5), torch.tensor([0, 1, 0, 3]), torch.tensor([3, 3, 1, 0])
    labelled = with_task(x, own)
    assert torch.equal(model(labelled, other), model(with_task(x, other)))
    assert torch.equal(model(labelled, 1), model(with_task(x, torch.full((4,), 1))))
    assert model(labelled, None) == {}
    assert len(model.heads) == 3, "a label that no image has makes none"
    model.known_train_tasks_labels = {3, 0}
    every = model(labelled, None)
    assert list(every) == [0, 3] and all(torch.equal(logits, model(labelled, task)) for task, logits in every.items())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_inputs_carry_their_label(dtype: torch.dtype) -> None:
    images = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).to(dtype)
    carrying = with_task(images, torch.tensor([7, 200]))
    assert carrying.dtype == dtype and carrying.shape == (2, 4, 4, 4)
    assert torch.equal(carrying[:, :3], images) and carrying[:, 3].unique(dim=0).shape == (2, 4, 4)
    assert carrying[:, 3, 2, 1].tolist() == [7, 200]
    backbone = nn.Flatten()
    model = TaskClassifier(backbone, nn.Identity())
    assert torch.equal(model.features(carrying), torch.cat([images.flatten(1), torch.tensor([[7], [200]])], dim=1))


def test_single_samples_and_whole_batches_carry_the_same() -> None:
    whole, store = stream(2, labelled=True)
    dataset = whole.train_stream[1].dataset
    x, y, task = dataset[3]
    assert (x[-1], task) == (1, 1) and torch.equal(x[:-1], store.x[26 + 3]) and y == store.y[26 + 3]
    assert torch.equal(store.inputs(store.x[26:28], slice(26, 28))[0], dataset[0][0])
    assert not Store(store.x, store.y).labelled


def test_the_classes_of_a_task_are_those_of_its_images() -> None:
    store = Store(torch.zeros(5, 1), torch.tensor([4, 2, 2, 0, 4]), torch.tensor([0, 0, 0, 3, 3]))
    assert store.classes_of_tasks() == [[2, 4], [], [], [0, 4]]


# ---- strategies


def marked() -> tuple[list[list[torch.Tensor]], list[Spy]]:
    """The weights of all output layers, before and after each experience in turn, and what notes them."""
    marks: list[list[torch.Tensor]] = []

    def mark(strategy: Any) -> None:
        marks.append([layer.weight.detach().clone() for layer in strategy.model.head.outputs])

    return marks, [Spy(before_training_exp=mark), Spy(after_training_exp=mark)]


@pytest.mark.parametrize("name", WORKING)
def test_strategies_train_them(name: str) -> None:
    """Each task's layer moves while its task is learned; `frozen` learns the first alone."""
    settings = {"gem": {"memory": 12}, "ewc-avalanche": {"ewc_lambda": 1.0}}.get(name, {})
    marks, spies = marked()
    strategy = trained(name, spies=spies, per_task=True, experiences=3, **settings)
    assert isinstance(strategy.model, TaskClassifier) and torch.isfinite(weights(strategy)).all()
    for task in range(3):
        moved = not torch.equal(marks[2 * task][task], marks[2 * task + 1][task])
        assert moved == (task == 0 or name != "frozen")
    strategy.eval(stream(3, labelled=True)[0].test_stream)


@pytest.mark.parametrize("name", ["naive", "agem", "gem", "ewc", "mas", "si", "rwalk"])
def test_weight_decay_reaches_no_layer_that_is_not_in_use(name: str) -> None:
    """That of a task to come starts as it was drawn; without springs, those of earlier tasks stay as well."""
    decaying = {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1, "epochs": 5}
    marks, spies = marked()
    memory = {"memory": 12} if name == "gem" else {}
    trained(name, spies=spies, hidden=LINEAR, per_task=True, training=decaying, **memory)
    assert torch.equal(marks[0][2], marks[4][2]) and not torch.equal(marks[4][2], marks[5][2])
    if name in ("naive", "agem", "gem"):
        assert torch.equal(marks[1][0], marks[5][0])


def test_distilling_earlier_layers_moves_no_statistics_twice() -> None:
    module = head([])
    model = TaskClassifier(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 5)), module).train()
    model.known_train_tasks_labels = {0, 1}
    teacher = copy.deepcopy(model).eval()
    images = with_task(torch.randn(6, 3, 4, 4), torch.tensor([3] * 6))
    strategy = SimpleNamespace(model=model, mb_x=images, mb_output=model(images))
    norm = model.get_submodule("backbone")[1]  # type: ignore[index]
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    found = distillation.pairs(strategy, teacher)
    assert all(torch.equal(value, norm.state_dict()[key]) for key, value in before.items()) and norm.track_running_stats
    assert [tuple(student.shape) for student, _ in found] == [(6, 3), (6, 3)]
    wanted = model(images, 1)
    assert torch.allclose(found[1][0], wanted, atol=1e-6) and found[1][0].requires_grad
    assert torch.allclose(found[1][1], teacher(images, 1), atol=1e-6)


def _accuracy(strategy: Any, task: int) -> float:
    x, y = seen(task)
    with torch.no_grad():
        return float((strategy.model.eval()(with_task(x, torch.full((len(x),), task))).argmax(1) == y).float().mean())


def test_replay_of_earlier_tasks_is_answered_by_their_layers() -> None:
    """With shared layers a task is forgotten in part; a memory of all samples, each with its label, prevents that."""
    long = {"epochs": 30, "lr": 0.1}
    alone, replayed = (
        np.mean([_accuracy(trained(name, per_task=True, training=long, **settings), task) for task in range(2)])
        for name, settings in (("naive", {}), ("replay", {"memory": "all", "replay_batch": "epoch"}))
    )
    assert replayed > alone + 0.05, (alone, replayed)


@pytest.mark.parametrize("hidden", [LINEAR, [8]])
@pytest.mark.parametrize("name", ["ewc", "mas"])
def test_importances_are_those_of_the_tasks_own_layer(name: str, hidden: list[int]) -> None:
    """Against one backward pass a sample and class, through the layer of the sample's task."""
    held: list[Any] = []
    spy = Spy(after_training_exp=lambda s: held.append({n: p.detach().clone() for n, p in s.model.named_parameters()}))
    kind: type = EWCPlugin if name == "ewc" else MASPlugin
    settings = {"mode": "online", "gamma": 1.0} if name == "ewc" else {}
    strategy = trained(name, spies=[spy], hidden=hidden, experiences=2, per_task=True, **settings)
    importance = plugin_of(strategy, kind).importance
    total = {n: torch.zeros_like(p) for n, p in strategy.model.named_parameters()}
    for task in range(2):
        model = strategy.model.eval()
        model.load_state_dict(held[task])
        x, _ = seen(task)
        for sample in x:
            for label in range(CLASSES if name == "ewc" else 1):
                model.zero_grad()
                (logits,) = model(with_task(sample[None], torch.tensor([task])))
                log_p = log_softmax(logits, dim=0)
                (log_p[label] if name == "ewc" else logits.square().sum()).backward()
                for n, p in model.named_parameters():
                    if p.grad is not None:
                        share = log_p[label].exp().detach() * p.grad.square() if name == "ewc" else p.grad.abs()
                        total[n] += share / len(x)
    for n, value in importance.items():
        assert torch.allclose(value, total[n], rtol=1e-4, atol=1e-7), n


# ---- runs


@pytest.fixture
def listed(release: Path, tmp_path: Path) -> Path:
    """Three tasks of the tiny release, each with its task label, in a CSV file; the second has two classes of three."""
    rows = ["path,class_name,experience,split,task"]
    for task, segment in enumerate((1, 2, 9)):
        for split in ("train", "validation", "test"):
            for name in ("box_01", "cup_01", "cup_02")[task == 1 :]:
                for frame in range(2):
                    path = f"{split}/clutter/segment{segment}/{name}/{frame:03d}.jpg"
                    rows.append(f"{path},{name},{segment},{split},{task}")
    (tmp_path / "tasks.csv").write_text(f"# root: {release}\n" + "\n".join(rows) + "\n")
    return tmp_path / "tasks.csv"


@pytest.fixture
def suite(listed: Path, suite_on: Callable[..., Callable[..., Path]]) -> Callable[..., Path]:
    return suite_on(listed, head={"per_task": True})


def matrix(out: Path, strategy: str) -> np.ndarray:
    found = pd.read_csv(out / "matrix.csv")
    found = found[found.run_id.str.contains(f".{strategy}.", regex=False)]
    return found.pivot(index="after_experience", columns="test_experience", values="accuracy").to_numpy()


def test_layers_on_frozen_features_forget_nothing_and_the_page_says_what_was_told(
    suite: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    training = {"epochs": 5, "batch_size": 4, "weight_decay": 0.1}
    file = suite(strategies=["naive", "lwf", "joint"], training=training, latency=TWO_CALLS)
    assert cli("run", file, "--out", out, report=True).code == 0
    found = matrix(out, "naive")
    assert (found[2] == found[[0, 1, 2], [0, 1, 2]]).all(), "no layer moves after its own task"
    results = pd.read_csv(out / "results.csv")
    assert (results.latency_ratio > 0).all() and (results.heads == 3).all()
    page = (out / "report" / "index.html").read_text("utf-8")
    assert "Task-incremental: every image is tested with its task label" in page
    assert "an output layer for each task label, given at test time too" in page
    run = next((out / "runs").iterdir())
    answer = cli("export", run)
    assert answer.code == 2 and "needs task labels to answer" in answer.err and len(answer.err.splitlines()) == 1


def test_without_them_the_report_says_nothing_of_them(
    suite: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    assert cli("run", suite(head={}), "--out", tmp_path / "out", report=True).code == 0
    assert "Task-incremental" not in (tmp_path / "out" / "report" / "index.html").read_text("utf-8")
    assert yaml.safe_load((tmp_path / "out" / "suite.yaml").read_text("utf-8"))["head"]["per_task"] is False


@pytest.mark.heavy
@pytest.mark.parametrize("mode", ["first", "always"])
def test_images_carry_their_label_through_a_backbone_that_trains(
    suite: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path, mode: str
) -> None:
    backbone = {"name": "resnet18", "image_size": 32, "train": mode}
    training = (
        {"epochs": 2, "batch_size": 4, "augment": {"views": 1, "crop": 0.9}} if mode == "always" else {"epochs": 2}
    )
    names = ["naive", "ewc", "lwf", "replay", "latent-replay", "gem"]
    strategies: dict[str, Any] = {name: {"memory": 6} if name == "gem" else None for name in names}
    file = suite(strategies=strategies, backbone=backbone, training=training, latency=TWO_CALLS)
    answer = cli("run", file, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert (results.status == "done").all() and (results.latency_ratio > 0).all()


def test_what_cannot_have_them_is_refused_before_anything_is_read(
    suite: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    for name in sorted(REFUSED):
        for entry in ({"strategy": name}, {"stack": [name, "naive"]}):
            answer = cli("run", suite(strategies={"mine": entry}), "--out", tmp_path / "out")
            assert answer.code == 2 and "strategies.mine" in answer.err and "head.per_task" in answer.err, answer.err
    assert not (tmp_path / "out").exists()


def test_streams_without_task_labels_are_refused(
    suite: Callable[..., Path], listed: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    text = listed.read_text()
    for change, said in ((lambda task: 1, "only one"), (lambda task: 300 * int(task), "0 to 255")):
        lines = [
            line if line[0] == "#" or i == 1 else f"{line[:-1]}{change(line[-1])}"
            for i, line in enumerate(text.splitlines())
        ]
        listed.write_text("\n".join(lines))
        answer = cli("run", suite(), "--out", tmp_path / "out")
        assert answer.code == 2 and said in answer.err and "head.per_task" in answer.err, answer.err
        assert len(answer.err.splitlines()) == 1


def test_tuning_on_a_first_experience_needs_no_second_label(
    suite: Callable[..., Path], listed: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    answer = cli("tune", suite(strategies=["lwf"]), "--experiences", 1, "--trials", 1, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    listed.write_text(re.sub(r",[12]$", ",0", listed.read_text(), flags=re.MULTILINE))
    answer = cli("tune", suite(strategies=["lwf"]), "--experiences", 2, "--trials", 1, "--out", tmp_path / "other")
    assert answer.code == 2 and "head.per_task: needs task labels" in answer.err, answer.err


def test_a_misspelt_key_is_named(suite: Callable[..., Path], cli: Callable[..., Any]) -> None:
    answer = cli("run", suite(head={"per_tasks": True}))
    assert answer.code == 2 and "head.per_tasks" in answer.err and "per_task" in answer.err


def test_a_plain_classifier_is_no_multi_task_module() -> None:
    """Avalanche would hand it task labels, which its forward does not take."""
    from avalanche.models import MultiTaskModule

    assert not isinstance(Classifier(None, nn.Linear(WIDTH, CLASSES)), MultiTaskModule)
