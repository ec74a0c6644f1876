"""Which head answers: class-conditional Gaussians of every domain over frozen features."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional as F
from torch.nn.functional import one_hot

from lorisbench.strategies.dnn.domains import Domains
from lorisbench.strategies.parts.shrinkage import Shrinkage, oas_share


class GaussianRouter(Domains):
    """The posterior over domains of a feature vector, from statistics alone.

    The experiences that trained one head make one domain d. Features of its class k are modelled as Gaussian with
    mean mu_dk and a covariance shared by all classes of all domains: linear discriminant analysis with one class for
    each pair (d, k), used to infer the domain. As x' S^-1 x is common to all pairs it cancels, and what is left is one
    linear layer,

        score_dk(x) = (S^-1 (mu_dk - m))' x - (mu_dk - m)' S^-1 (mu_dk + m) / 2 + log prior_dk,

    (m, the mean of all means, is common to all pairs too; centring on it keeps float32 exact enough). A priori all
    domains are equally likely, and the classes of a domain are as frequent as in its data; a class it lacks never
    scores.

    Buffers (all float32 but `counts` and `domain_head`, int64), with D domains, K classes, F features:
    counts (D, K), means (D, K, F), scatter (F (F + 1) / 2,), the lower triangle of the sum over samples of
    (x - mu_dk)(x - mu_dk)', and domain_head (D,), the head that answers for a domain. `weight` (D * K, F) and
    `bias` (D * K,) are worked out from these and are not part of the state.

    Parameters
    ----------
    shrinkage : how far the pooled covariance is moved towards a multiple of the identity with the same trace:
        a fixed share in (0, 1], or `oas`, the oracle approximating shrinkage of Chen et al. (IEEE Trans.
        Signal Processing 2010, eq. 23), which needs no more than the covariance and the number of samples.
    temperature : the domains' log-likelihoods are divided by it. High-dimensional Gaussians are overconfident; above 1
        several heads share an answer, and towards infinity all share it equally.
    """

    counts: torch.Tensor
    means: torch.Tensor
    scatter: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, shrinkage: Shrinkage = "oas", temperature: float = 20.0) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.temperature = temperature
        self._one_to_one = False  # whether domain d is head d's
        self.register_buffer("counts", torch.zeros(0, 0, dtype=torch.int64))
        self.register_buffer("means", torch.zeros(0, 0, 0))
        self.register_buffer("scatter", torch.zeros(0))
        self.register_buffer("weight", torch.zeros(0, 0), persistent=False)
        self.register_buffer("bias", torch.zeros(0), persistent=False)

    @torch.no_grad()
    def record(self, data: Iterable[tuple[torch.Tensor, torch.Tensor]], num_classes: int, head: int) -> None:
        """Add data from the domain of `head`, new or known, in one pass; only the statistics are kept.

        Parameters
        ----------
        data : pairs of features (batch, F) and labels int64 (batch,) in 0..num_classes-1.

        Raises
        ------
        ValueError : there are no samples.
        """
        counts = sums = moment = None
        for features, labels in data:
            x = features.double()
            if counts is None or sums is None or moment is None:
                counts = torch.zeros(num_classes, dtype=torch.int64, device=x.device)
                sums = x.new_zeros(num_classes, x.shape[1])
                moment = x.new_zeros(x.shape[1], x.shape[1])
            # A product with one-hot labels: on a GPU, index_add_ would add in a different order each time.
            member = one_hot(labels, num_classes)
            counts += member.sum(dim=0)
            sums.addmm_(member.T.double(), x)
            moment.addmm_(x.T, x)
        if counts is None or sums is None or moment is None:
            raise ValueError("a domain needs at least one sample")
        means = sums / counts.clamp(min=1)[:, None]
        # sum (x - mu)(x - mu)' = sum x x' - sum_k n_k mu_k mu_k'; float64 leaves room for the cancellation.
        scatter = moment - means.T @ (means * counts[:, None])
        owners = self.domain_head.tolist()
        if head in owners:
            # Two sets of samples become one: their means are averaged by share, and the distance between them adds to
            # the scatter (Chan et al. 1979, eq. 2.1).
            domain = owners.index(head)
            share = counts / (self.counts[domain] + counts).clamp(min=1)
            apart = means - self.means[domain].double()
            scatter += apart.T @ (apart * (self.counts[domain] * share)[:, None])
            self.means[domain] = (self.means[domain].double() + apart * share[:, None]).float()
            self.counts[domain] += counts
        else:
            if not owners:
                self.counts, self.means = counts.new_zeros(0, num_classes), means.new_zeros(0, *means.shape).float()
            self.counts = torch.cat([self.counts, counts[None]])
            self.means = torch.cat([self.means, means.float()[None]])
            owner = torch.tensor([head], device=counts.device)
            self.domain_head = torch.cat([self.domain_head.to(counts.device), owner])
        lower = scatter[torch.tril(torch.ones_like(scatter, dtype=torch.bool))]
        self.scatter = (self.scatter.double() + lower).float() if owners else lower.float()
        self._solve_again()

    @torch.no_grad()
    def covariance(self) -> torch.Tensor:
        """The shared covariance after shrinkage, float64 (F, F), positive definite."""
        return self.shrunk(self.pooled(), int(self.counts.sum()))

    @torch.no_grad()
    def pooled(self) -> torch.Tensor:
        """The covariance of all samples about the means of their domain and class, float64 (F, F)."""
        width = self.means.shape[-1]
        pooled = self.scatter.new_zeros(width, width, dtype=torch.float64)
        pooled[torch.tril(torch.ones_like(pooled, dtype=torch.bool))] = self.scatter.double() / self.counts.sum()
        return pooled + pooled.tril(-1).T

    def shrunk(self, covariance: torch.Tensor, samples: int, most: float = 1.0) -> torch.Tensor:
        """A covariance (F, F) from `samples` independent samples, moved towards a multiple of the identity.

        most : the largest share of the identity that `oas` may choose.
        """
        width = len(covariance)
        level = float(covariance.diagonal().mean())
        if self.shrinkage == "oas":
            share = min(most, oas_share(float(covariance.square().mean()), level, samples, width))
        else:
            share = float(self.shrinkage)
        # Fewer samples than features, or features that never vary, leave directions without any variance.
        share = max(share, 1e-6)
        identity = torch.eye(width, dtype=covariance.dtype, device=covariance.device)
        return (1 - share) * covariance + share * (level if level > 0 else 1.0) * identity

    @torch.no_grad()
    def solve(self) -> None:
        """Work out `weight` and `bias` from the statistics, by a float64 Cholesky factorisation."""
        width = self.means.shape[-1]
        present = self.counts.flatten() > 0
        means = self.means.double().reshape(-1, width)
        centre = means[present].mean(dim=0)
        factor = torch.linalg.cholesky(self.covariance())
        weight = torch.cholesky_solve((means - centre).T, factor).T
        prior = (self.counts.double() / self.counts.sum(dim=1, keepdim=True)).log().flatten()
        bias = prior - 0.5 * (weight * (means + centre)).sum(dim=1)
        self.weight = torch.where(present[:, None], weight, torch.zeros_like(weight)).float()
        self.bias = torch.where(present, bias, torch.full_like(bias, -torch.inf)).float()

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, F) -> (batch, D * K), what the linear layer of `weight` and `bias` gives."""
        return F.linear(features, self.weight, self.bias)

    def domain_weights(self, scores: torch.Tensor) -> torch.Tensor:
        """The posterior of each domain: scores (batch, D * K) -> (batch, D), rows sum to 1."""
        by_domain = scores.view(scores.shape[0], self.domains, scores.shape[1] // self.domains)
        evidence = logsumexp(by_domain).squeeze(-1)
        return (evidence / self.temperature).softmax(dim=1)

    def joint(self, scores: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
        """Log of sum_d P(d, k | x)^(1/T) p_h(d)(k | x), normalised over the classes k.

        A product of two experts in each domain d, its Gaussians and its head h(d). A class that no domain has
        seen gets probability 0.

        Parameters
        ----------
        scores : (batch, D * K). log_p : log-probabilities of the heads, (batch, heads, K).

        Returns
        -------
        (batch, K).
        """
        return self.pairs(scores, log_p).logsumexp(dim=1).log_softmax(dim=1)

    def pairs(self, scores: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
        """The logarithms of the terms that `joint` sums, (batch, D, K)."""
        if not (self._one_to_one and log_p.shape[1:].numel() == scores.shape[1]):
            log_p = log_p.index_select(1, self.domain_head)
        return torch.add(log_p, scores.view_as(log_p), alpha=1 / self.temperature)

    def loaded(self) -> None:
        self._solve_again()

    def _solve_again(self) -> None:
        self._one_to_one = self.domain_head.tolist() == list(range(self.domains))
        self.solve()


def logsumexp(x: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp over the last dimension, (..., n) -> (..., 1), with at least one finite value.

    max(x) - max(log softmax(x)), fewer operations than torch's own: for one image their number is what takes time.
    """
    return x.amax(dim=-1, keepdim=True) - x.log_softmax(dim=-1).amax(dim=-1, keepdim=True)
