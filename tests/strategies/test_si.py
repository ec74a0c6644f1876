"""Synaptic Intelligence: the path integral, the importance made of it, and that it holds the weights."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from tiny_stream import Spy, head, mlp, movement, samples, train, weights
from torch.nn.functional import cross_entropy

from lorisbench.strategies.si import SI, SIPlugin


@pytest.mark.parametrize("penalised", [False, True])
def test_the_path_integral_is_the_decrease_of_the_task_loss_to_first_order(penalised):
    """Full batch, plain gradient descent: the ratio tends to 1 as the learning rate does to 0, springs or not."""
    x, y = samples(1)
    errors = []
    for lr in (0.05, 0.005, 0.0005):
        plugin, model, found = SIPlugin(0.5 if penalised else 0.0, 0.1), mlp(), {}

        def begin(s, plugin=plugin, model=model, found=found):
            if s.clock.train_exp_counter == 1:
                found["before"] = cross_entropy(model(x), y).item()

        def end(s, plugin=plugin, model=model, found=found):
            if s.clock.train_exp_counter == 1:
                drop = found["before"] - cross_entropy(model(x), y).item()
                found["ratio"] = sum(value.sum().item() for value in plugin.path.values()) / drop

        spy = Spy(before_training_exp=begin, after_training_epoch=end)
        train([spy, plugin], model, lr=lr, momentum=0.0, batch_size=40, epochs=4, experiences=2)
        errors.append(abs(found["ratio"] - 1))
    assert errors[1] < 0.2 * errors[0] and errors[2] < 0.2 * errors[1]
    assert errors[2] < 1e-3


def test_importance_is_path_over_squared_shift_clamped_as_a_sum():
    """Against a spy that records every step; the second experience climbs the loss, so that its paths are negative."""
    plugin, xi = SIPlugin(0.3, 0.05), 0.05
    record, omega, start = {}, {}, {}

    def task_gradient(s):
        loss = cross_entropy(s.model(s.mb_x), s.mb_y)
        gradients = torch.autograd.grad(loss, list(s.model.parameters()))
        record["step"] = [(p.detach().clone(), g) for p, g in zip(s.model.parameters(), gradients, strict=True)]

    def stepped(s):
        for index, (p, (before, g)) in enumerate(zip(s.model.parameters(), record["step"], strict=True)):
            record[index] = record.get(index, 0) - g * (p.detach() - before)

    def begin(s):
        s.optimizer.param_groups[0]["maximize"] = s.clock.train_exp_counter == 1
        start.update({index: p.detach().clone() for index, p in enumerate(s.model.parameters())})

    def end(s):
        for index, p in enumerate(s.model.parameters()):
            grown = record.pop(index) / ((p.detach() - start[index]) ** 2 + xi)
            omega[index] = (omega.get(index, 0) + grown).clamp(min=0)

    spy = Spy(before_training_exp=begin, before_forward=task_gradient, after_update=stepped, after_training_exp=end)
    strategy = train([spy, plugin], experiences=2)
    everything = torch.cat([value.flatten() for value in omega.values()])
    assert 0.1 < (everything == 0).float().mean() < 0.9  # the clamp acts, on some of the sums
    for index, name in enumerate(plugin.importance):
        assert torch.allclose(plugin.importance[name], omega[index], rtol=1e-3, atol=1e-6), name
        assert torch.equal(plugin.centre[name], strategy.model.get_parameter(name))
    assert plugin.path == plugin.start == {}


def test_the_force_is_the_gradient_of_lambda_omega_distance_squared():
    plugin, found = SIPlugin(0.7, 0.1), []

    def compare(s):
        if s.clock.train_exp_counter == 1:
            model = s.model
            loss = cross_entropy(model(s.mb_x), s.mb_y)
            for name, p in model.named_parameters():
                loss = loss + 0.7 * (plugin.importance[name] * (p - plugin.centre[name]) ** 2).sum()
            expected = torch.autograd.grad(loss, list(model.parameters()))
            found.extend(zip([p.grad.clone() for p in model.parameters()], expected, strict=True))

    train([plugin, Spy(after_backward=compare)], experiences=2)
    assert found and all(torch.allclose(grad, expected, rtol=1e-4, atol=1e-6) for grad, expected in found)


def test_lambda_zero_is_naive_bit_for_bit_and_a_positive_one_is_not():
    naive = weights(train([]))
    assert torch.equal(weights(train([SIPlugin(0.0, 0.1)])), naive)
    assert not torch.equal(weights(train([SIPlugin(1.0, 0.1)])), naive)


def test_a_large_lambda_stops_the_weights():
    # learning rate x 2 lambda x largest importance (about 15) stays below 2: the springs are stiff, the steps stable
    free, held = (movement(lambda c=c: [SIPlugin(c, 1e-3)], model=head(), lr=1e-3, epochs=20) for c in (0.0, 60.0))
    assert held < 0.25 * free


def test_frozen_layers_have_no_importance_and_what_it_keeps_is_two_copies_of_what_trains():
    model = mlp(norm=True)
    model[0].requires_grad_(False)
    plugin = SIPlugin(1.0, 0.1)
    strategy = train([plugin], model)
    names = {"1.weight", "1.bias", "2.weight", "2.bias"}
    assert set(plugin.importance) == set(plugin.centre) == names
    assert plugin._before == {}
    assert strategy.model.training


@pytest.mark.parametrize("bad", [{"si_lambda": -1}, {"xi": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        SI(**bad)
