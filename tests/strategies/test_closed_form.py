"""Methods without heads to choose from against definitions, scikit-learn and Avalanche: no epoch, no sample is kept."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import small_runs
import torch
from avalanche.core import SupervisedPlugin
from avalanche.models.fecam import FeCAMClassifier, compute_covariance, compute_means
from avalanche.training import Naive
from avalanche.training.supervised.deep_slda import StreamingLDA as AvalancheLDA
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import oas as sklearn_oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics.pairwise import cosine_similarity, rbf_kernel
from sklearn.neighbors import NearestCentroid
from small_models import FEATURES, SMALL, TWO_CALLS
from tiny_stream import stream_of
from torch import nn
from torch.utils.data import Dataset

from lorisbench.engine.state import state_bytes
from lorisbench.engine.strategy import Context
from lorisbench.export.trained import read_run, restore_run
from lorisbench.model.checkpoint import load_state
from lorisbench.model.models import Classifier
from lorisbench.strategies import ranpac
from lorisbench.strategies.fecam import ClassCovariances, FeCAM, MahalanobisHead, tukey
from lorisbench.strategies.klda import KLDA, RandomFourier
from lorisbench.strategies.ncm import NCM, NearestMean
from lorisbench.strategies.parts.closed_form import ClosedFormPlugin, Means, SymmetricSum
from lorisbench.strategies.ranpac import HELD_OUT, RIDGES, RandomProjection, RanPAC, Ridge, Sums, best_ridge
from lorisbench.strategies.simplecil import Prototypes, SimpleCIL
from lorisbench.strategies.slda import SLDA, StreamingLDA

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, CLASSES = 5, 4
EACH = settings(max_examples=20, deadline=None)
CASES = {"seed": st.integers(0, 10**6), "samples": st.integers(6, 40), "cut": st.integers(1, 9)}


def draw(seed: int, samples: int, classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples in random order, each class at least once, with class means and a covariance that matter."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.arange(samples) % classes)[torch.randperm(samples, generator=generator)]
    mixing = torch.randn(WIDTH, WIDTH, generator=generator).double()
    means = 2 * torch.randn(classes, WIDTH, generator=generator).double() + 3
    return means[y] + torch.randn(samples, WIDTH, generator=generator).double() @ mixing, y


def fed(statistics, x, y, cut):
    """The statistics after all samples, in batches of unequal size."""
    for number, (some_x, some_y) in enumerate(zip(x.split(cut), y.split(cut), strict=True)):
        half = len(some_x) // 2 if number % 2 else 0
        for part in (slice(0, half), slice(half, None)):
            if len(some_x[part]):
                statistics.update(some_x[part], some_y[part])
    return statistics


def scores(statistics, x):
    weight, bias = statistics.linear()
    return x @ weight.T + bias


def centred(values):
    """Scores up to what is common to all classes, which changes no answer."""
    return values - values.mean(dim=1, keepdim=True)


# ---------------------------------------------------------------- streaming LDA


def recursion(x, y, shrinkage):
    """Hayes & Kanan's update, sample by sample, and their scores of x."""
    mu, count, sigma = torch.zeros(CLASSES, WIDTH).double(), torch.zeros(CLASSES).double(), torch.zeros(WIDTH, WIDTH)
    sigma = sigma.double()
    for t, (z, k) in enumerate(zip(x, y, strict=True)):
        delta = t * torch.outer(z - mu[k], z - mu[k]) / (t + 1)
        sigma = (t * sigma + delta) / (t + 1)
        mu[k] = (count[k] * mu[k] + z) / (count[k] + 1)
        count[k] += 1
    inverse = torch.linalg.inv((1 - shrinkage) * sigma + shrinkage * torch.eye(WIDTH).double())
    weight = mu @ inverse
    return mu, sigma, x @ weight.T - 0.5 * (weight * mu).sum(dim=1)


@EACH
@given(**CASES, shrinkage=st.floats(1e-4, 1))
def test_slda_in_batches_is_the_papers_recursion_sample_by_sample(seed, samples, cut, shrinkage):
    x, y = draw(seed, samples)
    ours = fed(StreamingLDA(CLASSES, shrinkage, "paper"), x, y, cut)
    mu, sigma, wanted = recursion(x, y, shrinkage)
    assert torch.allclose(ours.means.means, mu, rtol=1e-12, atol=1e-12)
    assert torch.allclose(ours.covariance(), sigma, rtol=1e-10, atol=1e-10)
    assert torch.allclose(centred(scores(ours, x)), centred(wanted), rtol=1e-8, atol=1e-8)


@EACH
@given(**CASES)
def test_slda_is_avalanches(seed, samples, cut):
    x, y = draw(seed, samples)
    theirs = AvalancheLDA(slda_model=nn.Identity(), criterion=nn.CrossEntropyLoss(), input_size=WIDTH,
                          num_classes=CLASSES, shrinkage_param=0.01, evaluator=None)  # fmt: skip
    theirs.muK, theirs.cK, theirs.Sigma = theirs.muK.double(), theirs.cK.double(), theirs.Sigma.double()
    for z, k in zip(x, y, strict=True):
        theirs.fit(z[None], k[None])
    ours = scores(fed(StreamingLDA(CLASSES, 0.01, "paper"), x, y, cut), x)
    assert torch.allclose(centred(ours), centred(theirs.predict(x)), rtol=1e-6, atol=1e-6)


@EACH
@given(**CASES, shrinkage=st.floats(1e-4, 1))
def test_slda_lda_is_scikit_learns_lsqr_on_all_data(seed, samples, cut, shrinkage):
    x, y = draw(seed, samples)
    y[-1] = y[0]  # priors that differ
    y = y.unique(return_inverse=True)[1]
    known = int(y.max()) + 1
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x.numpy(), y.numpy())
    ours = fed(StreamingLDA(known, shrinkage, "lda"), x, y, cut)
    weight, _ = ours.linear()
    assert known > 2
    assert np.allclose(theirs.coef_ - theirs.coef_.mean(0), weight - weight.mean(0), rtol=1e-7, atol=1e-7)
    found = scores(ours, x)
    wanted = torch.from_numpy(theirs.decision_function(x.numpy()))
    assert torch.allclose(centred(found), centred(wanted), rtol=1e-6, atol=1e-6)
    assert (found.argmax(dim=1).numpy() == theirs.predict(x.numpy())).all()


@EACH
@given(**CASES)
def test_slda_shrinks_as_scikit_learns_oas_does(seed, samples, cut):
    x, y = draw(seed, samples)
    for definition, priors in (("lda", y.bincount() / samples), ("paper", torch.ones(CLASSES))):
        ours = fed(StreamingLDA(CLASSES, "oas", definition), x, y, cut)
        root = samples**0.5 * torch.linalg.cholesky(ours.covariance() + 1e-12 * torch.eye(WIDTH)).T
        rows = torch.cat([root, torch.zeros(samples - WIDTH, WIDTH)])  # as many samples with the same covariance
        covariance, share = sklearn_oas(rows.numpy(), assume_centered=True)
        assert 0 < share <= 1
        weight = ours.means.means @ np.linalg.inv(covariance)
        wanted = x @ weight.T - 0.5 * (weight * ours.means.means).sum(dim=1) + priors.log()
        assert torch.allclose(centred(scores(ours, x)), centred(wanted), rtol=1e-6, atol=1e-6)


def test_slda_lda_does_not_depend_on_the_order_and_the_papers_does():
    x, y = draw(3, 30)
    order = torch.argsort(y)
    for definition, same in (("lda", True), ("paper", False)):
        one, other = (fed(StreamingLDA(CLASSES, 0.1, definition), x[o], y[o], 7) for o in (torch.arange(30), order))
        assert torch.allclose(one.covariance(), other.covariance()) is same


def test_slda_takes_one_sample_a_class():
    x, y = torch.eye(CLASSES, WIDTH).double(), torch.arange(CLASSES)
    for definition, shrinkage in itertools.product(("lda", "paper"), ("oas", 1e-4)):
        found = scores(fed(StreamingLDA(CLASSES, shrinkage, definition), x, y, 3), x)
        assert found.isfinite().all()
    assert (found.argmax(dim=1) == y).all()


# ---------------------------------------------------------------- nearest class mean


@EACH
@given(**CASES)
def test_ncm_is_scikit_learns_nearest_centroid(seed, samples, cut):
    x, y = draw(seed, samples)
    ours = fed(NearestMean(CLASSES, "euclidean"), x, y, cut)
    theirs = NearestCentroid().fit(x.numpy(), y.numpy())
    assert np.allclose(theirs.centroids_, ours.means.means, rtol=1e-10)
    distances = -0.5 * torch.cdist(x, ours.means.means).square()
    assert torch.allclose(centred(scores(ours, x)), centred(distances), rtol=1e-8, atol=1e-8)
    assert (scores(ours, x).argmax(dim=1).numpy() == theirs.predict(x.numpy())).all()


@EACH
@given(**CASES)
def test_ncm_cosine_is_the_nearest_of_means_of_unit_length(seed, samples, cut):
    x, y = draw(seed, samples)
    unit = x / x.norm(dim=1, keepdim=True)
    means = torch.stack([unit[y == k].mean(dim=0) for k in range(CLASSES)])
    distances = torch.cdist(unit, means / means.norm(dim=1, keepdim=True))
    ours = fed(NearestMean(CLASSES, "cosine"), x, y, cut)
    assert (scores(ours, x).argmax(dim=1) == distances.argmin(dim=1)).all()
    assert torch.allclose(scores(ours, unit), 1 - distances.square() / 2, rtol=1e-8, atol=1e-8)


@EACH
@given(**CASES)
def test_simplecil_is_the_highest_cosine_with_a_class_mean(seed, samples, cut):
    x, y = draw(seed, samples)
    means = NearestCentroid().fit(x.numpy(), y.numpy()).centroids_
    ours = scores(fed(Prototypes(CLASSES), x, y, cut), x)
    assert np.allclose(ours / x.norm(dim=1, keepdim=True), cosine_similarity(x.numpy(), means), rtol=1e-8)


# ---------------------------------------------------------------- FeCAM


def mahalanobis(x, y, cut, power=0.5, diagonal=1.0, off_diagonal=1.0):
    head = MahalanobisHead(WIDTH, CLASSES, power)
    head.take(fed(ClassCovariances(CLASSES, power, diagonal, off_diagonal), x, y, cut))
    return head


@EACH
@given(**CASES, power=st.sampled_from([0.5, 0.9]), diagonal=st.sampled_from([0.5, 3]), share=st.sampled_from([0, 1]))
def test_fecam_is_avalanches(seed, samples, cut, power, diagonal, share):
    x, y = draw(seed, samples + 4 * CLASSES)
    x = x.abs() + 0.1  # theirs takes no feature below 0
    theirs = FeCAMClassifier(tukey1=power, shrink1=diagonal, shrink2=share * diagonal)
    known = theirs.apply_transforms(x)
    shrunk = {label: theirs._shrink_cov(each) for label, each in compute_covariance(known, y).items()}
    theirs.replace_class_means_dict({label: mean.float() for label, mean in compute_means(known, y).items()})
    theirs.replace_class_cov_dict(theirs._normalize_cov(shrunk))
    ours = mahalanobis(x, y, cut, power, diagonal, share * diagonal)(x.float())
    assert torch.allclose(ours, theirs.forward(x.float()), rtol=1e-3, atol=1e-3)


def test_fecam_takes_features_below_0_and_one_sample_a_class():
    assert torch.allclose(tukey(torch.tensor([-4.0, 0, 9]), 0.5), torch.tensor([-2.0, 0, 3]))
    x, y = torch.eye(CLASSES, WIDTH).double() - 0.1, torch.arange(CLASSES)
    found = mahalanobis(x, y, 3)(x.float())
    assert found.isfinite().all() and (found.argmax(dim=1) == y).all()
    only = mahalanobis(x[:2], y[:2], 3)(x.float())
    assert (only[:, 2:] == -torch.inf).all() and only[:, :2].isfinite().all()
    with pytest.raises(ValueError, match="off_diagonal may not be larger"):
        FeCAM(diagonal=1, off_diagonal=2)


def test_fecam_is_linear_until_it_has_covariances_and_takes_them_from_a_state():
    x, y = draw(0, 30)
    head, fresh = mahalanobis(x, y, 7), MahalanobisHead(WIDTH, CLASSES, 0.5)
    assert torch.equal(fresh(x.float()), nn.functional.linear(x.float(), fresh.weight, fresh.bias))
    load_state(fresh, head.state_dict())
    assert torch.equal(fresh(x.float()), head(x.float()))


# ---------------------------------------------------------------- KLDA


def test_klda_has_the_kernel_and_the_scale_of_scikit_learns_sampler():
    x = draw(0, 40)[0]
    fourier = RandomFourier(WIDTH, 40_000, 1.0, 0)
    fourier.scale(x.split(7))
    gamma = float(fourier.gamma)
    assert gamma == pytest.approx(1 / (WIDTH * x.numpy().var()), rel=1e-5)
    theirs = RBFSampler(gamma="scale", n_components=9, random_state=0).fit(x.numpy())
    ours = RandomFourier(WIDTH, 9, gamma, 0)
    ours.matrix.copy_(torch.from_numpy(theirs.random_weights_) / (2 * gamma) ** 0.5)
    ours.offset.copy_(torch.from_numpy(theirs.random_offset_))
    assert np.allclose(ours(x.float()), theirs.transform(x.numpy()), atol=1e-4)
    h = fourier(x.float())
    assert np.allclose(h @ h.T, rbf_kernel(x.numpy(), gamma=gamma), atol=0.03)
    assert torch.equal(RandomFourier(WIDTH, 9, 1, 5).matrix, RandomFourier(WIDTH, 9, 1, 5).matrix)
    assert not torch.equal(RandomFourier(WIDTH, 9, 1, 5).matrix, RandomFourier(WIDTH, 9, 1, 6).matrix)


def test_klda_takes_the_scale_of_the_first_experience_alone():
    for gamma, wanted in (("scale", None), (0.25, 0.25)):
        model = Classifier(None, nn.Linear(WIDTH, CLASSES))
        _, states = in_avalanche(KLDA(width=64, gamma=gamma), model, (WIDTH,))
        found = [float(state["head.0.gamma"]) for state in states]
        first = Guarded(0, (WIDTH,)).x.numpy()
        assert found == pytest.approx([wanted or 1 / (WIDTH * first.var())] * 3, rel=1e-4)


# ---------------------------------------------------------------- RanPAC


@EACH
@given(**CASES, ridge=st.floats(1e-3, 1e3))
def test_ranpac_is_ridge_regression_on_the_projection(seed, samples, cut, ridge):
    x, y = draw(seed, samples)
    h = RandomProjection(WIDTH, 12, seed)(x.float()).double()
    theirs = SklearnRidge(alpha=ridge, fit_intercept=False, solver="cholesky")
    theirs.fit(h.numpy(), np.eye(CLASSES)[y])
    weight, bias = fed(Ridge(CLASSES, ridge), h, y, cut).linear()
    assert np.allclose(weight, theirs.coef_, rtol=1e-6, atol=1e-8)
    assert (bias == 0).all()


def by_singular_values(h, targets, ridges):
    """Ridge regression with each ridge, (classes, M), in a way that needs no Gram matrix."""
    u, values, v = np.linalg.svd(h, full_matrices=False)
    return [(targets.T @ u) * (values / (values**2 + ridge)) @ v for ridge in ridges]


@EACH
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 30), width=st.sampled_from([6, 80, 200]))
def test_ranpac_chooses_the_ridge_on_samples_held_out_and_counts_them_then(seed, cut, width):
    """With more samples than the width, with fewer, and with so few that ridges are compared in the samples' span."""
    x, y = draw(seed, 60)
    h = RandomProjection(WIDTH, width, seed)(x.float()).double()
    h[:, 0] = 0  # a dead unit, as ReLU makes them: G is singular
    number = torch.tensor([int((y[:i] == y[i]).sum()) for i in range(60)])
    held = number % HELD_OUT == HELD_OUT - 1
    h, one_hot = h.numpy(), np.eye(CLASSES)[y]
    weights = by_singular_values(h[~held], one_hot[~held], RIDGES)
    errors = [((h[held] @ weight.T - one_hot[held]) ** 2).sum() for weight in weights]
    ours = fed(Ridge(CLASSES, None), torch.from_numpy(h), y, cut)
    weight, _ = ours.linear()
    assert errors[RIDGES.index(ours.ridge)] == pytest.approx(min(errors), rel=1e-6)
    chosen = ours.ridge
    whole, doubled = by_singular_values(h, one_hot, [chosen, chosen / 2])
    assert np.allclose(weight, whole, rtol=1e-4, atol=1e-6)
    ours.update(torch.from_numpy(h), y)
    twice, _ = ours.linear()
    assert ours.ridge == chosen, "chosen once"
    assert np.allclose(twice, doubled, rtol=1e-4, atol=1e-6)


def equations(h, y):
    sums = Sums()
    sums.add(h, torch.eye(CLASSES).double()[y])
    return sums.equations()


@pytest.mark.parametrize("width", [30, 200])
def test_ranpac_chooses_no_ridge_with_which_g_has_no_factor(width, monkeypatch):
    """Small ridges are best here, and in the samples' span some can be solved with that are too small for all of G."""
    monkeypatch.setattr(ranpac, "RIDGES", [10 ** (power / 10) for power in range(-80, 21)])
    y = torch.arange(60) % CLASSES
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        large = [torch.randn(shape, generator=generator).double() for shape in ((60, 10), (10, width))]
        h = 1e4 * large[0] @ large[1]
        h[:, :CLASSES] = torch.eye(CLASSES).double()[y]
        seen = equations(h[:24], y[:24])
        assert seen.solve(best_ridge(seen, equations(h[24:], y[24:]))).isfinite().all()
        with pytest.raises(torch.linalg.LinAlgError):
            seen.solve(1e-8)


@pytest.mark.parametrize("width", [6, 200])
def test_ranpac_finds_no_ridge_for_features_that_are_not_numbers(width):
    statistics = fed(Ridge(CLASSES, None), torch.full((60, width), torch.nan).double(), torch.arange(60) % CLASSES, 7)
    with pytest.raises(torch.linalg.LinAlgError, match="any ridge"):
        statistics.linear()


def test_ranpac_raises_a_ridge_with_which_nothing_can_be_solved():
    x = torch.full((6, 3), 1e8).double()
    statistics = Ridge(2, 1e-8)
    statistics.update(x, torch.tensor([0, 1, 0, 1, 0, 0]))
    weight, _ = statistics.linear()
    assert weight.isfinite().all() and statistics.ridge > 1e-8
    statistics.update(x * torch.nan, torch.tensor([0, 1, 0, 1, 0, 0]))
    with pytest.raises(torch.linalg.LinAlgError):
        statistics.linear()


def test_ranpac_draws_its_projection_by_the_seed():
    one, again, other = (RandomProjection(50, 2000, seed) for seed in (1, 1, 2))
    x = torch.randn(3, 50)
    assert torch.equal(one(x), again(x)) and not torch.equal(one(x), other(x))
    assert one.matrix.std().item() == pytest.approx(50**-0.5, rel=0.02) and abs(one.matrix.mean().item()) < 1e-3
    assert one(x).min() == 0 and not list(one.parameters())


# ---------------------------------------------------------------- common parts


KINDS = [
    lambda: NearestMean(CLASSES, "euclidean"),
    lambda: NearestMean(CLASSES, "cosine"),
    lambda: Prototypes(CLASSES),
    lambda: StreamingLDA(CLASSES, 1e-4, "paper"),
    lambda: StreamingLDA(CLASSES, 1e-2, "lda"),
    lambda: StreamingLDA(CLASSES, "oas", "paper"),
    lambda: Ridge(CLASSES, None),
    lambda: Ridge(CLASSES, 1e-8),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_a_sample_never_answers(kind):
    x, y = draw(0, 30, classes=2)
    found = scores(fed(kind(), x, y + 1, 8), torch.cat([x, -x, 100 * x]))
    assert (found[:, [0, 3]] == -torch.inf).all() and found[:, 1:3].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_do_not_grow_with_the_samples_and_go_on_after_an_answer(kind):
    x, y = draw(0, 60)
    plugin = ClosedFormPlugin(kind())
    strategy = type("Strategy", (), {"plugins": [plugin]})
    sizes, model = [], nn.Identity()
    for part in (slice(0, 30), slice(30, 60)):
        fed(plugin.statistics, x[part], y[part], 16)
        plugin.statistics.linear()
        sizes.append(state_bytes(strategy, model)[0])
    assert sizes[0] == sizes[1] > 0
    if not isinstance(plugin.statistics, Ridge):  # whose samples held out are those of the first answer
        assert torch.allclose(scores(plugin.statistics, x), scores(fed(kind(), x, y, 60), x))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_a_packed_sum_is_the_sum(sizes):
    generator = torch.Generator().manual_seed(len(sizes))
    total, wanted = SymmetricSum(), torch.zeros(WIDTH, WIDTH).double()
    for size in sizes:
        a = torch.randn(size, WIDTH, generator=generator).double()
        total.add(a, a)
        wanted += a.T @ a
        total.pack()
        assert total.packed.shape == (WIDTH * (WIDTH + 1) // 2,)
    both = SymmetricSum()
    both.merge(total)
    both.merge(total)
    assert torch.allclose(both.matrix(), 2 * wanted) and torch.allclose(total.matrix(), wanted)


def test_means_tell_what_each_sample_met():
    means = Means(3)
    x = torch.tensor([[1.0], [3.0], [10.0]]).double()
    met, met_mean = means.update(x, torch.tensor([0, 0, 2]))
    assert met.tolist() == [0, 1, 0] and met_mean.tolist() == [[0], [1], [0]]
    met, met_mean = means.update(x, torch.tensor([0, 2, 2]))
    assert met.tolist() == [2, 1, 2] and met_mean.tolist() == [[2], [10], [6.5]]


# ---------------------------------------------------------------- in Avalanche


class Guarded(Dataset):
    """Samples that raise when they are touched while another experience is on."""

    now = 0

    def __init__(self, experience: int, shape: tuple[int, ...]) -> None:
        self.experience = experience
        self.targets = (torch.arange(12) % CLASSES).tolist()
        generator = torch.Generator().manual_seed(experience)
        self.x = torch.randn(12, *shape, generator=generator)
        self.x.flatten(1)[range(12), self.targets] += 5

    def __len__(self):
        return 12

    def __getitem__(self, index):
        assert Guarded.now == self.experience, "another experience was read"
        return self.x[index], self.targets[index]


class Count(SupervisedPlugin):
    """Minibatches trained on, by experience."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def before_training_exp(self, strategy, **kwargs):
        self.seen.append(0)

    def after_training_iteration(self, strategy, **kwargs):
        self.seen[-1] += 1


def in_avalanche(config, model, shape):
    context = Context(model, lambda: nn.Linear(WIDTH, CLASSES), CLASSES, WIDTH, 3, torch.device("cpu"), 0, None, dict)
    model, count = config.wrap(model, context), Count()
    plugins = [*config.plugins(context), count]
    strategy = Naive(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.01), train_mb_size=4,
                     train_epochs=2, plugins=plugins, evaluator=None)  # fmt: skip
    stream = stream_of([Guarded(e, shape) for e in range(3)])
    states = []
    for Guarded.now, experience in enumerate(stream.train_stream):
        strategy.train(experience)
        states.append(copy.deepcopy(model.state_dict()))
    data = [Guarded(e, shape) for e in range(3)]
    with torch.no_grad():
        found = [model.eval()(d.x).argmax(dim=1).tolist() == d.targets for d in data]
    assert all(found), "classes this far apart are told apart"
    assert all(plugin.replay_samples == 0 for plugin in plugins[:1])
    return count.seen, states


CONFIGS = [NCM(), NCM(metric="cosine"), SimpleCIL(), SLDA(), SLDA(definition="lda"), RanPAC(projection=64)]
CONFIGS += [KLDA(width=64), FeCAM()]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_no_minibatch_is_trained_on_features(config):
    seen, states = in_avalanche(config, Classifier(None, nn.Linear(WIDTH, CLASSES)), (WIDTH,))
    assert seen == [0, 0, 0]
    moved = "head.centres" if isinstance(config, FeCAM) else list(states[0])[-2]
    assert not torch.equal(states[0][moved], states[2][moved])


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_backbone_is_trained_in_the_first_experience_alone(config):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, WIDTH, (1, 5), bias=False), nn.BatchNorm2d(WIDTH), nn.Flatten()]
    layers[0].weight.data = torch.eye(WIDTH)[:, None, None] + 0.01 * torch.randn(WIDTH, 1, 1, 5)
    model = Classifier(nn.Sequential(*layers), nn.Sequential(nn.Linear(WIDTH, 3), nn.Linear(3, CLASSES)))
    start = copy.deepcopy(model.backbone.state_dict())
    seen, states = in_avalanche(config, model, (1, 1, WIDTH))
    assert seen == [6, 0, 0]
    shared = [{key: value for key, value in state.items() if key.startswith("backbone")} for state in states]
    for key, value in shared[0].items():
        assert torch.equal(value, shared[2][key]), key
        assert not torch.equal(value, start[key.removeprefix("backbone.")]), key
    assert all(module.training for module in model.train().modules()), "modes are as before"


def test_a_model_of_another_kind_is_refused():
    for model, words in ((nn.Linear(2, 2), "lacks some"), (Classifier(None, nn.ReLU()), "linear layer, not in a ReLU")):
        plugin = ClosedFormPlugin(NearestMean(CLASSES, "euclidean"))
        with pytest.raises(TypeError, match=words):
            plugin.after_training_exp(type("Strategy", (), {"model": model}))


# ---------------------------------------------------------------- in the harness

STRATEGIES = {
    "ncm": None, "simplecil": None, "slda": None, "ranpac": {"projection": 100}, "klda": {"width": 100}, "fecam": None
}  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "labels"),
    [("never", STRATEGIES), *(pytest.param(mode, ["slda"], marks=pytest.mark.heavy) for mode in ("first", "always"))],
)
def test_runs_on_features_and_on_images(suite_file, cli, tmp_path, mode, labels):
    out = tmp_path / "out"
    suite = suite_file(backbone={**SMALL, "train": mode}, strategies=labels, head={"hidden": [7]}, latency=TWO_CALLS,
                       training={"epochs": 1, "batch_size": 6})  # fmt: skip
    answer = cli("run", suite, "--out", out)
    assert answer.code == 0, answer.err
    results = pd.read_csv(out / "results.csv").set_index("strategy")
    assert (results.replay_samples == 0).all() and (results["heads"] == 1).all()
    assert results.latency_p50_ms.notna().all(), "the model is rebuilt from the checkpoint"
    means, triangle, ridge = 3 * FEATURES, FEATURES * (FEATURES + 1) // 2, 100 * 101 // 2 + 100 * 3  # and 3 counts
    numbers = {"ncm": means, "simplecil": means, "slda": means + triangle, "ranpac": ridge,
               "klda": ridge, "fecam": means + 3 * triangle}  # fmt: skip
    for name in labels:
        assert results.state_mb[name] == pytest.approx(8 * (numbers[name] + 3) / 1e6, rel=1e-6), name
    if mode == "first":
        for folder in (out / "runs").iterdir():
            model = restore_run(read_run(folder))
            assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_on_a_backbone_of_the_first_experience_goes_on_after_an_interrupt(name, tmp_path):
    """Images first, then features of the backbone that they trained: the statistics are of features alone."""
    entry = {"strategy": name, **(STRATEGIES[name] or {})}
    backbone = {"name": "pixels", "image_size": small_runs.SIZE, "train": "first"}
    whole = small_runs.run(small_runs.bench(entry, backbone=backbone), tmp_path / "whole")
    predicted, label, experience = whole.predictions()
    assert (predicted[0] == label)[experience == 0].mean() > 0.4, "chance is a third"
    small_runs.interrupted(small_runs.bench(entry, backbone=backbone), tmp_path / "parts", [1])
    assert small_runs.written(tmp_path / "parts") == small_runs.written(tmp_path / "whole")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("mode", ["never", "first"])
def test_runs_on_the_gpu(suite_file, cli, tmp_path, mode):
    backbone = {**SMALL, "train": mode}
    training = {"epochs": 1, "batch_size": 6}
    predicted = {}
    for name, device in (("one", "cuda"), ("two", "cuda"), ("cpu", "cpu")):
        suite = suite_file(backbone=backbone, strategies=STRATEGIES, device=device, training=training)
        assert cli("run", suite, "--out", tmp_path / name).code == 0
        for folder in (tmp_path / name / "runs").iterdir():
            label = folder.name.split(".")[1]
            predicted[name, label] = dict(np.load(folder / "predictions.npz"))["predicted"]
    for label in STRATEGIES:
        assert np.array_equal(predicted["one", label], predicted["two", label]), label
        if mode == "never":  # statistics alone: no training lets rounding grow
            assert (predicted["one", label] == predicted["cpu", label]).mean() > 0.97, label
