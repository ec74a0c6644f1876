"""Which head answers, or none: the domains that were seen, against one that was not."""

from __future__ import annotations

import torch

from lorisbench.strategies.dnn.router import GaussianRouter, logsumexp
from lorisbench.strategies.parts.shrinkage import Shrinkage

DIRECTIONS = 128
BOUND = 0.5  # of `open-bounded`


class OpenRouter(GaussianRouter):
    """A router for images that may come from a domain that no experience had.

    The Gaussians of `GaussianRouter` are narrow: they describe the images of the recordings that were trained on. Here
    each domain, seen or new, is modelled as a separate draw (a two-level model, as in probabilistic linear discriminant
    analysis; Prince & Elder, ICCV 2007): features of class k are N(mu_dk, W) in a domain d that was seen, with W the
    covariance about the means of the pairs (d, k), and N(m_k, C) in a new one, with m_k the mean of the class over all
    domains and C the covariance about these. All of it follows from the statistics that are kept anyway. Both
    covariances are shrunk; with `oas`, C counts as many samples as there are pairs (d, k), as all images of one pair
    come from a single draw, and its share of the identity is at most `bound`. C is the sum of W and of what the mu_dk
    differ by. Only the latter is known from so few draws: where there are 28 pairs in 1280 dimensions, `oas` takes them
    for all the evidence there is and gives the identity a share of 1, which throws away W, known from all images, and
    leaves the nearest class mean to answer. The answer `open` has no bound (1); under `open-bounded` (BOUND) what was
    measured counts for at least as much as what is assumed.

    The likelihoods of an image x under the two are compared in the subspace that separates the pairs: y are the first
    DIRECTIONS principal directions of the mu_dk, whitened by W (reduced-rank discriminant analysis; Hastie et al.,
    Elements of Statistical Learning, section 4.3.3), turned so that C is diagonal there, diag(g). With equal odds,

        gate(x) = log mean_d sum_k P(k | d) N(y; mu_dk, I) - log sum_k P(k) N(y; m_k, diag(g)),
        P(k | x) = P(seen | x) P_agreement(k | x) + (1 - P(seen | x)) P_new(k | x),  P(seen | x) = sigmoid(gate / T),

    where P_agreement is `joint` of `GaussianRouter` with the Gaussians of y, and P_new the posterior under N(m_k, C)
    of all features, both at temperature T.

    The linear layer of `weight` and `bias` gives `scores`: y (R,), then the class scores of a new domain over T (K,).
    Further buffers, derived in the same way: `table` (R, D * K + K) and `table_bias` (D * K + K,), from y to the
    log-densities of the pairs and of the classes in a new domain, up to what `curvature` (R, 1) adds to the difference.
    For one image the number of operations is what takes time, so constants are folded into the layers where possible.
    """

    table: torch.Tensor
    table_bias: torch.Tensor
    curvature: torch.Tensor

    def __init__(self, shrinkage: Shrinkage = "oas", temperature: float = 20.0, bound: float = 1.0) -> None:
        super().__init__(shrinkage, temperature)
        self.bound = bound
        self._read = self._table = (0, 0)  # how the outputs of `weight` and of `table` are split
        self.register_buffer("table", torch.zeros(0, 0), persistent=False)
        self.register_buffer("table_bias", torch.zeros(0), persistent=False)
        self.register_buffer("curvature", torch.zeros(0, 1), persistent=False)

    @torch.no_grad()
    def solve(self) -> None:
        """Work out the buffers from the statistics, in float64."""
        counts, means = self.counts.double(), self.means.double()
        width = means.shape[-1]
        of_class = counts.sum(dim=0)
        present = self.counts.flatten() > 0
        centre = means.reshape(-1, width)[present].mean(dim=0)
        pairs = means.reshape(-1, width) - centre
        pairs[~present] = 0
        classes = torch.where(of_class[:, None] > 0, self.class_means() - centre, 0.0)
        within = torch.linalg.cholesky(self.covariance())
        new = self.new_covariance()

        rank = max(1, min(DIRECTIONS, width, int(present.sum()) - 1))
        white = torch.linalg.solve_triangular(within, pairs.T, upper=False)  # (F, D * K)
        directions = torch.linalg.svd(white, full_matrices=False)[0][:, :rank]
        axes = torch.linalg.solve_triangular(within.T, directions, upper=True)  # (F, R): y = axes' (x - centre)
        spread, turn = torch.linalg.eigh(axes.T @ new @ axes)
        axes = axes @ turn
        spread = spread.clamp(min=torch.finfo(spread.dtype).tiny)
        seen, unseen = pairs @ axes, (classes @ axes) / spread

        rows = torch.linalg.cholesky(new)
        class_rows = torch.cholesky_solve(classes.T, rows).T / self.temperature
        class_prior = (of_class / of_class.sum()).log()
        pair_prior = (counts / counts.sum(dim=1, keepdim=True) / self.domains).log().flatten()
        new_bias = class_prior / self.temperature - 0.5 * (class_rows * classes).sum(dim=1)
        weight = torch.cat([axes.T, class_rows])
        self.weight = weight.float()
        self.bias = (torch.cat([torch.zeros_like(spread), new_bias]) - weight @ centre).float()
        self.table = torch.cat([seen, unseen]).T.float().contiguous()  # read in order for one image, see `Stacked`
        seen_bias = pair_prior - 0.5 * seen.square().sum(dim=1)
        # log |diag(g)| / 2 is common to the classes in a new domain
        unseen_bias = class_prior - 0.5 * (unseen.square() * spread).sum(dim=1) - 0.5 * spread.log().sum()
        self.table_bias = torch.cat([seen_bias, unseen_bias]).float()
        self.curvature = (-0.5 * (1 - 1 / spread)).float()[:, None]
        self._read, self._table = (len(spread), len(classes)), (len(seen), len(classes))

    def class_means(self) -> torch.Tensor:
        """The mean m_k of each class over all domains, float64 (K, F); 0 for a class without samples."""
        counts = self.counts.double()
        return (self.means.double() * counts[:, :, None]).sum(dim=0) / counts.sum(dim=0).clamp(min=1)[:, None]

    @torch.no_grad()
    def new_covariance(self) -> torch.Tensor:
        """The covariance C of a class over all domains after shrinkage, float64 (F, F), positive definite."""
        counts, means = self.counts.double(), self.means.double()
        apart = ((means - self.class_means()) * counts[:, :, None].sqrt()).reshape(-1, means.shape[-1])
        total = self.pooled() + apart.T @ apart / counts.sum()
        return self.shrunk(total, int((self.counts > 0).sum()), self.bound)

    def read(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unpack the linear layer's output (batch, R + K).

        Returns
        -------
        Log-densities of the pairs (d, k) up to a term common to all, (batch, D * K); class scores in a new domain
        over T, (batch, K); the gate over T, (batch, 1), above 0 where a seen domain is likelier.
        """
        y, new = scores.split_with_sizes(self._read, dim=1)
        seen, unseen = torch.addmm(self.table_bias, y, self.table).split_with_sizes(self._table, dim=1)
        over = 1 / self.temperature
        gate = torch.addmm(logsumexp(seen) - logsumexp(unseen), y * y, self.curvature, beta=over, alpha=over)
        return seen, new, gate

    def domain_weights(self, scores: torch.Tensor) -> torch.Tensor:
        return super().domain_weights(self.read(scores)[0])

    def unknown(self, scores: torch.Tensor) -> torch.Tensor:
        """The probability for each image, (batch,), that its domain is a new one."""
        return (-self.read(scores)[2]).sigmoid().squeeze(1)

    def joint(self, scores: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
        """Log of P(k | x) as above: scores (batch, R + K), heads' log-probabilities (batch, heads, K) -> (batch, K)."""
        seen, new, gate = self.read(scores)
        pairs = self.pairs(seen, log_p)
        agreement = pairs.flatten(1).softmax(dim=1).view_as(pairs).sum(dim=1)
        p = torch.lerp(new.softmax(dim=1), agreement, gate.sigmoid())
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()
