"""Memory Aware Synapses: the importance against autograd sample by sample, and that it holds the weights."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_stream import Spy, head, mlp, movement, pairs, samples, train, weights
from torch import nn

from lorisbench.strategies.mas import MAS, MASPlugin, output_sensitivity
from lorisbench.strategies.parts import gradients


def loop_sensitivity(model, x):
    """One backward pass a sample."""
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    total = {n: torch.zeros_like(p) for n, p in parameters.items()}
    for sample in x:
        found = torch.autograd.grad(model(sample[None]).square().sum(), list(parameters.values()))
        for name, value in zip(parameters, found, strict=True):
            total[name] += value.abs()
    return {n: value / len(x) for n, value in total.items()}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 12), st.sampled_from([0.1, 1.0, 5.0]))
def test_importance_of_a_linear_head_is_the_closed_form(seed, batch, count, scale):
    torch.manual_seed(seed)
    layer, x, y = nn.Linear(4, 3), torch.randn(count, 4) * scale, torch.zeros(count, dtype=torch.int64)
    f = layer(x).detach()
    closed = 2 * torch.einsum("nk,nj->kj", f.abs(), x.abs()) / count
    # the general way as well as the shortcut for a last layer
    for network, name in ((layer, ""), (nn.Sequential(layer, nn.Identity(), nn.Flatten()), "0.")):
        found = output_sensitivity(network, pairs(x, y, batch))
        assert torch.allclose(found[f"{name}weight"], closed, rtol=1e-4, atol=1e-6)
        assert torch.allclose(found[f"{name}bias"], 2 * f.abs().mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("frozen", [[], [0, 1], [1]], ids=["all", "last layer", "linear layers"])
@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_importance_equals_a_loop_over_samples(frozen, chunk_bytes, monkeypatch):
    monkeypatch.setattr(gradients, "_CHUNK_BYTES", chunk_bytes)
    model = mlp(norm=True).eval()
    for index in frozen:
        model[index].requires_grad_(False)
    x, y = samples(1, 11)
    expected = loop_sensitivity(model, x)
    for batch in (1, 4, 11):
        found = output_sensitivity(model, pairs(x, y, batch))
        assert found.keys() == expected.keys()
        for name in found:
            assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-6), name


def test_looking_moves_no_statistics_and_restores_each_mode():
    model = mlp(norm=True).train()
    model[0].eval()
    before = copy.deepcopy(model.state_dict())
    output_sensitivity(model, pairs(*samples(0, 9), 9))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [m.training for m in model] == [False, True, True]
    assert all(p.grad is None for p in model.parameters())


def test_importance_adds_up_over_experiences_and_weights_are_held_where_they_are_now():
    plugin, each = MASPlugin(0.1), []
    spy = Spy(after_training_exp=lambda s: each.append(loop_sensitivity(s.model, samples(len(each))[0])))
    strategy = train([plugin, spy])
    assert len(each) == 3
    for name, value in plugin.importance.items():
        assert torch.allclose(value, sum(one[name] for one in each), rtol=1e-4, atol=1e-5)
        assert torch.equal(plugin.centre[name], strategy.model.get_parameter(name))


def test_the_penalty_is_lambda_omega_distance_squared():
    plugin = MASPlugin(3.0)
    strategy = train([plugin], experiences=1)
    with torch.no_grad():
        strategy.model[2].bias += 0.5
    expected = 3.0 * 0.25 * plugin.importance["2.bias"].sum()
    assert torch.isclose(plugin.strength * plugin.penalty(strategy.model), expected, rtol=1e-5)


def test_lambda_zero_is_naive_bit_for_bit_and_a_positive_one_is_not():
    naive = weights(train([]))
    assert torch.equal(weights(train([MASPlugin(0.0)])), naive)
    assert not torch.equal(weights(train([MASPlugin(0.1)])), naive)


def test_a_large_lambda_stops_the_weights():
    free, held = (movement(lambda c=c: [MASPlugin(c)], model=head(), lr=1e-3, epochs=10) for c in (0.0, 200.0))
    assert held < 0.25 * free


def test_bad_settings_are_refused():
    with pytest.raises(ValidationError, match="mas_lambda"):
        MAS(mas_lambda=-1)
