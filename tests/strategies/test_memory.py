"""What a memory keeps: against the definition of its selections, whatever the batches it is offered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from lorisbench.strategies.parts.memory import Memory, chosen

pytestmark = pytest.mark.usefixtures("one_thread")


def fill(memory, labels, sizes):
    """Offers samples whose input is their number in the stream, in batches of these sizes again and again."""
    start = 0
    while start < len(labels):
        size = sizes[start % len(sizes)]
        y = torch.as_tensor(labels[start : start + size])
        memory.add(torch.arange(start, start + len(y)).float()[:, None], y, 10 * torch.arange(start, start + len(y)))
        start += len(y)
    return memory


def held(memory):
    return memory.fields[0][:, 0].long().tolist() if memory.fields else []


def one_by_one(keys, labels, size, selection):
    """The definition, slowly: rounds over the classes, each giving its smallest key."""
    left = sorted(range(len(keys)), key=lambda i: keys[i])
    if selection == "reservoir":
        return sorted(left[:size])
    kept = []
    while left and len(kept) < size:
        turn = {}
        for i in left:
            turn.setdefault(labels[i], i)
        kept += list(turn.values())[: size - len(kept)]
        left = [i for i in left if i not in kept]
    return sorted(kept)


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=40)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=4)
SELECTION = st.sampled_from(["reservoir", "class-balanced"])


@settings(max_examples=60, deadline=None)
@given(LABELS, st.integers(1, 20), SELECTION, st.integers(0, 99))
def test_chosen_are_those_of_the_definition(labels, size, selection, seed):
    keys = torch.rand(len(labels), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = chosen(keys, torch.tensor(labels), size, selection)
    assert found.tolist() == one_by_one(keys.tolist(), labels, size, selection)


@settings(max_examples=60, deadline=None)
@given(LABELS, SIZES, st.integers(1, 20), SELECTION, st.integers(0, 99))
def test_batches_offered_in_turn_leave_what_one_choice_among_all_would(labels, sizes, size, selection, seed):
    memory = fill(Memory(size, selection, seed), labels, sizes)
    keys = torch.rand(len(labels), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert held(memory) == chosen(keys, torch.tensor(labels), size, selection).tolist()
    # the fields of a sample stay together
    assert memory.fields[1].tolist() == [labels[i] for i in held(memory)]
    assert memory.fields[2].tolist() == [10 * i for i in held(memory)]


@settings(max_examples=40, deadline=None)
@given(LABELS, SIZES, st.integers(1, 20), st.integers(0, 99))
def test_balanced_classes_differ_by_at_most_one_and_nothing_returns(labels, sizes, size, seed):
    memory = Memory(size, "class-balanced", seed)
    seen, gone, start = [], set(), 0
    for batch in sizes * 3:
        part = labels[start : start + batch]
        if not part:
            break
        before = set(held(memory))
        memory.add(torch.arange(start, start + len(part)).float()[:, None], torch.tensor(part))
        seen, start = labels[: start + len(part)], start + len(part)
        now = set(held(memory))
        gone |= before - now
        assert not gone & now and now - before <= set(range(start - len(part), start))
        assert len(now) == min(size, len(seen))
        counts = np.bincount([labels[i] for i in now], minlength=5)
        short = [c for c in range(5) if counts[c] < counts.max() - 1]
        assert all(counts[c] == seen.count(c) for c in short)  # those have no more


@pytest.mark.parametrize("selection", ["reservoir", "class-balanced"])
def test_every_sample_is_kept_with_the_same_probability(selection):
    """Chi-square over 600 streams of 24 samples, 8 kept; with two classes, each class by itself."""
    labels = [0] * 16 + [1] * 8
    counts = np.zeros(24)
    trials = 600
    for seed in range(trials):
        counts[held(fill(Memory(8, selection, seed), labels, [5, 3, 7]))] += 1
    groups = [range(24)] if selection == "reservoir" else [range(16), range(16, 24)]
    kept = [8] if selection == "reservoir" else [4, 4]
    for group, number in zip(groups, kept, strict=True):
        expected = trials * number / len(group)
        # a sample drawn without replacement: (N - 1) / N of the multinomial variance, less the share that is drawn
        spread = expected * (1 - number / len(group)) * len(group) / (len(group) - 1)
        statistic = ((counts[list(group)] - expected) ** 2 / spread).sum()
        assert chi2.ppf(1e-4, len(group) - 1) < statistic < chi2.ppf(1 - 1e-4, len(group) - 1)


def test_draws_are_distinct_uniform_and_its_own():
    memory = fill(Memory(10, seed=1), [0] * 10, [10])
    counts = np.zeros(10)
    state = torch.get_rng_state()
    for _ in range(2000):
        drawn = memory.draw(3)[0][:, 0].long().tolist()
        assert len(set(drawn)) == 3
        counts[drawn] += 1
    assert torch.equal(torch.get_rng_state(), state)
    assert ((counts - 600) ** 2 / (600 * 0.7 * 10 / 9)).sum() < chi2.ppf(1 - 1e-4, 9)
    assert sorted(memory.draw(99)[0][:, 0].tolist()) == list(range(10))


def test_an_unlimited_memory_keeps_all_and_a_seed_decides():
    labels = [i % 3 for i in range(50)]
    assert held(fill(Memory(None), labels, [7])) == list(range(50))
    one, same, other = (held(fill(Memory(9, seed=seed), labels, [7])) for seed in (3, 3, 4))
    assert one == same != other


def test_what_is_kept_is_a_copy_without_a_gradient():
    x = torch.randn(6, 2, requires_grad=True)
    batch = x * 1
    memory = Memory(4)
    memory.add(batch, torch.zeros(6, dtype=torch.int64))
    kept = memory.fields[0]
    assert not kept.requires_grad and kept.untyped_storage().nbytes() == 4 * 2 * 4
    assert kept.untyped_storage().data_ptr() != batch.untyped_storage().data_ptr()
