"""DNN reads an experience's images while it is trained on it, never before or after."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from avalanche.training import Naive
from small_models import SMALL
from tiny_stream import stream_of
from torch import nn
from torch.utils.data import Dataset

from lorisbench.data.stream import Store, make_stream
from lorisbench.runs.workbench import build, prepare
from lorisbench.strategies.dnn.network import Answer, DynamicNetwork
from lorisbench.strategies.dnn.strategy import DNNPlugin
from lorisbench.strategies.joint import JointPlugin
from lorisbench.suite.resolve import load_suite

ANSWERS = get_args(Answer)
WIDTH, CLASSES, SAMPLES, EXPERIENCES = 8, 3, 9, 4


class Stage:
    """Which experience may be read now; None for none."""

    now: int | None = None


class Guarded(Dataset):
    """Samples of one experience, which raise when they are touched while another is on."""

    def __init__(self, stage: Stage, experience: int) -> None:
        self.stage, self.experience = stage, experience
        self.targets = (torch.arange(SAMPLES) % CLASSES).tolist()
        generator = torch.Generator().manual_seed(experience)
        colours = torch.eye(CLASSES).roll(experience, dims=0)[self.targets]
        self.x = colours[:, :, None, None] + 0.1 * torch.randn(SAMPLES, 3, 4, 4, generator=generator)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if self.stage.now != self.experience:
            raise AssertionError(f"experience {self.experience} was read in {self.stage.now}")
        return self.x[index], self.targets[index]


def train_guarded(model: nn.Module, plugin: Any) -> Naive:
    stage = Stage()
    stream = stream_of([Guarded(stage, experience) for experience in range(EXPERIENCES)]).train_stream
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    strategy = Naive(model=model, optimizer=optimizer, train_mb_size=4, train_epochs=2, plugins=[plugin],
                     evaluator=None)  # fmt: skip
    for index, experience in enumerate(stream):
        stage.now = index
        strategy.train(experience)
    stage.now = None
    return strategy


def network(answer: str) -> DynamicNetwork:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return DynamicNetwork(backbone, lambda: nn.Linear(WIDTH, CLASSES), answer=answer)  # type: ignore[arg-type]


MODES: list[dict[str, Any]] = [
    {"expand_at": []},
    {"expand_below": 0.9},
    {"expand_below": 1.0, "head_init": "fresh"},
    {"expand_at": [1, 2], "distill_head": "worst"},
    {"expand_at": [1, 2], "distill_head": "newest", "distill_weight": 0.0},
]


@pytest.mark.parametrize(("answer", "settings"), zip(ANSWERS, itertools.cycle(MODES), strict=False))
def test_no_other_experience_is_read_in_a_bare_script(answer: str, settings: dict[str, Any]) -> None:
    plugin = DNNPlugin(**settings)
    strategy = train_guarded(network(answer), plugin)
    assert len(plugin.decisions) == EXPERIENCES and plugin.replay_samples == 0
    with torch.no_grad():  # nothing is left to be looked up when it answers either
        assert strategy.model.eval()(torch.randn(5, 3, 4, 4)).shape == (5, CLASSES)


def test_the_guard_notices_a_method_that_reads_earlier_images() -> None:
    with pytest.raises(AssertionError, match="experience 0 was read in 1"):
        train_guarded(nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES)), JointPlugin())


class GuardedInputs:
    """A store's inputs that raise where samples are asked for, by rows, that are not allowed now.

    Slices are not guarded: with them the harness turns all images into features once a backbone is frozen, which the
    method would otherwise do batch by batch.
    """

    def __init__(self, inputs: torch.Tensor, allowed: set[int]) -> None:
        self.inputs, self.allowed = inputs, allowed
        self.touched: set[int] = set()

    def __getitem__(self, index: Any) -> torch.Tensor:
        if not isinstance(index, slice):
            rows = set(torch.as_tensor(index).flatten().tolist())
            if not rows <= self.allowed:
                raise AssertionError(f"row {min(rows - self.allowed)} was read")
            self.touched |= rows
        return self.inputs[index]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def ndim(self) -> int:
        return self.inputs.ndim


class GuardedStore(Store):
    """A store whose inputs are guarded."""

    allowed: set[int]

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(key, GuardedInputs(value, self.allowed) if key == "x" else value)


@pytest.mark.parametrize(
    ("mode", "cache", "label", "settings"),
    [
        ("never", True, "dnn", {"expand_at": [1]}),
        ("never", False, "dnn", {"expand_at": "never"}),
        ("never", True, "dnn", {"expand_at": [2], "head_init": "fresh"}),
        ("always", True, "dnn", {"expand_at": [1], "answer": "mean"}),
        ("never", True, "joint", {}),
    ],
)
def test_no_other_experience_is_read_in_a_run(
    suite_file: Callable, mode: str, cache: bool, label: str, settings: dict[str, Any]
) -> None:
    backbone = {**SMALL, "train": mode, "cache": cache}
    training = {"epochs": 1, "batch_size": 6, "weight_decay": 0.01, "augment": {"views": 1, "experiences": "all"}}
    suite = load_suite(str(suite_file(backbone=backbone, strategies={label: settings}, training=training)))
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    allowed: set[int] = set()
    GuardedStore.allowed = allowed
    store = GuardedStore(bench.x, bench.y)
    strategy = build(bench, suite.runs[0], store)
    states: list[dict[str, torch.Tensor]] = []
    for index, experience in enumerate(make_stream(bench.manifest, store).train_stream[:3]):
        allowed.clear()
        allowed |= set(bench.manifest.rows("train", index).tolist())
        if label == "joint" and index == 1:
            with pytest.raises(AssertionError, match="was read"):
                strategy.train(experience, reset_optimizer_state=True)
            return
        strategy.train(experience, reset_optimizer_state=True)
        assert store.x.touched >= allowed
        states.append(copy.deepcopy(strategy.model.state_dict()))
    # and what is frozen stays bit for bit, batch-norm statistics and weight decay notwithstanding
    trained = [row["head"] for row in next(p.decisions for p in strategy.plugins if isinstance(p, DNNPlugin))]
    for index in range(1, 3):
        before, after = states[index - 1], states[index]
        for key in before:
            if key.startswith("backbone.") or (key.startswith("heads.") and int(key.split(".")[1]) != trained[index]):
                assert torch.equal(before[key], after[key]), (index, key)
        assert not torch.equal(after[f"heads.{trained[index]}.weight"], states[0]["heads.0.weight"])
