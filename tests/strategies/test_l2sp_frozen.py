"""The two plainest ways to keep weights: pulled back to where they started (L2-SP), or not trained at all."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from tiny_stream import Spy, head, mlp, movement, train, weights

from lorisbench.engine.state import state_bytes
from lorisbench.strategies.frozen import FrozenPlugin
from lorisbench.strategies.l2sp import L2SP, L2SPPlugin


@pytest.mark.parametrize("anchor", ["initial", "previous"])
def test_the_penalty_is_half_alpha_times_the_squared_distance_to_the_anchor(anchor):
    plugin, losses, found, ends = L2SPPlugin(0.6, anchor), [], [], []
    before = Spy(before_backward=lambda s: losses.append(s.loss.item()))

    def compare(s):
        start = {"initial": ends[0], "previous": ends[-1]}[anchor]
        held = anchor == "initial" or s.clock.train_exp_counter > 0
        distance = (weights(s) - start).square().sum().item() if held else 0.0
        found.append((s.loss.item() - losses[-1], 0.3 * distance))

    after = Spy(after_backward=compare, after_training_exp=lambda s: ends.append(weights(s)))
    model = mlp()
    ends.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
    train([before, plugin, after], model)
    assert max(expected for _, expected in found) > 1e-3
    assert all(extra == pytest.approx(expected, rel=1e-3, abs=1e-6) for extra, expected in found)


def test_alpha_zero_is_naive_bit_for_bit_and_a_positive_one_is_not():
    naive = weights(train([]))
    for anchor in ("initial", "previous"):
        assert torch.equal(weights(train([L2SPPlugin(0.0, anchor)])), naive)
        assert not torch.equal(weights(train([L2SPPlugin(0.1, anchor)])), naive)


def test_a_large_alpha_stops_the_weights():
    free, held = (
        movement(lambda c=c: [L2SPPlugin(c, "previous")], model=head(), lr=1e-3, epochs=10) for c in (0.0, 500.0)
    )
    assert held < 0.1 * free


def test_only_the_anchor_needs_memory():
    strategy = train([L2SPPlugin(1.0, "previous")])
    size = sum(p.numel() for p in strategy.model.parameters())
    assert state_bytes(strategy, strategy.model)[0] == 4 * size + 4 * len(list(strategy.model.parameters()))


@pytest.mark.parametrize("bad", [{"alpha": -1}, {"anchor": "first"}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        L2SP(**bad)


@pytest.mark.parametrize("adam", [False, True])
def test_frozen_trains_the_first_experience_and_nothing_afterwards(adam):
    states, passes = [], []
    spy = Spy(
        after_training_exp=lambda s: states.append(copy.deepcopy(s.model.state_dict())),
        after_forward=lambda s: passes.append(s.clock.train_exp_counter),
    )
    train([FrozenPlugin(), spy], mlp(norm=True), adam=adam, momentum=0.9)
    naive = train([], mlp(norm=True), adam=adam, momentum=0.9, experiences=1).model.state_dict()
    assert len(states) == 3 and set(passes) == {0}
    for state in states:  # batch-norm statistics included
        assert all(torch.equal(state[key], naive[key]) for key in naive)
    assert not torch.equal(naive["0.weight"], mlp(norm=True).state_dict()["0.weight"])
