"""Outputs that open as their classes arrive: what is masked, that every strategy trains so, and where it is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from built_in import BUILT_IN
from torch import nn
from torch.nn.functional import cross_entropy

from lorisbench.data.manifest import COLUMNS, Manifest
from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.assembly import assemble, seed_everything
from lorisbench.engine.own_plugins import Recorder
from lorisbench.export.trained import read_run, restore_run
from lorisbench.model.checkpoint import load_checkpoint, write_checkpoint
from lorisbench.model.growing import GrowingClassifier
from lorisbench.model.models import Backbone, Classifier, make_head
from lorisbench.model.task_heads import MASKED
from lorisbench.reproduce.verification.tiny import LINEAR, WIDTH, plugin_of, weights
from lorisbench.strategies.ewc import EWCPlugin
from lorisbench.strategies.lwf import LwFPlugin
from lorisbench.strategies.mas import MASPlugin
from lorisbench.strategies.parts.distillation import distillation
from lorisbench.suite.config import HeadConfig
from lorisbench.suite.entries import make_strategy
from lorisbench.suite.spec import RunSpec
from lorisbench.suite.training import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")

ARRIVING = [[4, 1], [0], [3, 2, 1]]  # classes of each experience, not in the order of their labels; 1 comes back
CLASSES, COUNT = 5, 12  # samples of a class in an experience
RIVALS = {"dnn-dce", "dnn-expert-gate", "dnn-s-prompts", "dnn-soyo", "fecam", "klda", "simplecil"}
REFUSED = {"dnn", "ncm", "slda", "ranpac", "dgr", "der", "der++", *RIVALS}
OPEN = {"avalanche", "stack"}  # need settings
WORKING = sorted(set(BUILT_IN) - REFUSED - OPEN)
SETTINGS: dict[str, dict[str, Any]] = {"gem": {"memory": 12}, "ewc-avalanche": {"ewc_lambda": 1.0}}


def arriving() -> tuple[Any, Store]:
    """The stream of `ARRIVING`, noise about a mean for each class, and its store."""
    rows, labels = [], []
    for experience, classes in enumerate(ARRIVING):
        for label in classes:
            for i, split in enumerate(["train"] * COUNT + ["validation", "test"]):
                path = f"{experience}/{label}/{i}"
                rows.append((path, label, str(label), experience, split, "", 0, ""))
                labels.append(label)
    y = torch.tensor(labels)
    x = torch.randn(len(y), WIDTH, generator=torch.Generator().manual_seed(0))
    x[:, :CLASSES] += 2 * nn.functional.one_hot(y, CLASSES)
    store = Store(x, y)
    table = pd.DataFrame(rows, columns=COLUMNS)
    names = [str(k) for k in range(CLASSES)]
    manifest = Manifest(table, Path(), "generated numbers", True, names, [str(e) for e in range(len(ARRIVING))])
    return make_stream(manifest, store), store


def learning(name: str, grow: bool = True, hidden: Sequence[int] = (8,), **settings: Any) -> Iterator[Any]:
    """A strategy after each experience of `arriving`, as a run trains it."""
    stream, store = arriving()
    training = TrainingConfig.model_validate({"optimizer": "sgd", "lr": 0.1, "momentum": 0.5, "epochs": 2})
    spec = RunSpec(
        name, name, 0, strategy=make_strategy({"strategy": name, **SETTINGS.get(name, {}), **settings}),
        head=HeadConfig(hidden=list(hidden), grow=grow), training=training,
    )  # fmt: skip
    backbone = Backbone(nn.Identity(), (0.0,) * 3, (1.0,) * 3, WIDTH)
    strategy = assemble(spec, backbone, store, CLASSES, len(ARRIVING), torch.device("cpu"))
    for index, experience in enumerate(stream.train_stream):
        seed_everything(0, index)
        strategy.train(experience, reset_optimizer_state=True)
        yield strategy


def trained(name: str, **settings: Any) -> Any:
    return list(learning(name, **settings))[-1]


def seen_after(experience: int) -> set[int]:
    return set().union(*ARRIVING[: experience + 1])


@pytest.mark.parametrize("name", WORKING)
def test_every_strategy_learns_with_them_and_answers_no_class_before_it_came(name: str) -> None:
    tests = list(arriving()[0].test_stream)
    for index, strategy in enumerate(learning(name)):
        recorder = Recorder()
        strategy.plugins.append(recorder)
        strategy.eval(tests)
        assert set(recorder.predictions().tolist()) <= seen_after(index)
        # evaluation on what is still to come opened nothing, and no fresh start closed what was open
        assert {label for label, there in enumerate(strategy.model.seen) if there} == seen_after(index)
    assert isinstance(strategy.model, GrowingClassifier) and torch.isfinite(weights(strategy)).all()


def test_the_loss_is_that_of_the_classes_so_far() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(WIDTH, CLASSES)
    model = GrowingClassifier(None, copy.deepcopy(plain), CLASSES)
    x, y = torch.randn(7, WIDTH), torch.tensor([1, 4, 4, 1, 0, 0, 1])
    assert torch.equal(model(x), plain(x)), "nothing has been learned yet"
    for classes in ([0, 1], [1, 4]):
        model.adaptation(SimpleNamespace(classes_in_this_experience=classes))
    open_rows, closed = [0, 1, 4], [2, 3]
    loss, wanted = (
        cross_entropy(model(x), y),
        cross_entropy(plain(x)[:, open_rows], torch.tensor([open_rows.index(k) for k in y.tolist()])),
    )
    assert torch.allclose(loss, wanted, atol=1e-6) and (model(x)[:, closed] == MASKED).all()
    loss.backward()
    wanted.backward()
    assert torch.allclose(model.head.weight.grad, plain.weight.grad, atol=1e-6)  # type: ignore[arg-type,union-attr]
    assert not model.head.weight.grad[closed].any()  # type: ignore[index,union-attr]
    model.eval().adaptation(SimpleNamespace(classes_in_this_experience=[2, 3]))
    assert model.seen == [True, True, False, False, True]


def test_without_them_all_outputs_take_part_from_the_start() -> None:
    strategy = next(learning("naive", grow=False))
    other = next(learning("naive"))
    assert type(strategy.model) is Classifier and not torch.equal(weights(strategy), weights(other))


@pytest.mark.parametrize(("name", "kind"), [("ewc", EWCPlugin), ("mas", MASPlugin)])
@pytest.mark.parametrize("hidden", [LINEAR, [8]])
def test_importances_are_those_of_the_classes_so_far(name: str, kind: type, hidden: list[int]) -> None:
    """After the first experience, with two classes of five, against one backward pass a sample and class."""
    strategy = next(learning(name, hidden=hidden))
    importance, model = plugin_of(strategy, kind).importance, strategy.model.eval()
    x, _ = next(iter(strategy.batches(arriving()[0].train_stream[0].dataset)))
    total = {key: torch.zeros_like(p) for key, p in model.named_parameters()}
    for sample in x:
        for label in ARRIVING[0] if name == "ewc" else [0]:
            model.zero_grad()
            logits = model.head(sample)[ARRIVING[0]]  # the open ones alone
            log_p = logits.log_softmax(0)[ARRIVING[0].index(label)] if name == "ewc" else logits.square().sum()
            log_p.backward()
            for key, p in model.named_parameters():
                assert p.grad is not None
                total[key] += (log_p.exp().detach() * p.grad.square() if name == "ewc" else p.grad.abs()) / len(x)
    for key, value in importance.items():
        assert torch.allclose(value, total[key], rtol=1e-4, atol=1e-7), key


def test_distillation_is_of_the_classes_before() -> None:
    """The teacher gives nothing to classes that it has not seen, and the student is held to that."""
    steps = learning("lwf")
    teacher = plugin_of(next(steps), LwFPlugin).teacher
    strategy = next(steps)
    x = arriving()[1].x[:20]
    assert (teacher(x)[:, [0, 2, 3]] == MASKED).all() and (strategy.model(x)[:, [2, 3]] == MASKED).all()
    found = distillation(strategy.model(x), teacher(x), 2.0)
    past, now = teacher(x)[:, [1, 4]] / 2, strategy.model(x)[:, [1, 4, 0]] / 2
    wanted = 4 * (past.softmax(1) * (past.log_softmax(1) - now.log_softmax(1)[:, :2])).sum(1).mean()
    assert torch.allclose(found, wanted, atol=1e-5) and torch.isfinite(found)


# ---- runs


@pytest.fixture
def listed(release: Path, tmp_path: Path) -> Path:
    """The tiny release in a CSV file: box and cup_01, then cup_02."""
    rows = ["path,class_name,experience,split"]
    for experience, names in enumerate((("box_01", "cup_01"), ("cup_02",))):
        for split in ("train", "validation", "test"):
            for name in names:
                rows += [
                    f"{split}/clutter/segment1/{name}/{frame:03d}.jpg,{name},{experience},{split}" for frame in (0, 1)
                ]
    (tmp_path / "classes.csv").write_text(f"# root: {release}\n" + "\n".join(rows) + "\n")
    return tmp_path / "classes.csv"


@pytest.fixture
def suite(listed: Path, suite_on: Callable[..., Callable[..., Path]]) -> Callable[..., Path]:
    return suite_on(listed, head={"grow": True}, strategies=["naive"])


def test_a_run_with_them_is_reported_and_restored(
    suite: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cli("run", suite(), "--out", out, report=True).code == 0
    page = (out / "report" / "index.html").read_text("utf-8")
    assert "outputs of classes that no experience has shown so far are masked, in training and in testing" in page
    model = restore_run(read_run(next((out / "runs").iterdir())))
    assert isinstance(model, GrowingClassifier) and model.seen == [True] * 3


def test_a_checkpoint_knows_which_outputs_are_open(tmp_path: Path) -> None:
    model = next(learning("naive")).model
    write_checkpoint(model, tmp_path, frozen=True)
    fresh = GrowingClassifier(None, make_head(WIDTH, CLASSES, [8]), CLASSES)
    x = torch.randn(3, WIDTH)
    assert torch.equal(load_checkpoint(fresh, tmp_path, nn.Identity(), True)(x), model.eval()(x))


def test_what_cannot_have_them_is_refused_before_anything_is_read(
    suite: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    for name in sorted(REFUSED):
        for entry in ({"strategy": name}, {"stack": [name, "naive"]}):
            answer = cli("run", suite(strategies={"mine": entry}), "--out", tmp_path / "out")
            assert answer.code == 2 and "strategies.mine" in answer.err and "head.grow" in answer.err, answer.err
    answer = cli("run", suite(head={"grow": True, "per_task": True}), "--out", tmp_path / "out")
    assert answer.code == 2 and "exclude each other" in answer.err and len(answer.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_stream_that_has_all_classes_from_the_start_is_refused(
    suite: Callable[..., Path], listed: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    again = [line.replace("segment1", "segment2") for line in listed.read_text().splitlines() if "cup_02,1," in line]
    listed.write_text("\n".join([listed.read_text().replace("cup_02,1,", "cup_02,0,").rstrip(), *again]))
    answer = cli("run", suite(), "--out", tmp_path / "out")
    assert answer.code == 2 and "head.grow: needs classes that arrive" in answer.err, answer.err
