"""Strategies that keep samples, in bare Avalanche scripts: what each adds to a batch, to the loss and to the data."""

from __future__ import annotations

import copy

import pytest
import tiny_stream
import torch
from avalanche.training import Naive
from tiny_stream import Spy, mlp, stream_of
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES
from lorisbench.engine.strategy import Context
from lorisbench.strategies.agem import AGEMPlugin
from lorisbench.strategies.der import DERPlugin
from lorisbench.strategies.derpp import DERPlusPlusPlugin
from lorisbench.strategies.gdumb import GDumbPlugin
from lorisbench.strategies.gem import GEM, GEMPlugin
from lorisbench.strategies.joint import JointPlugin
from lorisbench.strategies.latent_replay import LatentReplayPlugin
from lorisbench.strategies.parts.flat_gradients import flat, memory_gradient
from lorisbench.strategies.parts.memory import Memory
from lorisbench.strategies.replay import ReplayPlugin

SAMPLES, BATCH = 40, 16
KEEPERS = ["replay", "der", "der++", "agem", "gem", "gdumb", "latent-replay"]


pytestmark = pytest.mark.usefixtures("one_thread")


def make_stream(experiences=3):
    """Every sample is told from all others by its first input."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for experience in range(experiences):
        y = torch.arange(SAMPLES) % 3
        x = torch.randn(SAMPLES, 6, generator=generator) + 2 * nn.functional.one_hot((y + experience) % 3, 6)
        x[:, 0] = experience + torch.arange(SAMPLES) / 100
        parts.append((x, y))
    return stream_of(parts).train_stream


def train(plugins, model=None, experiences=3, epochs=2):
    return tiny_stream.train(plugins, model, make_stream(experiences), lr=0.05, momentum=0, epochs=epochs)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def everything(experience):
    return sorted(item[0][0].item() for item in experience.dataset)


# ---------------------------------------------------------------- replay


def test_replay_completes_each_batch_with_samples_of_earlier_experiences_and_the_loss_is_the_mean():
    seen = []

    def look(s):
        loss = cross_entropy(s.model(s.mb_x), s.mb_y)
        seen.append((s.clock.train_exp_counter, s.mb_x.clone(), s.mb_y.clone(), s.loss.item(), loss.item()))

    plugin = ReplayPlugin(Memory(10, "class-balanced", 3), 5)
    train([plugin, Spy(before_backward=look)])
    for experience, x, y, loss, expected in seen:
        old = x[:, 0] < experience
        assert old.sum() == (5 if experience else 0) and len(x) == len(y)
        assert loss == pytest.approx(expected, rel=1e-5)
        assert torch.equal(((x[:, 0] % 1) * 100).round().long() % 3, y)  # each with its own label
    assert plugin.replay_samples == len(plugin.memory) == 10
    assert {int(v) for v in plugin.memory.fields[0][:, 0]} == {0, 1, 2}


def test_replay_of_everything_once_an_epoch_trains_on_what_joint_does():
    def shown(plugin):
        epochs = []
        spy = Spy(
            before_training_epoch=lambda s: epochs.append([]),
            before_backward=lambda s: epochs[-1].extend(s.mb_x[:, 0].tolist()),
        )
        train([plugin, spy])
        return [sorted(epoch) for epoch in epochs]

    joint = shown(JointPlugin())
    assert len(joint) == 6 and len(joint[-1]) == 3 * SAMPLES
    assert shown(ReplayPlugin(Memory(None), "epoch")) == joint


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReplayPlugin(Memory(10), 5),
        lambda: LatentReplayPlugin(Memory(10), 5),
        lambda: AGEMPlugin(Memory(10), 5),
        lambda: GEMPlugin(5, 0.5, 0),
        lambda: DERPlugin(Memory(10), 0.1, 5),
        lambda: DERPlusPlusPlugin(Memory(10), 0.1, 0.5, 5),
    ],
)
def test_the_order_of_samples_is_naives_and_runs_repeat(make):
    def run(*plugins):
        orders, caller = [], list(plugins)
        spy = Spy(before_forward=lambda s: orders.append(s.mb_x[:BATCH, 0].tolist()))
        strategy = train([*caller, spy], mlp(norm=True))
        assert caller == list(plugins)
        current = [[v for v in order if int(v) == index // 6] for index, order in enumerate(orders)]
        return current, weights(strategy.model)

    naive, plain = run()
    (one, first), (two, second) = run(make()), run(make())
    assert one == two == naive
    assert torch.equal(first, second) and not torch.equal(first, plain)


def test_a_stream_with_task_labels_replays_them():
    of = stream_of([(torch.full((12, 2), float(task)), torch.arange(12) % 3) for task in range(2)], [0, 1])
    seen = []
    spy = Spy(before_backward=lambda s: seen.append((s.mb_x, s.mb_task_id)))
    tiny_stream.train([ReplayPlugin(Memory(6), 3), spy], nn.Linear(2, 3), of.train_stream, epochs=1, batch_size=4)
    assert [len(x) for x, _ in seen] == [4, 4, 4, 7, 7, 7]
    assert all(torch.equal(x[:, 0].long(), task) for x, task in seen)


# ---------------------------------------------------------------- DER++


def test_derpp_adds_both_terms_on_draws_of_their_own_and_stores_logits_of_the_step():
    model, pairs, offered = mlp(), [], []
    memory = Memory(12, seed=5)
    plugin = DERPlusPlusPlugin(memory, 0.3, 0.7, 4)
    twin = torch.Generator()

    def before(s):
        twin.set_state(memory.generator.get_state())
        expected = cross_entropy(s.mb_output, s.mb_y)
        if len(memory):
            first, second = (torch.randperm(len(memory), generator=twin)[:4] for _ in range(2))
            x, y, z = memory.fields
            expected = expected + 0.3 * mse_loss(s.model(x[first]), z[first])
            expected = expected + 0.7 * cross_entropy(s.model(x[second]), y[second])
        pairs.append(expected.item())

    def after(s):
        assert s.loss.item() == pytest.approx(pairs[-1], rel=1e-5)
        offered.append((s.mb_x.clone(), s.mb_y.clone(), s.mb_output.detach().clone()))

    train([Spy(before_backward=before), plugin, Spy(after_backward=after)], model)
    x, y, z = (torch.cat(parts) for parts in zip(*offered, strict=True))
    assert len(memory) == 12
    for kept in zip(*memory.fields, strict=True):  # label and logits as in one of the steps that trained on it
        assert ((x == kept[0]).all(1) & (y == kept[1]) & (z == kept[2]).all(1)).any()
    assert len({int(v) for v in memory.fields[0][:, 0]}) == 3


def test_derpp_without_weights_is_naive():
    naive = weights(train([]).model)
    assert torch.equal(weights(train([DERPlusPlusPlugin(Memory(9), 0.0, 0.0, 4)]).model), naive)


def test_der_is_one_draw_and_one_term():
    """Its memory offers what der++'s would: without beta, the two differ by the second draw alone."""
    plugin, losses, model = DERPlugin(Memory(12, seed=5), 0.3, 5), [], mlp()

    class Draws(Memory):
        """Counts them."""

        count = 0

        def draw(self, count):
            self.count += 1
            return super().draw(count)

    plugin.memory = Draws(12, seed=5)

    def term(s, sign):
        losses.append(sign * s.loss.item())

    def expected(s):
        generator = torch.Generator()
        generator.set_state(plugin.memory.generator.get_state())
        if len(plugin.memory):
            chosen = torch.randperm(len(plugin.memory), generator=generator)[:5]
            x, _, logits = plugin.memory.at(chosen)
            losses.append(s.loss.item() + 0.3 * mse_loss(s.model(x), logits).item())
        else:
            losses.append(s.loss.item())

    train([Spy(before_backward=expected), plugin, Spy(before_backward=lambda s: term(s, -1))], model)
    assert [one + other for one, other in zip(losses[::2], losses[1::2], strict=True)] == pytest.approx(
        [0.0] * (len(losses) // 2), abs=1e-6
    )
    assert plugin.memory.count == len(losses) // 2 - 1  # none before the first batch was offered


# ---------------------------------------------------------------- A-GEM and GEM


@pytest.mark.parametrize("kind", ["agem", "gem"])
def test_no_step_goes_against_a_memory(kind):
    plugin = AGEMPlugin(Memory(10, seed=1), 10) if kind == "agem" else GEMPlugin(6, 0.0, 1)
    changed, before = [], []

    def memories():
        return plugin.memories if kind == "gem" else [m for m in [plugin.memory] if len(m)]

    def look(s):
        parameters = list(s.model.parameters())
        found = flat(parameters, [p.grad for p in parameters])
        for memory in memories():
            reference = memory_gradient(s.model, parameters, *memory.fields[:2])
            assert found @ reference >= -1e-5 * found.norm() * reference.norm() - 1e-9
        changed.append(not torch.equal(found, before[-1]))

    def keep(s):
        before.append(flat(list(s.model.parameters()), [p.grad for p in s.model.parameters()]))

    train([Spy(before_update=keep), plugin, Spy(before_update=look)], epochs=6)
    steps = len(changed) // 3
    assert not any(changed[:steps]) and any(changed[steps:])


def test_gem_keeps_equally_many_of_each_experience():
    plugin = GEMPlugin(6, 0.5, 1)
    train([plugin])
    assert [sorted({int(v) for v in m.fields[0][:, 0]}) for m in plugin.memories] == [[0], [1], [2]]
    assert [len(m) for m in plugin.memories] == [6, 6, 6] and plugin.replay_samples == 18


def test_gem_refuses_a_memory_of_less_than_a_sample_an_experience():
    context = Context(nn.Linear(2, 2), lambda: nn.Linear(2, 2), 2, 2, 12, torch.device("cpu"), 0, lambda *a: None, dict)
    with pytest.raises(InputError, match=r"memory of 11 .* each of 12"):
        GEM(memory=11).plugins(context)
    assert GEM(memory=25).plugins(context)[0].samples == 2


@pytest.mark.parametrize("make", [lambda: AGEMPlugin(Memory(10), 5), lambda: GEMPlugin(5, 0.5, 0)])
def test_looking_at_memory_moves_no_statistics(make):
    """With a rate of nothing, statistics are those of naive fine-tuning: only the stream's batches count."""

    def statistics(plugins):
        model = mlp(norm=True)
        for p in model.parameters():
            p.register_hook(lambda grad: grad * 0)
        return train(plugins, model).model[1].running_mean

    assert torch.equal(statistics([make()]), statistics([]))


# ---------------------------------------------------------------- GDumb


def test_gdumb_trains_from_the_initial_weights_on_a_balanced_memory_of_the_stream_alone():
    starts, shown, sizes = [], [], []
    model = mlp()
    initial = weights(model).clone()
    plugin = GDumbPlugin(20, 3)

    def begin(s):
        starts.append(weights(s.model).clone())
        sizes.append(torch.bincount(torch.tensor(list(s.adapted_dataset.targets))).tolist())
        shown.append([])

    train([plugin, Spy(before_training_exp=begin, before_backward=lambda s: shown[-1].extend(s.mb_x[:, 0].tolist()))],
          model, epochs=1)  # fmt: skip
    assert all(torch.equal(start, initial) for start in starts)
    assert all(sum(counts) == 20 and max(counts) - min(counts) <= 1 for counts in sizes)
    assert [len(set(values)) for values in shown] == [20, 20, 20] and plugin.replay_samples == 20
    assert {int(v) for v in shown[2]} == {0, 1, 2}
    # what was let go is not there again
    assert {v for v in shown[2] if v < 2} <= set(shown[1]) and {v for v in shown[1] if v < 1} <= set(shown[0])


# ---------------------------------------------------------------- latent replay


class Split(nn.Module):
    """A backbone with batch norm, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 3)

    def features(self, x):
        return x if x.ndim == 2 else self.backbone(x)

    def forward(self, x):
        return self.head(self.features(x))


def image_stream(experiences=3):
    parts = []
    for experience in range(experiences):
        y = torch.arange(12) % 3
        x = torch.rand(12, 3, 2, 2, generator=torch.Generator().manual_seed(experience))
        parts.append((x + torch.eye(3)[y][:, :, None, None], y))
    return stream_of(parts).train_stream


def test_latent_replay_freezes_the_backbone_after_the_first_experience_and_keeps_its_features():
    model, plugin, states, shapes = Split(), LatentReplayPlugin(Memory(8), 4), [], []
    strategy = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.2), train_mb_size=6, train_epochs=3,
        plugins=[plugin, Spy(before_forward=lambda s: shapes.append(tuple(s.mb_x.shape)))], evaluator=None,
    )  # fmt: skip
    initial = copy.deepcopy(model.state_dict())
    for experience in image_stream():
        strategy.train(experience)
        states.append(copy.deepcopy(model.state_dict()))
        assert plugin.memory.fields[0].shape == (8, 4)
    assert set(shapes[:6]) == {(6, 3, 2, 2)} and set(shapes[6:]) == {(10, 4)}
    moved = {key for key in initial if not torch.equal(initial[key], states[0][key])}
    assert {"backbone.0.weight", "backbone.1.running_mean", "head.weight"} <= moved
    assert {key for key in initial if not torch.equal(states[0][key], states[2][key])} == {"head.weight", "head.bias"}
    model.eval()
    every = torch.cat([model.features(torch.stack([item[0] for item in e.dataset])) for e in image_stream()])
    assert all((every - kept).abs().amax(1).min() < 1e-6 for kept in plugin.memory.fields[0])


def test_on_features_latent_replay_is_replay():
    one = train([LatentReplayPlugin(Memory(9, seed=2), 5)])
    two = train([ReplayPlugin(Memory(9, seed=2), 5)])
    assert torch.equal(weights(one.model), weights(two.model))


# ---------------------------------------------------------------- declarations


@pytest.mark.parametrize("name", KEEPERS)
def test_declarations_hold_and_each_run_has_plugins_of_its_own(name):
    context = Context(nn.Linear(6, 3), lambda: nn.Linear(6, 3), 3, 6, 3, torch.device("cpu"), 4, lambda *a: None, dict)
    strategy = STRATEGIES.get(name)(memory=10)
    one, two = strategy.plugins(context), strategy.plugins(context)
    assert one[0] is not two[0] and strategy.state_growth in ("samples", "experiences")
    model = train(one).model
    assert torch.equal(weights(model), weights(train(two).model))
    assert 0 < one[0].replay_samples <= strategy.replay_limit() == 10


def test_a_replay_of_everything_declares_it():
    assert STRATEGIES.get("replay")(memory="all").replay_limit() is None
