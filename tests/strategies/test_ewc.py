"""EWC's mathematics: Fisher information against closed forms and plain loops, merged against separate penalties."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_stream import head, movement, train, weights
from torch import nn

from lorisbench.strategies.ewc import EWC, EWCPlugin, fisher_diagonal
from lorisbench.strategies.parts import gradients


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
        labels = range(len(p)) if kind == "exact" else [int(label)]  # of `empirical` and `label`
        for k in labels:
            model.zero_grad()
            model(sample[None]).log_softmax(1)[0, k].backward()
            for name in names:
                share = 1.0 if kind == "empirical" else p[k]
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


@pytest.mark.parametrize("kind", ["exact", "empirical", "label"])
@pytest.mark.parametrize("frozen", [[], [0, 1], [1]], ids=["all", "last layer", "linear layers"])
@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_fisher_equals_a_loop_over_samples(kind, frozen, chunk_bytes, monkeypatch):
    monkeypatch.setattr(gradients, "_CHUNK_BYTES", chunk_bytes)
    model = make_model().eval()
    for index in frozen:
        model[index].requires_grad_(False)
    x, y = torch.randn(11, 6), torch.randint(3, (11,))
    expected = loop_fisher(model, x, y, kind)
    for batch in (1, 4, 11):
        found = fisher_diagonal(model, data_of(x, y, batch), kind)
        assert found.keys() == expected.keys()
        for name in found:
            assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-7), name


class Twice(nn.Module):
    """A linear layer that is passed through twice, or over a sequence."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.layer, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        if self.way == "twice":
            return self.last(self.layer(self.layer(x).tanh()))
        return self.last(self.layer(torch.stack([x, -x], dim=1)).relu().sum(dim=1))


def tied():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3)),
        lambda: nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 3)),
        lambda: Twice("twice"),
        lambda: Twice("sequence"),
        tied,
    ],
    ids=["in place", "no bias", "twice", "sequence", "tied"],
)
def test_fisher_of_linear_layers_however_they_are_used_equals_a_loop(make):
    torch.manual_seed(0)
    model, x, y = make().eval(), torch.randn(9, 6), torch.randint(3, (9,))
    expected = loop_fisher(model, x, y, "exact")
    found = fisher_diagonal(model, data_of(x, y, 4), "exact")
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
    for kind in ("exact", "batch"):
        with pytest.raises(ValueError, match="at least one sample"):
            fisher_diagonal(make_model(), iter([]), kind)


def test_batch_fisher_is_the_mean_square_of_the_gradients_of_batch_means():
    model = make_model().train()
    before = copy.deepcopy(model.state_dict())
    x, y = torch.randn(11, 6), torch.randint(3, (11,))
    found = fisher_diagonal(model, data_of(x, y, 4), "batch")
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model.eval()
    for name, parameter in model.named_parameters():
        squares = []
        for some_x, some_y in data_of(x, y, 4):
            loss = nn.functional.cross_entropy(model(some_x), some_y)
            squares.append(torch.autograd.grad(loss, parameter)[0] ** 2)
        assert len(squares) == 3
        assert torch.allclose(found[name], sum(squares) / 3, rtol=1e-4, atol=1e-8), name
    one_each = fisher_diagonal(model, data_of(x, y, 1), "batch")
    empirical = fisher_diagonal(model, data_of(x, y, 4), "empirical")
    assert all(torch.allclose(one_each[name], empirical[name], rtol=1e-4, atol=1e-7) for name in empirical)


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


# ---------------------------------------------------------------- online


def test_online_with_one_experience_behind_it_is_separate_and_with_two_is_not():
    separate, online = (
        [weights(train([EWCPlugin(5.0, gamma=gamma)], experiences=count)) for count in (2, 3)] for gamma in (None, 0.5)
    )
    assert torch.equal(separate[0], online[0])
    assert not torch.allclose(separate[1], online[1], atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0, 1))
def test_online_importance_decays_and_is_anchored_at_the_last_weights(seed, experiences, gamma):
    torch.manual_seed(seed)
    plugin, past = EWCPlugin(1.0, gamma=gamma), []
    for _ in range(experiences):
        past.append((torch.rand(5), torch.randn(5)))
        plugin._merge("w", *past[-1])
    expected = sum(gamma**age * fisher for age, (fisher, _) in enumerate(reversed(past)))
    assert torch.allclose(plugin.importance["w"], expected, rtol=1e-5)
    assert torch.equal(plugin.centre["w"], past[-1][1])


@pytest.mark.parametrize(("mode", "gamma"), [("separate", None), ("online", None), ("online", 0.3)])
def test_modes_reach_the_plugin(mode, gamma):
    expected = {"separate": None, "online": 1.0 if gamma is None else gamma}[mode]
    assert EWC(mode=mode, gamma=gamma).plugins(None)[0].gamma == expected


def test_the_batch_size_of_the_estimate_is_the_training_one_unless_given(monkeypatch):
    sizes = []

    def spy(model, data, kind):
        sizes.append([len(x) for x, _ in data])
        return {n: torch.zeros_like(p) for n, p in model.named_parameters()}

    monkeypatch.setattr("lorisbench.strategies.ewc.fisher_diagonal", spy)
    for size in (None, 20):
        train(EWC(fisher="batch", fisher_batch_size=size).plugins(None), experiences=1, epochs=1, batch_size=16)
    assert sizes == [[16, 8], [20, 4]]


def test_online_ewc_with_lambda_zero_is_naive_and_with_a_large_one_stops_the_weights():
    assert torch.equal(weights(train([EWCPlugin(0.0, gamma=0.9)])), weights(train([])))
    free, held = (
        movement(lambda c=c: [EWCPlugin(c, gamma=0.9)], model=head(), lr=1e-3, epochs=10) for c in (0.0, 1000.0)
    )
    assert held < 0.1 * free


@pytest.mark.parametrize("bad", [{"gamma": 0.9}, {"mode": "online", "gamma": 1.1}, {"fisher_batch_size": 8}])
def test_settings_that_would_do_nothing_are_refused(bad):
    with pytest.raises(ValidationError, match=list(bad)[-1]):
        EWC(**bad)


def test_all_settings_are_written_and_only_the_changed_ones_name_a_run():
    assert set(EWC().model_dump()) == set(EWC.model_fields)
    online = EWC(mode="online", gamma=0.5).model_dump(mode="json", exclude_defaults=True)
    assert online == {"mode": "online", "gamma": 0.5} and EWC(**online) == EWC(mode="online", gamma=0.5)
