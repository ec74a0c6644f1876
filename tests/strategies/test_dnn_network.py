"""The network with several heads: answering rules and the Gaussian router, against independent computations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lorisbench.model.checkpoint import load_state
from lorisbench.strategies.dnn import answers as dnn_answers
from lorisbench.strategies.dnn.network import DynamicNetwork
from lorisbench.strategies.dnn.router import GaussianRouter

RULES = ("prototype", "agreement", "confidence", "batch", "mean", "newest", "oracle", "gaussians")
WIDTH, CLASSES = 5, 3


def gaussians(domains, samples, seed, width=WIDTH, classes=CLASSES, missing=False):
    """A list of (features, labels), a domain each, with the domains apart and a correlated spread."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(width, width)) / width**0.5
    found = []
    for domain in range(domains):
        y = rng.permutation(np.arange(samples) % (classes - 1 if missing and domain else classes))
        means = rng.normal(size=(classes, width)) * 2 + rng.normal(size=width) * 2
        x = means[y] + rng.normal(size=(samples, width)) @ spread
        found.append((torch.tensor(x, dtype=torch.float32), torch.tensor(y)))
    return found


def network(answer="prototype", heads=3, linear=True, data=None, backbone=None, **settings):
    torch.manual_seed(0)

    def new_head():
        return nn.Linear(WIDTH, CLASSES) if linear else nn.Sequential(nn.Linear(WIDTH, CLASSES))

    model = DynamicNetwork(backbone, new_head, answer=answer, **settings)
    for head in range(heads):
        if head:
            model.add_head()
        model.train_only(head)
        if data is not None:
            model.record_domain([data[head]])
    return model.eval()


class CountProducts(TorchDispatchMode):
    """Counts matrix products that add a bias."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.addmm.default
        return func(*args, **(kwargs or {}))


# ---------------------------------------------------------------- router


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.01, 1.0))
def test_router_scores_are_linear_discriminant_analysis(seed, domains, shrinkage):
    data = gaussians(domains, 21, seed)  # equal domains, so that empirical priors are the router's
    router = GaussianRouter(shrinkage, temperature=1.0)
    for head, (x, y) in enumerate(data):
        router.record([(x[:8], y[:8]), (x[8:], y[8:])], CLASSES, head)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    x_all = torch.cat([x for x, _ in data]).double().numpy()
    pairs = torch.cat([y + CLASSES * domain for domain, (_, y) in enumerate(data)]).numpy()
    lda.fit(x_all, pairs)
    x = torch.randn(10, WIDTH)
    scores = nn.functional.linear(x, router.weight, router.bias)
    expected = torch.tensor(lda.predict_proba(x.double().numpy()))
    assert torch.allclose(scores.softmax(1).double(), expected, atol=1e-4)
    by_domain = expected.view(10, domains, CLASSES).sum(2)
    assert torch.allclose(router.head_weights(scores, domains).double(), by_domain, atol=1e-4)


def test_domains_of_one_head_are_one_domain():
    data = gaussians(3, 20, 4, missing=True)  # two of three classes in the later ones
    apart, together = GaussianRouter(0.1), GaussianRouter(0.1)
    for (x, y), head in zip(data, (0, 1, 0), strict=True):
        apart.record([(x, y)], CLASSES, head)
    joined = [torch.cat(parts) for parts in zip(data[0], data[2], strict=True)]
    for (x, y), head in ((data[1], 1), (joined, 0)):
        together.record([(x, y)], CLASSES, head)
    assert (apart.domain_head.tolist(), together.domain_head.tolist()) == ([0, 1], [1, 0])
    assert torch.equal(apart.counts, together.counts.flip(0))
    assert torch.allclose(apart.means, together.means.flip(0), atol=1e-6)
    assert torch.allclose(apart.scatter, together.scatter, rtol=1e-5, atol=1e-4)


def test_statistics_keep_one_half_of_the_symmetric_scatter():
    router = GaussianRouter()
    for head, (x, y) in enumerate(gaussians(2, 20, 0)):
        router.record([(x, y)], CLASSES, head)
    counts, means, scatter, owners = 2 * CLASSES * 8, 2 * CLASSES * WIDTH * 4, WIDTH * (WIDTH + 1) // 2 * 4, 2 * 8
    assert router.statistics_bytes() == counts + means + scatter + owners


def test_oas_covariance_is_scikit_learns():
    data = gaussians(2, 30, 0, width=12)
    router = GaussianRouter("oas")
    for head, (x, y) in enumerate(data):
        router.record([(x, y)], CLASSES, head)
    centred = torch.cat([x - torch.stack([x[y == k].mean(0) for k in range(CLASSES)])[y] for x, y in data])
    expected, share = oas(centred.double().numpy(), assume_centered=True)
    assert 0 < share < 1
    assert np.allclose(router.covariance().numpy(), expected, rtol=1e-5, atol=1e-7)


def test_a_class_that_a_domain_lacks_never_scores_there():
    data = gaussians(2, 20, 3, missing=True)
    router = GaussianRouter(0.1, temperature=1.0)
    for head, (x, y) in enumerate(data):
        router.record([(x, y)], CLASSES, head)
    x = torch.randn(6, WIDTH)
    weights = router.head_weights(nn.functional.linear(x, router.weight, router.bias), 2)
    likelihood = torch.zeros(6, 2)
    for domain, (features, y) in enumerate(data):
        for k in y.unique():
            density = multivariate_normal(features[y == k].double().mean(0), router.covariance())
            likelihood[:, domain] += (y == k).float().mean() * torch.tensor(density.pdf(x.numpy()))
    assert torch.allclose(weights, likelihood / likelihood.sum(1, keepdim=True), atol=1e-4)


def test_temperature_moves_the_weights_towards_equal_ones():
    data, spread = gaussians(2, 30, 1), []
    for temperature in (1.0, 10.0, 1e6):
        model = network(heads=2, data=data, router_temperature=temperature)
        scores = nn.functional.linear(data[0][0], model.router.weight, model.router.bias)
        spread.append(float((model.router.head_weights(scores, 2) - 0.5).abs().mean()))
    assert spread[0] > spread[1] > spread[2] and spread[2] < 1e-3


def test_degenerate_statistics_give_finite_scores():
    router = GaussianRouter("oas")
    router.record([(torch.ones(2, WIDTH), torch.zeros(2, dtype=torch.int64))], CLASSES, 0)
    assert router.weight.isfinite().all() and router.bias[0].isfinite()
    with pytest.raises(ValueError, match="at least one sample"):
        router.record([], CLASSES, 0)


def test_prototype_routes_where_confidence_does_not():
    data = gaussians(5, 240, 7)
    train, test = ([(x[half], y[half]) for x, y in data] for half in (slice(120), slice(120, 240)))
    model = network(heads=5, data=train)
    for head, (x, y) in zip(model.heads, train, strict=True):  # heads that know their own domain only
        fit = LinearDiscriminantAnalysis().fit(x.numpy(), y.numpy())
        head.load_state_dict({"weight": torch.tensor(fit.coef_), "bias": torch.tensor(fit.intercept_)})
    right = {}
    for rule in RULES:
        model.answer = rule
        right[rule] = np.mean([float((model(x).argmax(1) == y).float().mean()) for x, y in test])
    assert min(right["prototype"], right["agreement"]) > max(right["confidence"], right["newest"]) + 0.1
    assert right["prototype"] > 0.95


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(("rule", "linear"), itertools.product(RULES, (True, False)))
def test_answers_equal_a_loop_over_images_and_heads(rule, linear):
    data = gaussians(3, 20, 5)
    model = network(rule, linear=linear, data=data, router_temperature=2.0)
    x = torch.randn(9, WIDTH)
    found = model(x).exp()
    assert torch.allclose(found.sum(1), torch.ones(9), atol=1e-5)
    scores = nn.functional.linear(x, model.router.weight, model.router.bias).view(9, 3, CLASSES)
    surest = torch.stack([head(x).softmax(1).amax(1).mean() for head in model.heads]).argmax()
    for image in range(9):
        p = torch.stack([head(x[image]).softmax(0) for head in model.heads])
        domain = (scores[image].logsumexp(1) / 2).softmax(0)
        agreement = sum((scores[image, d] / 2).exp() * p[d] for d in range(3))
        alone = (scores[image] / 2).exp().sum(0)
        expected = {
            "prototype": sum(domain[d] * p[d] for d in range(3)),
            "agreement": agreement / agreement.sum(),
            "confidence": p[p.amax(1).argmax()],
            "batch": p[surest],
            "mean": p.mean(0),
            "newest": p[2],
            "oracle": agreement / agreement.sum(),
            "gaussians": alone / alone.sum(),
        }[rule]
        assert torch.allclose(found[image], expected, atol=1e-5)


def test_batch_takes_one_head_for_all_and_confidence_one_for_each():
    surest = torch.tensor([[0.99, 0.75, 0.999], [0.72, 0.74, 0.5], [0.55, 0.74, 0.5]])  # (images, heads)
    p = torch.stack([surest, 1 - surest], dim=2)
    # means 0.753, 0.743, 0.666; head 2 has the largest single value, head 1 the highest mean logarithm
    assert torch.allclose(dnn_answers.batch(p.log()).exp(), p[:, 0])
    assert torch.allclose(dnn_answers.confidence(p.log()).exp(), torch.stack([p[0, 2], p[1, 1], p[2, 1]]))
    assert torch.allclose(dnn_answers.mean(p.log()).exp(), p.mean(1))


@pytest.mark.parametrize("told", [0, 2])
def test_oracle_answers_with_the_head_it_is_told(told):
    model, x = network("oracle", data=gaussians(3, 20, 5)), torch.randn(4, WIDTH)
    blind = model(x)
    model.told = told
    assert torch.equal(model(x), model.heads[told](x).log_softmax(1))
    assert not torch.allclose(model(x), blind)


@pytest.mark.parametrize("rule", RULES)
def test_one_head_answers_alone_whatever_the_rule(rule):
    data = gaussians(2, 20, 2)
    model = network(rule, heads=1, data=data)
    model.router.record([data[1]], CLASSES, 0)
    x = torch.randn(4, WIDTH)
    assert torch.equal(model(x), model.heads[0](x).log_softmax(1))


@pytest.mark.parametrize("rule", ["prototype", "agreement", "mean", "confidence", "batch"])
def test_twelve_linear_heads_are_one_matrix_product(rule):
    model = network(rule, heads=12, data=gaussians(12, 12, 0))
    x = torch.randn(2, WIDTH)
    with torch.no_grad(), CountProducts() as products:
        model(x)
    assert products.count == 1


def test_kept_stack_follows_every_change():
    data = gaussians(3, 20, 5)
    model, x = network(data=data), torch.cat([x[:4] for x, _ in data])
    state = model.state_dict()
    fresh = lambda: (setattr(model, "_stack", None), model(x))[1]  # noqa: E731
    with torch.no_grad():
        before = model(x)
        assert model._stack is not None
        for change in (
            lambda: model.heads[1].weight.mul_(2.0),
            lambda: model.load_state_dict({k: v * 3 if "weight" in k else v for k, v in state.items()}),
            lambda: model.router.record([data[0]], CLASSES, 2),
        ):
            change()
            after = model(x)
            assert not torch.equal(after, before)
            assert torch.equal(after, fresh())
            before = after
        model.answer = "mean"  # heads only: their parameters stay the same objects when their type changes
        model(x)
        assert model.double()(x.double()).dtype == torch.float64
    model(x.double()).sum().backward()
    assert model.heads[2].weight.grad is not None  # with gradients the stack is made anew


def test_evaluation_can_be_exported():
    model, x = network(data=gaussians(3, 20, 5), backbone=nn.Flatten()), torch.randn(4, 1, WIDTH)
    exported = torch.export.export(model, (x,)).module()
    assert torch.allclose(exported(x), model(x), atol=1e-6)


# ---------------------------------------------------------------- state, modes


@pytest.mark.parametrize("linear", [True, False])
def test_state_with_more_heads_and_domains_loads(linear):
    model, x = network(linear=linear, data=gaussians(3, 20, 5)), torch.randn(4, WIDTH)
    other = network(linear=linear, heads=1)
    load_state(other, model.state_dict())
    assert len(other.heads) == 3
    assert torch.equal(other.eval()(x), model(x))
    assert other.router_bytes() == model.router_bytes() > 0
    held = sum(v.numel() * v.element_size() for k, v in model.state_dict().items() if k.startswith("router."))
    assert model.router_bytes() == held


def test_only_the_active_head_trains_and_a_frozen_backbone_stays():
    backbone = nn.Sequential(nn.Conv2d(1, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = network(backbone=backbone)
    model.train_only(1)
    assert model.train().backbone[1].training  # has gradients still
    model.freeze_backbone()
    model.train()
    assert not any(m.training for m in backbone.modules())
    mean = backbone[1].running_mean.clone()
    out = model(torch.randn(4, 1, 2, 2))
    assert torch.equal(backbone[1].running_mean, mean)
    assert torch.equal(out, model.heads[1](model.last_features))
    out.sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"heads.1.weight", "heads.1.bias"}
    assert [head.training for head in model.heads] == [False, True, False]
    x = torch.randn(4, WIDTH)
    assert torch.equal(model(x), model.heads[1](x))  # two dimensions are features


def test_unknown_answer_is_refused():
    with pytest.raises(ValueError, match="'loudest' is none of open"):
        network("loudest")
