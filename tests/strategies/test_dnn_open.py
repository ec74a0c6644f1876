"""The answers `open` and `open-bounded`: domains that were seen beside one that was not, against scipy's densities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp, softmax
from scipy.stats import multivariate_normal
from sklearn.covariance import oas
from torch import nn
from torch.nn import functional as F

from lorisbench.model.checkpoint import load_state
from lorisbench.strategies.dnn import open as dnn_open
from lorisbench.strategies.dnn.network import DynamicNetwork
from lorisbench.strategies.dnn.open import OpenRouter
from lorisbench.strategies.dnn.watch import head_shares

CLASSES = 3


def draws(domains=4, samples=30, width=6, seed=0, classes=CLASSES, lacking=None):
    """Domains as the model has them: each shifts each class by a draw of its own; (features, labels) of each."""
    rng = np.random.default_rng(seed)
    of_class = rng.normal(size=(classes, width)) * 4
    found = []
    for domain in range(domains):
        means = of_class + rng.normal(size=(classes, width)) * 2
        y = np.arange(samples) % classes
        if lacking is not None and domain in lacking:
            y = y[y != lacking[domain]]
        x = means[y] + rng.normal(size=(len(y), width)) * 0.5
        found.append((torch.tensor(x, dtype=torch.float32), torch.tensor(y)))
    return found


def router_of(data, temperature=20.0, shrinkage="oas", classes=CLASSES, bound=1.0):
    router = OpenRouter(shrinkage, temperature, bound)
    for head, (x, y) in enumerate(data):
        router.record([(x, y)], classes, head)
    return router


def scores_of(router, x):
    return F.linear(x, router.weight, router.bias)


def by_definition(router, x, p, temperature):
    """P(seen | x) and P(k | x) from means and covariances alone; p: heads' probabilities (batch, heads, K)."""
    counts, means = router.counts.numpy(), router.means.double().numpy()
    within, new = router.covariance().numpy(), router.new_covariance().numpy()
    of_class = (means * counts[:, :, None]).sum(0) / counts.sum(0)[:, None]
    here = np.argwhere(counts > 0)
    with np.errstate(divide="ignore"):
        prior = np.log(counts / counts.sum(1, keepdims=True) / len(counts))
    seen = np.full((len(x), *counts.shape), -np.inf)
    for d, k in here:
        seen[:, d, k] = multivariate_normal(means[d, k], within).logpdf(x.numpy()) + prior[d, k]
    class_prior = np.log(counts.sum(0) / counts.sum())
    unseen = np.stack([multivariate_normal(mean, new).logpdf(x.numpy()) for mean in of_class], axis=1) + class_prior
    known = expit((logsumexp(seen, axis=(1, 2)) - logsumexp(unseen, axis=1)) / temperature)[:, None]
    agreement = np.exp(seen / temperature - seen.max(axis=(1, 2), keepdims=True) / temperature)
    agreement = (agreement * p.numpy()[:, router.domain_head.numpy()]).sum(1)
    agreement /= agreement.sum(1, keepdims=True)
    return known, known * agreement + (1 - known) * softmax(unseen / temperature, axis=1)


@pytest.mark.parametrize(("temperature", "lacking"), [(1.0, None), (20.0, None), (20.0, {1: 2, 3: 0})])
def test_with_all_directions_it_is_the_model_of_two_levels(temperature, lacking):
    data = draws(lacking=lacking)  # 12 pairs (or 10) span all 6 dimensions, so that nothing is cut off
    router = router_of(data, temperature)
    x = torch.cat([data[0][0][:5], torch.randn(20, 6, generator=torch.Generator().manual_seed(1)) * 4])
    p = torch.rand(25, 4, CLASSES, generator=torch.Generator().manual_seed(2)).softmax(2)
    known, expected = by_definition(router, x, p, temperature)
    scores = scores_of(router, x)
    assert np.allclose(1 - router.unknown(scores).numpy(), known[:, 0], atol=2e-4)
    assert 0.05 < known.mean() < 0.95, "an image of either kind is needed"
    assert np.allclose(router.joint(scores, p.log()).exp().numpy(), expected, atol=5e-4)


def test_the_new_covariance_is_that_about_the_class_means_with_a_sample_a_pair():
    data = draws(width=12)
    router = router_of(data)
    x, y = torch.cat([x for x, _ in data]).double(), torch.cat([y for _, y in data])
    centred = (x - torch.stack([x[y == k].mean(0) for k in range(CLASSES)])[y]).numpy()
    plain = centred.T @ centred / len(centred)
    found = router.new_covariance().numpy()
    # oas of scikit-learn takes its number of samples from an array: as many rows with the same covariance
    root = np.linalg.cholesky(plain).T * np.sqrt(12)
    assert len(root) == 4 * CLASSES
    assert np.allclose(found, oas(root, assume_centered=True)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("domains", "width", "shrinkage", "share"), [
    (2, 12, "oas", 0.5),  # the estimate is above it
    (40, 12, "oas", None),  # below it
    (2, 12, 0.8, 0.8),
])  # fmt: skip
def test_a_bound_keeps_half_of_what_was_measured_unless_a_share_is_given(domains, width, shrinkage, share):
    data = [(x * torch.linspace(4, 0.1, width), y) for x, y in draws(domains, width=width)]
    free, bounded = (router_of(data, shrinkage=shrinkage, bound=bound).new_covariance() for bound in (1.0, 0.5))
    x, y = torch.cat([x for x, _ in data]).double(), torch.cat([y for _, y in data])
    centred = x - torch.stack([x[y == k].mean(0) for k in range(CLASSES)])[y]
    plain = centred.T @ centred / len(centred)
    level = plain.diagonal().mean() * torch.eye(width)
    if share is None:
        assert torch.equal(bounded, free)
        share = 1 - float(free[0, 1] / plain[0, 1])
        assert 0.02 < share < 0.5
    assert torch.allclose(bounded, (1 - share) * plain + share * level, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_domains_are_few_a_bound_keeps_a_new_domain_from_nearest_class_means(seed):
    """Images vary most, in the last two thirds of the features, by what says nothing of their class."""
    loud = torch.arange(24) >= 8
    generator = torch.Generator().manual_seed(seed)
    data = [
        (x * ~loud + torch.randn(x.shape, generator=generator) * (1 + 19 * loud), y) for x, y in draws(2, 300, 24, seed)
    ]
    right = []
    for bound in (1.0, 0.5):
        router = router_of([(x[::2], y[::2]) for x, y in data], bound=bound)
        new = [router.read(scores_of(router, x[1::2]))[1].argmax(dim=1) == y[1::2] for x, y in data]
        right.append(float(torch.cat(new).float().mean()))
    assert right[1] > right[0] + 0.1


def test_fewer_directions_keep_those_that_tell_the_pairs_apart(monkeypatch):
    data = draws(domains=6, width=40, samples=60)
    full = router_of(data)
    assert len(full.curvature) == 17  # one less than the pairs
    monkeypatch.setattr(dnn_open, "DIRECTIONS", 8)
    reduced = router_of(data)
    assert reduced.weight.shape == (8 + CLASSES, 40)
    x = torch.cat([x for x, _ in data])
    p = torch.full((len(x), 6, CLASSES), 1 / CLASSES).log()
    answers = [router.joint(scores_of(router, x), p) for router in (full, reduced)]
    assert (answers[0].argmax(1) == answers[1].argmax(1)).float().mean() > 0.98
    axes = reduced.weight[:8].double()
    assert torch.allclose(axes @ reduced.covariance() @ axes.T, torch.eye(8, dtype=torch.float64), atol=1e-4)
    turned = axes @ reduced.new_covariance() @ axes.T
    assert torch.allclose(turned, torch.diag(1 / (1 + 2 * reduced.curvature[:, 0].double())), rtol=1e-3, atol=1e-3)


def test_seen_domains_are_known_and_new_ones_are_not():
    data = draws(domains=9, width=12, samples=60, seed=3)
    router = router_of(data[:8], temperature=1.0)
    seen = torch.cat([router.unknown(scores_of(router, x)) for x, _ in data[:8]])
    new = router.unknown(scores_of(router, data[8][0]))
    assert seen.mean() < 0.2 and new.mean() > 0.8
    x, y = data[8]
    heads = torch.full((len(x), 8, CLASSES), 1 / CLASSES).log()
    assert (router.joint(scores_of(router, x), heads).argmax(1) == y).float().mean() > 0.9


def network(data, rule="open", **settings):
    torch.manual_seed(0)
    width = data[0][0].shape[1]
    model = DynamicNetwork(None, lambda: nn.Linear(width, CLASSES), answer=rule, **settings)
    for head, (x, y) in enumerate(data):
        if head:
            model.add_head()
        model.train_only(head)
        model.record_domain([(x, y)])
    return model.eval()


@pytest.mark.parametrize(("rule", "bound"), [("open", 1.0), ("open-bounded", 0.5)])
def test_the_network_answers_by_it_and_tells_which_head_or_none(rule, bound):
    data = draws(domains=5, width=12, seed=3)
    model = network(data[:4], rule, router_temperature=1.0)
    assert torch.equal(model.router.new_covariance(), router_of(data[:4], bound=bound).new_covariance())
    x = torch.cat([data[0][0], data[4][0]])
    p = torch.stack([head(x).softmax(1) for head in model.heads], dim=1)
    scores = scores_of(model.router, x)
    assert torch.allclose(model(x), model.router.joint(scores, p.log()), atol=1e-5)
    assert torch.allclose(model(x).exp().sum(1), torch.ones(len(x)), atol=1e-5)
    shares = head_shares(model, p.log(), scores)
    none = model.router.unknown(scores) > 0.5
    assert none.any() and not none.all() and torch.equal(shares[:, -1] == 1, none)
    assert torch.equal(shares[~none].argmax(1), model.router.head_weights(scores, 4)[~none].argmax(1))


@pytest.mark.parametrize("rule", ["open", "open-bounded"])
def test_its_state_is_the_same_statistics_and_loads(rule):
    data = draws(2)
    model, plain = network(data, rule), network(data, "agreement")
    assert model.router_bytes() == plain.router_bytes()
    assert model.state_dict().keys() == plain.state_dict().keys()
    other = network(data[:1], rule)
    load_state(other, model.state_dict())
    x = torch.randn(7, 6)
    assert torch.equal(other.eval()(x), model(x))


@pytest.mark.parametrize("x", [torch.ones(4, 6), torch.zeros(4, 6)])
def test_images_that_never_vary_give_finite_answers(x):
    data = [(x, torch.tensor([0, 0, 1, 1])), (x + 1, torch.tensor([0, 0, 1, 1]))]
    router = router_of(data)
    answer = router.joint(scores_of(router, torch.randn(5, 6)), torch.full((5, 2, CLASSES), 1 / CLASSES).log())
    assert answer[:, :2].isfinite().all() and (answer[:, 2] < -20).all(), "the class without samples never scores"
