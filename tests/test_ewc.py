"""EWC's mathematics: Fisher information against closed forms and plain loops, merged against separate penalties."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strategies import gradients
from strategies.ewc import EWCPlugin, fisher_diagonal


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def data_of(x, y, size):
    return zip(x.split(size), y.split(size), strict=True)


def loop_fisher(model, x, y, kind):
    """One backward pass a sample and class."""
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    total = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    for sample, label in zip(x, y, strict=True):
        p = model(sample[None]).softmax(1)[0].detach()
        labels = range(len(p)) if kind == "exact" else [int(label)]
        for k in labels:
            model.zero_grad()
            model(sample[None]).log_softmax(1)[0, k].backward()
            for name in names:
                share = p[k] if kind == "exact" else 1.0
                total[name] += share * model.get_parameter(name).grad ** 2
    return {n: value / len(x) for n, value in total.items()}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 12), st.sampled_from([0.1, 1.0, 5.0]))
def test_exact_fisher_of_a_linear_head_is_the_closed_form(seed, batch, samples, scale):
    torch.manual_seed(seed)
    model, x = nn.Linear(4, 3), torch.randn(samples, 4) * scale
    y = torch.randint(3, (samples,))
    p = model(x).softmax(1).detach()
    closed = torch.einsum("nk,nj->kj", p * (1 - p), x**2) / samples
    # the general way as well as the shortcut for a last layer
    for network, name in ((model, "weight"), (nn.Sequential(model, nn.Identity(), nn.Flatten()), "0.weight")):
        found = fisher_diagonal(network, data_of(x, y, batch), "exact")
        assert torch.allclose(found[name], closed, rtol=1e-4, atol=1e-7)
    assert torch.allclose(found["0.bias"], (p * (1 - p)).mean(0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["exact", "empirical"])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_fisher_equals_a_loop_over_samples(kind, last_only, chunk_bytes, monkeypatch):
    monkeypatch.setattr(gradients, "_CHUNK_BYTES", chunk_bytes)
    model = make_model().eval()
    if last_only:
        model[:2].requires_grad_(False)
    x, y = torch.randn(11, 6), torch.randint(3, (11,))
    expected = loop_fisher(model, x, y, kind)
    for batch in (1, 4, 11):
        found = fisher_diagonal(model, data_of(x, y, batch), kind)
        assert found.keys() == expected.keys()
        for name in found:
            assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-7), name


def test_fisher_moves_no_statistics_and_restores_each_mode():
    model = make_model().train()
    model[0].eval()
    before = copy.deepcopy(model.state_dict())
    fisher_diagonal(model, data_of(torch.randn(9, 6), torch.zeros(9, dtype=torch.int64), 9), "exact")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [m.training for m in model] == [False, True, True]
    assert all(p.grad is None for p in model.parameters())


def test_fisher_without_samples_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        fisher_diagonal(make_model(), iter([]), "exact")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_merged_penalty_has_the_gradient_of_separate_ones(seed, experiences):
    torch.manual_seed(seed)
    model, plugin = nn.Linear(5, 2).double(), EWCPlugin(1.0)
    past = []
    for _ in range(experiences):
        fisher = {n: torch.rand_like(p) * (torch.rand_like(p) > 0.3) for n, p in model.named_parameters()}
        anchor = {n: torch.randn_like(p) for n, p in model.named_parameters()}
        past.append((fisher, anchor))
        for name in fisher:
            plugin._merge(name, fisher[name].detach(), anchor[name].detach())
    plugin.penalty(model).backward()
    for name, parameter in model.named_parameters():
        separate = sum(fisher[name] * (parameter.detach() - anchor[name]) for fisher, anchor in past)
        assert torch.allclose(parameter.grad, separate, rtol=1e-9, atol=1e-12)
