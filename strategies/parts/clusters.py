"""k-means and Gaussian mixtures of feature vectors."""

from __future__ import annotations

from typing import NamedTuple

import torch

ROUNDS = 100  # at most, for both


def seeds(x: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Rows of x (samples, F) to start k-means from, (count, F): k-means++ (Arthur & Vassilvitskii 2007).

    Each is drawn with a probability proportional to its squared distance from the nearest of those before. Where there
    are fewer different rows, some come twice.
    """
    chosen = [x[int(torch.randint(len(x), (1,), generator=generator))]]
    while len(chosen) < count:
        apart = torch.cdist(x, torch.stack(chosen)).amin(dim=1).square().double().cpu()
        some = apart if bool(apart.sum() > 0) else torch.ones_like(apart)
        chosen.append(x[int(torch.multinomial(some, 1, generator=generator))])
    return torch.stack(chosen)


def k_means(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Lloyd's algorithm from these centres, (k, F), on x (samples, F), until no sample changes its centre.

    A centre that is nearest to no sample stays where it is. Returns (k, F).
    """
    before = None
    for _ in range(ROUNDS):
        nearest = torch.cdist(x, centres).argmin(dim=1)
        if before is not None and torch.equal(nearest, before):
            break
        before = nearest
        # A product with masks: on a GPU, sums by index have no fixed order
        member = torch.nn.functional.one_hot(nearest, len(centres)).to(x.dtype)
        sizes = member.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, member.T @ x / sizes.clamp(min=1), centres)
    return centres


def clusters(x: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Centres of k-means on x (samples, F) that stand for two samples or more, (count, F).

    The centre of a single sample would be that sample, kept. Where there are fewer, some come twice.
    """
    centres = k_means(x, seeds(x, count, generator))
    nearest = torch.cdist(x, centres).argmin(dim=1)
    shared = centres[nearest.bincount(minlength=count) > 1]
    if not len(shared):
        shared = x.mean(dim=0, keepdim=True)
    return shared[torch.arange(count, device=x.device) % len(shared)]


class Mixture(NamedTuple):
    """A mixture of Gaussians with diagonal covariances.

    weights (k,), sum 1; means and variances (k, F).
    """

    weights: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor

    def log_joint(self, x: torch.Tensor) -> torch.Tensor:
        """Log of weight times density, for each component: x (samples, F) -> (samples, k), without (2 pi)^(-F/2)."""
        precision = 1 / self.variances
        squares = x.square() @ precision.T - 2 * x @ (self.means * precision).T
        constant = (self.means.square() * precision).sum(dim=1) + self.variances.log().sum(dim=1)
        return self.weights.log() - 0.5 * (squares + constant)

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Samples, (count, F)."""
        component = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator).to(self.means)
        component = component.to(self.means.device)
        return self.means[component] + noise * self.variances[component].sqrt()


def mixture(x: torch.Tensor, centres: torch.Tensor, floor: float = 1e-6, tolerance: float = 1e-3) -> Mixture:
    """The mixture of x, float64 (samples, F), by expectation maximisation from the clusters around these centres.

    It ends when the mean log-likelihood of a sample rises by less than `tolerance`. `floor` is added to each variance.
    """
    nearest = torch.cdist(x, centres).argmin(dim=1)
    share = torch.nn.functional.one_hot(nearest, len(centres)).to(x.dtype)
    likelihood = None
    found = _maximised(x, share, floor)
    for _ in range(ROUNDS):
        joint = found.log_joint(x)
        evidence = joint.logsumexp(dim=1, keepdim=True)
        found = _maximised(x, (joint - evidence).exp(), floor)
        before, likelihood = likelihood, float(evidence.mean())
        if before is not None and abs(likelihood - before) < tolerance:
            break
    return found


def _maximised(x: torch.Tensor, share: torch.Tensor, floor: float) -> Mixture:
    """The likeliest mixture, given how much of each sample is each component's: (samples, k)."""
    sizes = share.sum(dim=0) + 10 * torch.finfo(x.dtype).eps
    means = share.T @ x / sizes[:, None]
    variances = (share.T @ x.square() / sizes[:, None] - means.square()).clamp(min=0) + floor
    return Mixture(sizes / sizes.sum(), means, variances)
