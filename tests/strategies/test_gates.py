"""Rivals of DNN's answer over the same heads: each choice against scikit-learn, SciPy, Avalanche or a closed form."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import small_runs
import torch
from avalanche.models.expert_gate import ExpertAutoencoder, ExpertGate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import nn

from lorisbench.common.registry import STRATEGIES
from lorisbench.model.checkpoint import load_state
from lorisbench.strategies.dnn.dce import ExpertSelector
from lorisbench.strategies.dnn.domains import Domains
from lorisbench.strategies.dnn.expert_gate import LeastError
from lorisbench.strategies.dnn.network import Answer, DynamicNetwork
from lorisbench.strategies.dnn.s_prompts import NearestCentre
from lorisbench.strategies.dnn.soyo import DomainClassifier
from lorisbench.strategies.dnn.strategy import DNN
from lorisbench.strategies.parts.clusters import Mixture, clusters, k_means, mixture, seeds

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, CLASSES, DOMAINS = 6, 3, 3
Data = list[tuple[torch.Tensor, torch.Tensor]]
ROUTERS: dict[str, Any] = {
    "dnn-s-prompts": lambda: NearestCentre(4, 0),
    "dnn-expert-gate": lambda: LeastError(3, 40, 0.05, 0),
    "dnn-soyo": lambda: DomainClassifier(3, 10, 0.05, 0),
    "dnn-dce": lambda: ExpertSelector(30, 15, 0.05, 0),
}


def data(seed: int = 0, count: int = 90) -> Data:
    """Features and labels of some domains, which are apart; the classes mean something else in each."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.Generator().manual_seed(1)
    found = []
    for domain in range(DOMAINS):
        y = torch.arange(count) % CLASSES
        means = 4 * torch.randn(1, WIDTH, generator=centres) + 1.5 * torch.randn(CLASSES, WIDTH, generator=centres)
        x = means[(y + domain) % CLASSES] + 0.3 * torch.randn(count, WIDTH, generator=generator)
        found.append((x, y))
    return found


def network(router: Domains, domains: Data) -> DynamicNetwork:
    """A head for each domain, right there: least squares on its data."""
    torch.manual_seed(0)
    model = DynamicNetwork(None, lambda: nn.Linear(WIDTH, CLASSES), answer="prototype", router=router)
    for index, (x, y) in enumerate(domains):
        if index:
            model.add_head()
        model.train_only(index)
        ones = torch.cat([x, torch.ones(len(x), 1)], dim=1)
        solved = torch.linalg.lstsq(ones, torch.eye(CLASSES)[y]).solution
        head: Any = model.heads[index]
        head.load_state_dict({"weight": 20 * solved[:-1].T, "bias": 20 * solved[-1]})
        model.record_domain([(x[:40], y[:40]), (x[40:], y[40:])])
    return model.eval()


@pytest.fixture(scope="module")
def trained() -> dict[str, DynamicNetwork]:
    return {name: network(router(), data()) for name, router in ROUTERS.items()}


# ---------------------------------------------------------------- clusters and mixtures


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_k_means_is_scikit_learns_from_the_same_centres(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(50, WIDTH, generator=generator).double()
    start = seeds(x, count, generator)
    theirs = KMeans(count, init=start.numpy(), n_init=1, tol=0, algorithm="lloyd").fit(x.numpy())
    assert np.allclose(k_means(x, start), theirs.cluster_centers_, rtol=1e-9)


def test_centres_to_start_from_are_samples_and_spread_over_the_clusters() -> None:
    x = torch.tensor([[0.0, 0], [0.1, 0], [100, 0], [100, 0.1], [0, 100], [0.1, 100]])
    for seed in range(10):
        start = seeds(x, 3, torch.Generator().manual_seed(seed))
        assert all((start_row == x).all(dim=1).any() for start_row in start)
        assert len({(row / 50).round().int().tolist().__repr__() for row in start}) == 3
    assert len(seeds(torch.ones(2, 2), 3, torch.Generator())) == 3, "fewer different samples than centres"


def test_no_centre_is_a_sample() -> None:
    lonely = torch.tensor([[0.0, 0], [0.1, 0], [0.2, 0], [0.3, 0], [50.0, 50]])
    for seed in range(10):
        found = clusters(lonely, 2, torch.Generator().manual_seed(seed))
        assert found.shape == (2, 2) and not (found[:, None] == lonely).all(dim=2).any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_a_mixture_is_scikit_learns(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 3, generator=generator).double() + 3 * (torch.arange(80) % count)[:, None]
    centres = k_means(x, seeds(x, count, generator))
    share = torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(dim=1), count).double()
    means = share.T @ x / share.sum(dim=0)[:, None]
    variances = share.T @ x.square() / share.sum(dim=0)[:, None] - means.square() + 1e-6
    start = {"weights_init": share.mean(dim=0), "means_init": means, "precisions_init": 1 / variances}
    theirs = GaussianMixture(count, covariance_type="diag", **{k: v.numpy() for k, v in start.items()})
    theirs.fit(x.numpy())
    ours = mixture(x, centres)
    for found, wanted in zip(ours, (theirs.weights_, theirs.means_, theirs.covariances_), strict=True):
        assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    density = ours.log_joint(x).logsumexp(dim=1) - 1.5 * np.log(2 * np.pi)
    assert np.allclose(density, theirs.score_samples(x.numpy()), rtol=1e-4, atol=1e-4)


def test_samples_of_a_mixture_have_its_moments() -> None:
    of = Mixture(torch.tensor([0.25, 0.75]), torch.tensor([[0.0, 5], [4, 5]]), torch.tensor([[1.0, 4], [1, 4]]))
    drawn = of.draw(20_000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(dim=0), torch.tensor([3.0, 5]), atol=0.1)
    assert torch.allclose(drawn.var(dim=0), torch.tensor([4.0, 4]), atol=0.2)


# ---------------------------------------------------------------- each choice


def test_s_prompts_takes_the_nearest_centre_by_l1(trained: dict[str, DynamicNetwork]) -> None:
    gate: Any = trained["dnn-s-prompts"].router
    x = torch.randn(20, WIDTH)
    unit = (x / x.norm(dim=1, keepdim=True)).double().numpy()
    distances = [cdist(unit, centres.double().numpy(), "cityblock").min(axis=1) for centres in gate.centres]
    assert np.allclose(-gate.scores(x), np.stack(distances, axis=1), rtol=1e-5)
    assert torch.allclose(gate.scores(7 * x), gate.scores(x), atol=1e-5), "features are scaled to length 1"


def test_expert_gate_has_avalanches_errors(trained: dict[str, DynamicNetwork]) -> None:
    """Avalanche's autoencoder and its error with our weights; what it needs of AlexNet is left out."""
    gate: Any = trained["dnn-expert-gate"].router
    theirs = ExpertGate.__new__(ExpertGate)
    nn.Module.__init__(theirs)
    theirs.autoencoder_dict = nn.ModuleDict()
    for domain in range(DOMAINS):
        auto = ExpertAutoencoder.__new__(ExpertAutoencoder)
        nn.Module.__init__(auto)
        auto.feature_module, auto.shape, auto.device = nn.Identity(), (WIDTH,), torch.device("cpu")
        auto.encoder = nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 3), nn.ReLU())
        auto.decoder = nn.Sequential(nn.Linear(3, WIDTH), nn.Sigmoid())
        auto.encoder[1].weight.data, auto.encoder[1].bias.data = gate.encoder[domain].T, gate.encoder_bias[domain]
        auto.decoder[0].weight.data, auto.decoder[0].bias.data = gate.decoder[domain].T, gate.decoder_bias[domain]
        theirs.autoencoder_dict[str(domain)] = auto
    x = 2 * torch.randn(8, WIDTH)
    standard = (x - gate.mean) / gate.std  # theirs takes features of a network for that
    error = theirs._get_average_reconstruction_error
    with torch.no_grad():
        wanted = [[float(error(domain, row[None])) for domain in range(DOMAINS)] for row in standard]
    assert torch.allclose(-gate.scores(x), torch.tensor(wanted), rtol=1e-4)


def test_expert_gate_learns_to_reconstruct() -> None:
    gate, (x, _) = LeastError(3, 60, 0.05, 0), data()[0]
    gate.record([(x, x)], CLASSES, 0)
    z = gate.prepared(x)
    best_constant = (z - z.mean(dim=0)).square().sum(dim=1).mean()
    assert -gate.scores(x).mean() < 0.5 * best_constant
    assert torch.allclose(z.mean(), torch.tensor(0.5), atol=0.02), "the first domain's features are standardised"


def test_soyos_classifier_is_nearly_bayes_rule() -> None:
    """Two domains with one spherical covariance: the likelier one is that with the nearer mean."""
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[1.0, 0, 0], [-0.5, 1, 0]])
    gate = DomainClassifier(1, 10, 0.02, 0)
    for domain in range(2):
        gate.record([(means[domain] + torch.randn(600, 3, generator=generator), torch.empty(0))], CLASSES, domain)
    x = torch.randn(2000, 3, generator=generator)
    assert (gate.scores(x).argmax(dim=1) == torch.cdist(x, means).argmin(dim=1)).float().mean() > 0.95
    assert torch.allclose(gate.means[:, 0], means, atol=0.2)
    assert torch.allclose(gate.variances, torch.ones(()), atol=0.3)


def test_dce_draws_as_much_of_each_class_of_each_domain(trained: dict[str, DynamicNetwork]) -> None:
    router: Any = ExpertSelector(3000, 1, 0.01, 0)
    for head, (x, y) in enumerate(data()):
        kept = (y > 0) | (torch.arange(len(y)) < 30)  # class 0 is rare
        kept &= (y != 2) | (head != 1)  # and one is missing
        router.record([(x[kept], y[kept])], CLASSES, head)
    x, label = router.draw(torch.Generator().manual_seed(0))
    assert label.bincount().tolist() == [9000, 9000, 6000]
    pairs = x.view(-1, 3000, WIDTH)
    present = router.counts.flatten() > 0
    assert torch.allclose(pairs.mean(dim=1), router.means.flatten(0, 1)[present], atol=0.05)
    assert torch.allclose(torch.cov(pairs[4].T), router.covariance().float(), atol=0.02)


def test_dce_weighs_heads_by_what_its_selector_says(trained: dict[str, DynamicNetwork]) -> None:
    model, (x, _) = trained["dnn-dce"], data(5)[1]
    router: Any = model.router
    weights = (x @ router.selector.T + router.selector_bias).softmax(dim=1)
    chances = torch.stack([head(x).softmax(dim=1) for head in model.heads], dim=1)
    assert torch.allclose(model(x).exp(), torch.einsum("nd,ndk->nk", weights, chances), atol=1e-5)


@pytest.mark.parametrize("name", ROUTERS)
def test_the_own_domains_head_answers(trained: dict[str, DynamicNetwork], name: str) -> None:
    model = trained[name]
    for domain, (x, y) in enumerate(data(seed=7)):
        weights = model.router.head_weights(model.router.scores(x), DOMAINS)
        assert torch.allclose(weights.sum(dim=1), torch.ones(len(x)), atol=1e-5)
        assert (model(x).argmax(dim=1) == y).float().mean() > 0.95
        if name != "dnn-dce":  # which mixes heads, and any that is right will do
            assert (weights.argmax(dim=1) == domain).float().mean() > 0.95
            chosen = [model.heads[head](row) for row, head in zip(x, weights.argmax(dim=1).tolist(), strict=True)]
            assert torch.allclose(model(x).exp(), torch.stack(chosen).softmax(dim=1), atol=1e-5)


@pytest.mark.parametrize("name", ROUTERS)
def test_a_state_brings_its_domains_along(trained: dict[str, DynamicNetwork], name: str) -> None:
    model = trained[name]
    fresh = DynamicNetwork(None, lambda: nn.Linear(WIDTH, CLASSES), answer="prototype", router=ROUTERS[name]())
    load_state(fresh, model.state_dict())
    x = torch.randn(9, WIDTH)
    assert torch.equal(fresh.eval()(x), model(x))
    assert (
        model.router_bytes()
        == sum(each.numel() * each.element_size() for each in model.router.state_dict().values())
        > 0
    )


@pytest.mark.parametrize("name", ["dnn-s-prompts", "dnn-expert-gate", "dnn-soyo"])
def test_experiences_of_one_head_share_it(name: str) -> None:
    domains = data()
    model = network(ROUTERS[name](), domains[:2])
    model.train_only(0)
    model.record_domain([domains[2]])
    weights = model.eval().router.head_weights(model.router.scores(domains[2][0]), 2)
    assert (weights.argmax(dim=1) == 0).float().mean() > 0.9


@pytest.mark.parametrize("name", ROUTERS)
def test_degenerate_features_give_finite_answers(name: str) -> None:
    same = [(torch.ones(2, WIDTH), torch.zeros(2, dtype=torch.int64))] * 2
    assert network(ROUTERS[name](), same)(torch.randn(4, WIDTH)).exp().sum(dim=1).allclose(torch.ones(4))
    with pytest.raises(ValueError, match="at least one sample"):
        ROUTERS[name]().record([], CLASSES, 0)


# ---------------------------------------------------------------- transductive or not


def test_what_looks_at_several_images_at_once_is_marked(trained: dict[str, DynamicNetwork]) -> None:
    networks = [(DNN(answer=answer), DynamicNetwork(None, lambda: nn.Linear(WIDTH, CLASSES), answer=answer))
                for answer in get_args(Answer)]  # fmt: skip
    for _, model in networks:
        for index, (x, y) in enumerate(data()):
            if index:
                model.add_head()
            model.train_only(index)
            model.record_domain([(x, y)])
    networks += [(STRATEGIES.get(name)(), model) for name, model in trained.items()]
    x = torch.cat([x[:4] for x, _ in data(3)])
    marked = []
    for strategy, model in networks:
        model.eval()
        alone = torch.cat([model(row[None]) for row in x])
        said = any(remark.startswith("transductive") for remark in strategy.remarks())
        assert torch.allclose(model(x), alone, atol=1e-4) is not said, strategy
        values = type(strategy).transductive.items()
        assert any(getattr(strategy, key) in listed for key, listed in values) is said, strategy
        marked.append(said)
    assert sum(marked) == 1


# ---------------------------------------------------------------- in the harness

SMALLER = {"dnn-s-prompts": {"centres": 2}, "dnn-expert-gate": {"hidden": 4, "epochs": 3}, "dnn-soyo": {"epochs": 3},
           "dnn-dce": {"samples": 5, "epochs": 3}}  # fmt: skip


@pytest.mark.parametrize("name", SMALLER)
def test_a_run_goes_on_after_an_interrupt_as_if_there_had_been_none(name: str, tmp_path: Any) -> None:
    """Images first, then features of the backbone that the first experience trained."""
    entry = {"strategy": name, "expand_at": [1, 2], **SMALLER[name]}
    backbone = {"name": "pixels", "image_size": small_runs.SIZE, "train": "first"}
    whole = small_runs.run(small_runs.bench(entry, backbone=backbone), tmp_path / "whole")
    assert whole.entries()[-1]["heads"] == 3 and (whole.path / "answers.csv").is_file()
    small_runs.interrupted(small_runs.bench(entry, backbone=backbone), tmp_path / "parts", [2])
    assert small_runs.written(tmp_path / "parts") == small_runs.written(tmp_path / "whole")
