"""What training costs: operations against closed forms, every step against a few of them, and nothing else changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from built_in import BUILT_IN
from small_runs import CLASSES, EXPERIENCES, SIZE, TRAINING, WIDTH, backbone, bench, run
from torch import nn
from torch.nn.modules import module
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.flop_counter import FlopCounterMode

from lorisbench.engine.flops import FlopCount, forward_flops
from lorisbench.engine.meter import Meter, _Kind, alike, current
from lorisbench.runs.memory import PeakMemory
from lorisbench.runs.running import feature_flops
from lorisbench.strategies.naive import Naive
from lorisbench.suite.config import NO_BACKBONE
from lorisbench.suite.training import AugmentConfig

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES, EPOCHS = 25, 2
LAYER = 2 * WIDTH * CLASSES  # operations of the head for a sample, in the forward pass
OTHERS: dict[str, Any] = {
    "replay epoch": {"strategy": "replay", "memory": 30, "replay_batch": "epoch"},
    "dnn distils": {"strategy": "dnn", "expand_at": "never", "answer": "confidence"},
    "dgr": {"strategy": "dgr", "generator_epochs": 40, "hidden": 8, "latent": 2},
    "ranpac": {"strategy": "ranpac", "projection": 30},
    "gem": {"strategy": "gem", "memory": 30},
}


def journal(entry: Any, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    return run(bench(entry, **settings), folder).entries()


def of(entries: list[dict[str, Any]], key: str) -> list[Any]:
    return [entry[key] for entry in entries]


def test_a_linear_head_costs_what_its_closed_form_says(tmp_path: Path) -> None:
    entries = journal("naive", tmp_path)
    shown = IMAGES * EPOCHS
    assert of(entries, "train_steps") == [3 * EPOCHS] * EXPERIENCES  # 8, 8 and, with the last one of its own, 9
    assert of(entries, "train_samples") == [shown] * EXPERIENCES
    assert of(entries, "train_flops") == [2 * LAYER * shown] * EXPERIENCES  # forward, and backward for the weights


def test_what_methods_do_besides_is_counted(tmp_path: Path) -> None:
    costs = {name: journal(OTHERS.get(name, name), tmp_path / name) for name in ("lwf", "ewc", "replay", "der", "gem")}
    step, shown = 2 * LAYER, IMAGES * EPOCHS
    # a teacher's forward pass; a forward pass and a product of the Fisher information, after each experience
    assert of(costs["lwf"], "train_flops") == [step * shown, *[(step + LAYER) * shown] * 2]
    assert of(costs["ewc"], "train_flops") == [step * shown + 2 * LAYER * IMAGES] * 3
    assert of(costs["lwf"], "train_samples") == of(costs["ewc"], "train_samples") == [shown] * 3
    # each step of replay also has 25 or 32 samples from memory
    assert of(costs["replay"], "train_samples") == [shown, shown + 6 * 25, shown + 6 * 32]
    # the memory has 8, 16, ... samples after each step; later ones draw 32 of it
    assert of(costs["der"], "train_samples")[1:] == [shown + 6 * 32] * 2
    assert of(costs["gem"], "train_samples") == [shown, shown + 6 * 10, shown + 6 * 20]
    for name in ("replay", "der"):
        assert of(costs[name], "train_flops") == [step * samples for samples in of(costs[name], "train_samples")], name


def test_a_closed_form_has_samples_and_operations_but_no_steps(tmp_path: Path) -> None:
    entries = journal("slda", tmp_path)
    assert of(entries, "train_steps") == [0] * 3 and of(entries, "train_samples") == [IMAGES] * 3
    assert min(of(entries, "train_flops")) > IMAGES * WIDTH**2  # the covariance alone


def test_features_are_apart_unless_the_backbone_runs_in_each_step(tmp_path: Path) -> None:
    images = {"image_size": SIZE, "name": "pixels"}
    conv = 2 * 3 * 9 * (WIDTH // 4) * SIZE**2  # of a forward pass over an image
    assert forward_flops(backbone(), SIZE) == conv
    modes = {train: journal("naive", tmp_path / train, backbone={**images, "train": train}) for train in ("first",)}
    modes["always"] = journal("naive", tmp_path / "always", backbone={**images, "train": "always"})
    modes["frozen"] = journal("naive", tmp_path / "frozen", backbone={**images, "cache": False})
    modes["never"] = journal("naive", tmp_path / "never")
    assert of(modes["never"], "feature_flops") == [IMAGES * conv] * 3
    assert of(modes["first"], "feature_flops") == [IMAGES * conv] * 3
    assert of(modes["always"], "feature_flops") == of(modes["frozen"], "feature_flops") == [0] * 3
    shown = IMAGES * EPOCHS
    # frozen: forward; trained: also backward for the weights, and for the inputs of the head
    assert of(modes["frozen"], "train_flops") == [(2 * LAYER + conv) * shown] * 3
    assert of(modes["always"], "train_flops") == [(3 * LAYER + 2 * conv) * shown] * 3
    # the backbone is trained with a head that is thrown away, before a strategy learns on its features
    backbone_and_head, head = (3 * LAYER + 2 * conv) * shown, 2 * LAYER * shown
    assert of(modes["first"], "train_flops") == [backbone_and_head + head, head, head]
    assert of(modes["first"], "train_samples") == [2 * shown, shown, shown]


@pytest.mark.parametrize(("experiences", "passes"), [("first", [3, 1]), ("all", [3, 3])])
def test_augmented_versions_are_features_too(experiences: Any, passes: list[int]) -> None:
    made, augment = bench("naive"), AugmentConfig(views=2, experiences=experiences)
    once = IMAGES * forward_flops(made.backbone, SIZE)
    found = [feature_flops(made, augment, index, IMAGES)["feature_flops"] for index in range(2)]
    assert once and found == [times * once for times in passes]
    given = made.config.model_copy(update={"backbone": NO_BACKBONE})
    assert feature_flops(replace(made, config=given), None, 0, IMAGES) == {}


LIGHT = ("der++", "agem", "replay epoch", "dnn distils", "dgr")


@pytest.mark.parametrize(
    "name",
    [
        *LIGHT,
        *(
            pytest.param(name, marks=pytest.mark.heavy)
            for name in sorted({*BUILT_IN, *OTHERS} - {*LIGHT, "avalanche", "stack", "klda"})
        ),
    ],
)
def test_counting_a_few_steps_comes_to_the_same_as_counting_all(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {**TRAINING, "epochs": 12, "reset_optimizer": True}
    some = journal(OTHERS.get(name, name), tmp_path / "some", training=training)

    def every(self: _Kind, often: bool = False) -> bool:
        counted.append(1)
        return True

    counted: list[int] = []
    monkeypatch.setattr(_Kind, "counts_next", every)
    whole = journal(OTHERS.get(name, name), tmp_path / "whole", training=training)
    assert counted
    for key in ("train_flops", "train_samples"):
        assert sum(of(some, key)) == pytest.approx(sum(of(whole, key)), rel=0.02), key
    assert of(some, "accuracy") == of(whole, "accuracy")


def test_counting_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(folder: str) -> list[Any]:
        directory = run(bench(OTHERS["dgr"]), tmp_path / folder)
        return [directory.predictions()[0].tobytes(), (directory.path / "checkpoint/model.safetensors").read_bytes()]

    counted = trained("counted")
    monkeypatch.setattr(Meter, "switch", lambda self, on: False)
    monkeypatch.setattr("lorisbench.engine.engine.metered", lambda strategy, loader: loader)
    assert trained("not") == counted


def test_convolutions_and_attention_are_counted_as_torch_does() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.Flatten(),
        nn.Linear(8 * 9, 5),
    )  # fmt: skip
    x = torch.randn(2, 3, 8, 8)
    with FlopCounterMode(display=False) as theirs:
        network(x).sum().backward()
    with FlopCount() as ours:
        network(x).sum().backward()
    assert ours.total == theirs.get_total_flops() > 0
    with torch.inference_mode(), FlopCount() as inference:  # where a linear layer comes as one operation
        network(x)
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        network(x)
    assert inference.total == forward.get_total_flops()
    q = torch.randn(1, 2, 5, 4, requires_grad=True)  # two heads, five tokens, width 4
    with FlopCount() as attention:
        nn.functional.scaled_dot_product_attention(q, q, q).sum().backward()
    assert attention.total == (2 + 5) * 2 * 2 * 5 * 5 * 4  # matrix products: two forward, five backward


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_grouped_convolution_takes_as_much_for_each_gradient_as_forward(kind: Any, groups: int) -> None:
    layer, x = kind(8, 8, 3, groups=groups, stride=2), torch.randn(2, 8, 9, 9, requires_grad=True)
    places = 2 * 9 * 9 if kind is nn.ConvTranspose2d else 2 * 4 * 4
    forward = 2 * places * 3 * 3 * 8 * 8 // groups
    for given, passes in ((x, 3), (x.detach(), 2)):
        with FlopCount() as count:
            layer(given).sum().backward()
        assert count.total == passes * forward


TOKENS, WIDE, INNER = 9, 16, 32
ATTENTION = 4 * TOKENS * WIDE * WIDE + 2 * TOKENS * TOKENS * WIDE
ENCODER = nn.TransformerEncoderLayer(WIDE, 4, INNER, batch_first=True)


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (nn.MultiheadAttention(WIDE, 4, batch_first=True), 3 * [(2, TOKENS, WIDE)], 2 * ATTENTION),
        (ENCODER, [(2, TOKENS, WIDE)], 2 * (ATTENTION + 2 * TOKENS * WIDE * INNER)),
        (nn.TransformerEncoder(ENCODER, 2), [(1, TOKENS, WIDE)], 2 * (ATTENTION + 2 * TOKENS * WIDE * INNER)),
        (nn.LSTM(5, 7, num_layers=2, bidirectional=True), [(3, 2, 5)], 3 * 2 * 4 * 7 * 2 * (5 + 7 + 14 + 7)),
        (nn.GRU(5, 7), [(3, 2, 5)], 3 * 2 * 3 * 7 * (5 + 7)),
        (nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)], 2 * 3 * 4 * 5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers_that_are_one_operation_count_as_their_parts(
    layer: nn.Module, inputs: list[tuple[int, ...]], expected: int
) -> None:
    tensors = {shape: torch.zeros(shape) for shape in inputs}  # one for all three of attention, or it is in parts
    given = [tensors[shape] for shape in inputs]
    for mode in (torch.inference_mode, torch.enable_grad):  # in the latter some of them are several operations
        with mode(), FlopCount() as count:
            layer.eval()(*given)
        assert count.total == 2 * expected


N, K = 6, 2
SYMMETRIC = torch.eye(N, dtype=torch.double) * 9 + 1
SIDES = torch.ones(N, K, dtype=torch.double)


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: torch.linalg.cholesky(SYMMETRIC), N**3 / 3),
        (lambda: torch.cholesky_solve(SIDES, SYMMETRIC), 2 * N**2 * K),
        (lambda: torch.linalg.solve(SYMMETRIC, SIDES), 2 * N**3 / 3 + 2 * N**2 * K),
        (lambda: torch.linalg.solve(SYMMETRIC, SIDES[:, 0]), 2 * N**3 / 3 + 2 * N**2),
        (lambda: torch.linalg.solve_triangular(SYMMETRIC, SIDES, upper=True), N**2 * K),
        (lambda: torch.linalg.inv(SYMMETRIC.expand(3, N, N)), 3 * 2 * N**3),
        (lambda: torch.linalg.eigh(SYMMETRIC), 9 * N**3),
        (lambda: torch.linalg.svd(SIDES, full_matrices=False), 14 * N * K**2 + 8 * K**3),
        (lambda: SYMMETRIC @ SIDES[:, 0], 2 * N**2),
        (lambda: torch.zeros(N, K, dtype=torch.double).addmm_(SYMMETRIC, SIDES), 2 * N**2 * K),
        (lambda: SIDES[:, 0] @ SIDES[:, 1], 2 * N),
        (lambda: torch.cdist(SIDES, SIDES), 3 * N * N * K),
        (lambda: nn.functional.embedding_bag(torch.arange(N).repeat(N, 1), SIDES, mode="sum"), N * N * K),
        (
            lambda: nn.functional.embedding_bag(
                torch.arange(N).repeat(N, 1), SIDES, mode="sum", per_sample_weights=SYMMETRIC
            ),
            2 * N * N * K,
        ),
        (lambda: torch.relu(SYMMETRIC).exp(), 0),
    ],
)
def test_linear_algebra_counts_as_textbooks_do(work: Callable[[], Any], expected: float) -> None:
    with FlopCount() as count:
        work()
    assert count.total == round(expected)


class Busy(SupervisedPlugin):
    """Multiplies in a loop of its own, and copies the model in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.copy: Any = None

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.copy = copy.deepcopy(strategy.model)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        for part in alike(torch.ones(40, 4).split(3)):  # 13 of three rows, and one of one
            part @ torch.ones(4, 5)
            for inner in alike(torch.ones(6, 4).split(3)):
                inner @ torch.ones(4, 5)


def test_a_loop_of_a_plugin_and_loops_within_are_multiplied(tmp_path: Path) -> None:
    entry = with_plugin(bench("naive"), tmp_path, Busy())[0]
    assert entry["train_flops"] - 2 * LAYER * IMAGES * EPOCHS == 2 * 4 * 5 * (40 + 14 * 6)
    assert current() is None


def with_plugin(made: Any, folder: Path, plugin: Any) -> list[dict[str, Any]]:
    """The journal of a run with one plugin more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Naive, "plugins", lambda self, context: [plugin])
        return run(made, folder).entries()


class Failing(SupervisedPlugin):
    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        raise RuntimeError("no more")


def test_a_run_that_fails_in_a_step_leaves_nothing_that_counts(tmp_path: Path) -> None:
    with_plugin(bench("naive"), tmp_path, Failing())
    assert current() is None and _get_current_dispatch_mode() is None and not module._global_forward_pre_hooks


class Hungry(SupervisedPlugin):
    """Takes 200 MB for a moment, in the second experience."""

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter == 1:
            torch.ones(50_000_000)


@pytest.mark.skipif(PeakMemory(torch.device("cpu")).megabytes() is None, reason="the system does not tell")
def test_peak_memory_is_that_of_an_experience(tmp_path: Path) -> None:
    first, second, third = of(with_plugin(bench("naive"), tmp_path, Hungry()), "peak_memory_mb")
    assert second > first + 150 and third < second - 150


def test_without_a_peak_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorisbench.runs.memory._RESET", tmp_path / "none" / "clear_refs")
    assert PeakMemory(torch.device("cpu")).megabytes() is None
