"""Joint, EWC and LwF in bare Avalanche scripts: what each adds to fine-tuning, and what it leaves alone."""

from __future__ import annotations

import copy
import functools
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_stream
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_stream import Spy, mlp, stream, weights
from torch import nn
from torch.nn import functional as F

from lorisbench.common.registry import STRATEGIES
from lorisbench.strategies import ewc
from lorisbench.strategies.ewc import EWC, EWCPlugin
from lorisbench.strategies.joint import JointPlugin
from lorisbench.strategies.lwf import LwF, LwFPlugin
from lorisbench.strategies.parts.data import batches
from lorisbench.strategies.parts.distillation import distillation

train = functools.partial(tiny_stream.train, count=40)


# ---------------------------------------------------------------- data


def test_batches_come_in_order_and_leave_the_random_state_alone():
    strategy = train([], experiences=1, epochs=1)
    dataset = stream(1, 40).train_stream[0].dataset
    before = torch.get_rng_state()
    found = list(batches(strategy, dataset, 16))
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(x) for x, _ in found] == [16, 16, 8]
    assert torch.equal(torch.cat([x for x, _ in found]), torch.stack([dataset[i][0] for i in range(40)]))
    assert torch.cat([y for _, y in found]).tolist() == [dataset[i][1] for i in range(40)]


def test_batches_prefers_the_engines_own():
    class Engine:
        def batches(self, dataset, batch_size):
            yield dataset, batch_size

    assert list(batches(Engine(), "data", 7)) == [("data", 7)]


# ---------------------------------------------------------------- joint


def test_joint_trains_from_the_initial_weights_on_everything_seen():
    sizes, starts, held = [], [], []
    plugin = JointPlugin()
    spy = Spy(
        before_training_exp=lambda s: (sizes.append(len(s.adapted_dataset)), starts.append(weights(s).clone())),
        after_training_exp=lambda s: held.append(plugin.replay_samples),
    )
    model = mlp()
    initial = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    strategy = train([plugin, spy], model)
    assert sizes == [40, 80, 120]
    assert held == [0, 40, 80]
    assert all(torch.equal(start, initial) for start in starts)
    assert not torch.equal(weights(strategy), initial)


def test_joint_keeps_sample_attributes():
    seen = []
    train([JointPlugin(), Spy(before_training_exp=lambda s: seen.append(list(s.adapted_dataset.targets)))])
    expected = [list(e.dataset.targets) for e in stream(3, 40).train_stream]
    assert seen[2] == expected[0] + expected[1] + expected[2]


def test_joint_resets_batch_norm_but_no_layer_frozen_meanwhile():
    model = mlp(norm=True)
    means, layers = [], []

    def look(s):
        means.append(s.model[1].running_mean.clone())
        layers.append(s.model[0].weight.clone())

    def freeze(s):
        s.model[0].requires_grad_(False)
        layers.append(s.model[0].weight.clone())

    train([JointPlugin(), Spy(before_training_exp=look, after_training_exp=freeze)], model, experiences=2)
    assert all(torch.equal(mean, torch.zeros(8)) for mean in means)
    initial, trained, *later = layers
    assert not torch.equal(initial, trained)
    assert all(torch.equal(layer, trained) for layer in later)


# ---------------------------------------------------------------- EWC


def test_penalty_is_half_lambda_fisher_distance_squared():
    plugin = EWCPlugin(1.0)
    losses, extra = [], []
    spy = Spy(
        before_backward=lambda s: losses.append(s.loss.item()),
        after_backward=lambda s: extra.append(s.loss.item() - losses[-1]),
    )
    strategy = train([spy, plugin], experiences=1)
    assert extra == [0.0] * len(extra)
    with torch.no_grad():
        strategy.model[2].bias += 0.5
    expected = 0.5 * 0.25 * plugin.importance["2.bias"].sum()
    assert torch.isclose(plugin.penalty(strategy.model), expected, rtol=1e-5)


def test_ewc_with_lambda_zero_is_naive_bit_for_bit_and_positive_lambda_is_not():
    naive = weights(train([]))
    assert torch.equal(weights(train([EWCPlugin(0.0)])), naive)
    assert not torch.equal(weights(train([EWCPlugin(1.0)])), naive)


def test_ewc_with_huge_lambda_freezes_the_weights():
    moved = []
    for ewc_lambda in (0.0, 1000.0):
        marks = []
        spy = Spy(after_training_exp=lambda s, marks=marks: marks.append(weights(s).clone()))
        torch.manual_seed(0)
        # learning rate x lambda x importance stays below 2: the springs are stiff, the steps stable
        train([EWCPlugin(ewc_lambda), spy], nn.Linear(6, 3), lr=1e-3, epochs=10, experiences=2)
        moved.append((marks[1] - marks[0]).norm())
    assert moved[1] < 0.1 * moved[0]


def test_frozen_parameters_hold_no_memory_and_later_freezing_frees_it():
    model = mlp()
    model[0].requires_grad_(False)
    plugin = EWCPlugin(1.0)
    train([plugin], model)
    assert set(plugin.importance) == set(plugin.centre) == {"2.weight", "2.bias"}

    plugin = EWCPlugin(1.0)
    freeze = Spy(after_training_exp=lambda s: s.model[0].requires_grad_(False))
    train([plugin, freeze], mlp(), experiences=2)
    assert set(plugin.importance) == set(plugin.centre) == {"2.weight", "2.bias"}


def test_fisher_samples_bounds_the_samples(monkeypatch):
    counts = []

    def spy(model, data, kind):
        counts.append(sum(len(x) for x, _ in data))
        return {n: torch.zeros_like(p) for n, p in model.named_parameters()}

    monkeypatch.setattr(ewc, "fisher_diagonal", spy)
    for limit in (7, 1000, None):
        train([EWCPlugin(1.0, fisher_samples=limit)], experiences=1, epochs=1)
    assert counts == [7, 40, 40]


# ---------------------------------------------------------------- LwF


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(2, 5), st.floats(0.5, 5))
def test_distillation_equals_a_computation_by_hand(seed, batch, classes, temperature):
    torch.manual_seed(seed)
    student, teacher = torch.randn(batch, classes).double() * 3, torch.randn(batch, classes).double() * 3
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        p, q = (t / temperature).softmax(0), (s / temperature).softmax(0)
        expected += sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True))
    found = distillation(student, teacher, temperature)
    assert found.item() == pytest.approx(temperature**2 * expected / batch, rel=1e-9, abs=1e-12)


def test_lwf_with_alpha_zero_is_naive_bit_for_bit_and_positive_alpha_is_not():
    naive = weights(train([]))
    assert torch.equal(weights(train([LwFPlugin(0.0, 2.0)])), naive)
    assert not torch.equal(weights(train([LwFPlugin(1.0, 2.0)])), naive)


def test_lwf_adds_alpha_times_the_distance_to_the_model_before():
    plugin, after_first, pairs = LwFPlugin(3.0, 2.0), [], []

    def compare(s):
        if after_first:
            plain = F.cross_entropy(s.mb_output, s.mb_y)
            loss = plain + 3.0 * distillation(s.mb_output, after_first[0](s.mb_x), 2.0)
            pairs.append((s.loss.item(), loss.item()))

    spy = Spy(
        after_backward=compare,
        after_training_exp=lambda s: after_first.append(copy.deepcopy(s.model).eval()),
    )
    train([plugin, spy], mlp(norm=True), experiences=2)
    assert pairs and all(found == pytest.approx(expected, rel=1e-5) for found, expected in pairs)


def test_lwf_with_large_alpha_keeps_predictions():
    x = torch.stack([item[0] for item in stream(3, 40).train_stream[1].dataset])
    change = {}
    for alpha in (0.0, 100.0):
        outputs = []
        spy = Spy(after_training_exp=lambda s, out=outputs: out.append(s.model(x).softmax(1).detach()))
        train([LwFPlugin(alpha, 2.0), spy], lr=0.002, epochs=20, experiences=2)
        change[alpha] = (outputs[1] - outputs[0]).abs().max()
    assert change[100.0] < 0.2 * change[0.0]


def test_lwf_teacher_is_still_and_shares_what_is_frozen():
    model, plugin, states = mlp(norm=True), LwFPlugin(1.0, 2.0), []
    model[0].requires_grad_(False)

    def look(s):
        if plugin.teacher is not None:
            assert not any(m.training for m in plugin.teacher.modules())
            assert not any(p.requires_grad for p in plugin.teacher.parameters())
            states.append({key: value.clone() for key, value in plugin.teacher.state_dict().items()})

    train([plugin, Spy(after_update=look)], model, experiences=2)
    assert len(states) > 1
    assert all(torch.equal(states[0][key], states[-1][key]) for key in states[0])
    assert plugin.teacher[0].weight is model[0].weight
    assert plugin.teacher[2].weight is not model[2].weight
    assert plugin.teacher[1].running_mean is not model[1].running_mean
    assert model[2].weight.requires_grad


def test_lwf_is_short_enough_to_be_the_example():
    source = Path(inspect.getfile(STRATEGIES.get("lwf")))
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 60


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (EWC, {"ewc_lambda": -1}),
        (EWC, {"ewc_lambda": float("nan")}),
        (EWC, {"fisher": "exakt"}),
        (EWC, {"fisher_samples": 0}),
        (LwF, {"alpha": -0.1}),
        (LwF, {"temperature": 0}),
    ],
)
def test_bad_settings_are_refused_by_name(kind, bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        kind(**bad)


@pytest.mark.parametrize("name", ["joint", "ewc", "lwf"])
def test_strategies_are_registered_and_make_fresh_plugins(name):
    config = STRATEGIES.get(name)()
    context = SimpleNamespace(rows="all", experiences=2)
    assert config.plugins(context)[0] is not config.plugins(context)[0]
    assert STRATEGIES.entries()[name].summary
