"""Generative replay: the autoencoder's bound against torch's distributions, what it remembers, what replay adds."""

from __future__ import annotations

import pytest
import tiny_stream
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_stream import Spy, stream_of
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import cross_entropy, kl_div

from lorisbench.strategies.dgr import DGR, DGRPlugin
from lorisbench.strategies.parts.vae import VAE

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 5), st.integers(1, 4))
def test_losses_are_the_negative_bound_up_to_the_decoders_constant(seed, batch, width, latent):
    torch.manual_seed(seed)
    vae = VAE(width, 7, latent, seed).double()
    vae.standardise(torch.randn(50, width).double() * 3 + 1)
    x, noise = torch.randn(batch, width).double(), torch.randn(batch, latent).double()
    centre, log_variance = vae.encoder((x - vae.mean) / vae.std).chunk(2, dim=1)
    posterior = Normal(centre, log_variance.exp().sqrt())
    z = centre + posterior.scale * noise
    likelihood = Normal(vae.decoder(z), 1.0).log_prob((x - vae.mean) / vae.std).sum(1)
    divergence = kl_divergence(posterior, Normal(torch.zeros_like(centre), 1.0)).sum(1)
    constant = 0.5 * width * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    assert torch.allclose(vae.losses(x, noise), divergence - likelihood - constant, rtol=1e-6)


def test_features_that_hardly_vary_are_not_blown_up():
    vae = VAE(3, 4, 2, 0)
    vae.standardise(torch.tensor([[0.0, 5.0, 1.0], [6.0, 5.0, 1.001]]))
    assert torch.allclose(vae.mean, torch.tensor([3.0, 5.0, 1.0005]))
    assert torch.allclose(vae.std, torch.tensor([3.0, 1.0, 1.0]), atol=1e-3)
    vae.standardise(torch.ones(4, 3))
    assert (vae.std > 0).all()


def test_a_generator_draws_its_weights_from_a_seed_of_its_own():
    before = torch.get_rng_state()
    one, same, other = VAE(3, 4, 2, 5), VAE(3, 4, 2, 5), VAE(3, 4, 2, 6)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.encoder[0].weight, same.encoder[0].weight)
    assert not torch.equal(one.encoder[0].weight, other.encoder[0].weight)


def blobs(at, samples=128):
    """Two classes of 6 features around places that the experience tells."""
    y = torch.arange(samples) % 2
    x = 0.3 * torch.randn(samples, 6, generator=torch.Generator().manual_seed(at))
    x[:, 0] += 4 * at
    x[:, 1] += 4 * y
    return x, y


def train(plugins, experiences=2, epochs=1, make=lambda: nn.Linear(6, 2)):
    torch.manual_seed(0)
    of = stream_of([blobs(at) for at in range(experiences)]).train_stream
    return tiny_stream.train(plugins, make(), of, lr=0.05, adam=True, batch_size=32, epochs=epochs)


def plugin(**changes):
    return DGRPlugin(**{"hidden": 32, "latent": 4, "generator_epochs": 150, "generator_lr": 0.01, "seed": 1, **changes})


def test_the_generator_makes_the_past_again_each_experience_alike():
    dgr = plugin()
    train([dgr], experiences=3)
    made = dgr.generator.generate(torch.randn(3000, 4, generator=torch.Generator().manual_seed(7)))
    share = torch.stack([((made[:, 0] / 4).round() == at).float().mean() for at in range(3)])
    assert (share > 0.15).all()
    assert ((made[:, 1] / 4).round().clamp(0, 1) == 1).float().mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("distill", ["hard", "soft"])
def test_the_loss_weighs_each_experience_alike_and_the_solver_before_labels(distill):
    dgr, losses, pairs, solvers = plugin(distill=distill, temperature=3.0, generator_epochs=2), [], [], []
    twin = torch.Generator()

    def before(s):
        twin.set_state(dgr._random.get_state())
        expected = cross_entropy(s.mb_output, s.mb_y)
        past = s.clock.train_exp_counter
        if past:
            x = dgr.generator.generate(torch.randn(32, 4, generator=twin))
            target, logits = solvers[-1](x), s.model(x)
            if distill == "hard":
                replayed = cross_entropy(logits, target.argmax(1))
            else:
                log_p, log_q = (z.div(3).log_softmax(1) for z in (target, logits))
                replayed = 9 * kl_div(log_q, log_p, reduction="batchmean", log_target=True)
            expected = expected / (past + 1) + replayed * past / (past + 1)
        losses.append(expected.item())

    def keep(s):
        layer = nn.Linear(6, 2)
        layer.load_state_dict(s.model.state_dict())
        solvers.append(layer.requires_grad_(False))

    after = Spy(after_backward=lambda s: pairs.append((s.loss.item(), losses[-1])), after_training_exp=keep)
    train([Spy(before_backward=before), dgr, after], experiences=3)
    assert len(pairs) == 12 and all(found == pytest.approx(expected, rel=1e-4) for found, expected in pairs)


def test_replay_of_what_is_generated_keeps_the_past_where_naive_forgets():
    """The second experience has the classes the other way round, so without replay the first is lost."""

    def accuracy(plugins):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
        (first, y), (x, also) = blobs(0), blobs(1)
        of = stream_of([(first, y), (x, 1 - also)]).train_stream
        tiny_stream.train(plugins, model, of, lr=0.01, adam=True, batch_size=32, epochs=15)
        return [
            (model(inputs).argmax(1) == labels).float().mean().item() for inputs, labels in ((first, y), (x, 1 - also))
        ]

    assert min(accuracy([plugin()])) > 0.9
    assert accuracy([])[0] < 0.7


def test_runs_repeat_and_see_the_batches_of_naive():
    def run(*plugins):
        batches = []
        strategy = train([*plugins, Spy(before_forward=lambda s: batches.append(s.mb_x[:, 2].tolist()))])
        return batches, strategy.model.weight.detach().clone()

    (one, first), (two, second), (naive, plain) = (
        run(plugin(generator_epochs=2)),
        run(plugin(generator_epochs=2)),
        run(),
    )
    assert one == two == naive and torch.equal(first, second) and not torch.equal(first, plain)


def test_settings_reach_the_plugin():
    config = DGR(distill="soft", temperature=1.5, hidden=9, latent=3, generator_epochs=2, generator_lr=0.1)

    class Context:
        seed = 4

    made = config.plugins(Context())[0]
    found = {key: getattr(made, key) for key in config.model_dump()}
    assert found == config.model_dump() and made.seed == 4 and config.replay_limit() == 0
