"""A small variational autoencoder of feature vectors."""

from __future__ import annotations

import torch
from torch import nn


class VAE(nn.Module):
    """A variational autoencoder (Kingma & Welling 2014) with one hidden ReLU layer on each side.

    The latent is a standard normal vector, encoder and decoder are Gaussian, the latter with variance 1. Inputs are
    standardised with `mean` and `std`, which `standardise` sets.

    Parameters
    ----------
    width : of the vectors. hidden, latent : of the hidden layers and of the latent. seed : of the initial weights;
        torch's own random state stays as it is.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, width: int, hidden: int, latent: int, seed: int) -> None:
        super().__init__()
        self.latent = latent
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
            self.encoder = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
            self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def standardise(self, x: torch.Tensor) -> None:
        """Set `mean` and `std` to those of x (samples, width), the latter to at least its mean over all features.

        A feature that hardly varies now may vary a lot later: divided by its own deviation it would drown the rest.
        """
        std = x.std(dim=0, correction=0)
        self.mean.copy_(x.mean(dim=0))
        self.std.copy_(std.clamp(min=max(float(std.mean()), 1e-6)))

    def losses(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Negative evidence lower bound of each sample, (batch,), up to the constant of the decoder's Gaussian.

        x : (batch, width). noise : standard normal, (batch, latent).
        """
        standard = (x - self.mean) / self.std
        centre, log_variance = self.encoder(standard).chunk(2, dim=1)
        decoded = self.decoder(centre + (0.5 * log_variance).exp() * noise)
        # KL(N(centre, variance) || N(0, 1)), Kingma & Welling 2014, appendix B
        divergence = 0.5 * (centre.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return 0.5 * (decoded - standard).square().sum(dim=1) + divergence

    @torch.no_grad()
    def generate(self, noise: torch.Tensor) -> torch.Tensor:
        """The decoder's means for latents (batch, latent), as vectors (batch, width) in the scale of the inputs."""
        return self.decoder(noise) * self.std + self.mean
