"""Riemannian Walk: Fisher information and scores against a record of every step, and that they hold the weights."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from tiny_stream import Spy, head, mlp, movement, train, weights
from torch.nn.functional import cross_entropy

from lorisbench.strategies.rwalk import RWalk, RWalkPlugin, scaled

ALPHA, INTERVAL, EPS = 0.7, 3, 1e-2  # 4 updates an experience: the second interval is cut short


def recorded(steps):
    """F and the scores of each experience by the paper's sums, written out over flat vectors of all weights."""
    fisher, score = None, None
    for experience in steps:
        own = 0
        for first in range(0, len(experience), INTERVAL):
            part = experience[first : first + INTERVAL]
            mean = sum(g**2 for _, g, _ in part) / len(part)
            fisher = mean if fisher is None else fisher
            drop = -sum(g * (after - before) for before, g, after in part)
            shift = part[-1][2] - part[0][0]
            own = own + drop.clamp(min=0) / (0.5 * fisher * shift**2 + EPS)
            fisher = ALPHA * mean + (1 - ALPHA) * fisher
        score = own if score is None else (score + own) / 2
    return fisher, score


def flat(values):
    return torch.cat([value.flatten() for value in values.values()])


def test_importance_is_scaled_fisher_plus_scaled_score():
    plugin, steps = RWalkPlugin(0.2, ALPHA, INTERVAL, EPS), []

    def task_gradient(s):
        gradients = torch.autograd.grad(cross_entropy(s.model(s.mb_x), s.mb_y), list(s.model.parameters()))
        steps[-1].append((weights(s), torch.cat([g.flatten() for g in gradients])))

    def stepped(s):
        steps[-1][-1] = (*steps[-1][-1], weights(s))

    spy = Spy(before_training_exp=lambda s: steps.append([]), before_forward=task_gradient, after_update=stepped)
    strategy = train([spy, plugin])
    assert [len(experience) for experience in steps] == [4, 4, 4]
    fisher, score = recorded(steps)
    assert torch.allclose(flat(plugin.fisher), fisher, rtol=1e-3, atol=1e-7)
    assert torch.allclose(flat(plugin.score), score, rtol=1e-3, atol=1e-5)
    expected = fisher / fisher.max() + score / score.max()
    assert torch.allclose(flat(plugin.importance), expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(flat(plugin.centre), weights(strategy))


def test_scaling_leaves_zero_at_zero():
    assert scaled({"a": torch.zeros(3)})["a"].tolist() == [0, 0, 0]
    found = scaled({"a": torch.tensor([0.0, 2.0]), "b": torch.tensor([8.0])})
    assert found["a"].tolist() == [0, 0.25] and found["b"].tolist() == [1]


def test_lambda_zero_is_naive_bit_for_bit_and_a_positive_one_is_not():
    naive = weights(train([]))
    assert torch.equal(weights(train([RWalkPlugin(0.0, 0.9, 10, 1e-3)])), naive)
    assert not torch.equal(weights(train([RWalkPlugin(1.0, 0.9, 10, 1e-3)])), naive)


def test_a_large_lambda_stops_the_weights():
    free, held = (
        movement(lambda c=c: [RWalkPlugin(c, 0.9, 10, 1e-3)], model=head(), lr=1e-3, epochs=20) for c in (0.0, 300.0)
    )
    assert held < 0.2 * free


def test_layers_frozen_later_are_forgotten():
    plugin = RWalkPlugin(1.0, 0.9, 2, 1e-3)
    train([plugin, Spy(after_training_exp=lambda s: s.model[0].requires_grad_(False))], mlp(), experiences=2)
    names = {"2.weight", "2.bias"}
    assert all(set(store) == names for store in (plugin.importance, plugin.centre, plugin.fisher, plugin.score))


@pytest.mark.parametrize("bad", [{"rwalk_lambda": -1}, {"alpha": 0}, {"alpha": 1.1}, {"interval": 0}, {"eps": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        RWalk(**bad)
