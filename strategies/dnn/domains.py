"""What every rule that chooses among heads by the image's domain has in common: which head answers for which domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class Domains(nn.Module):
    """The domains seen, and for each image how much each of them weighs.

    A subclass keeps what it learns of them in persistent buffers, which grow: these are its state.

    Buffers
    -------
    domain_head : int64 (D,), the head that answers for each domain.
    """

    domain_head: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("domain_head", torch.zeros(0, dtype=torch.int64))

    @property
    def domains(self) -> int:
        return len(self.domain_head)

    def record(self, data: Iterable[tuple[torch.Tensor, torch.Tensor]], num_classes: int, head: int) -> None:
        """Add an experience that trained `head`: pairs of features (batch, F) and labels int64 (batch,).

        Raises ValueError if there are no samples.
        """
        raise NotImplementedError

    def fit(self, logits: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Work out what depends on the heads too; `logits`: features (batch, F) -> (batch, heads, K)."""

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """What `domain_weights` takes: features (batch, F) -> (batch, ...)."""
        raise NotImplementedError

    def domain_weights(self, scores: torch.Tensor) -> torch.Tensor:
        """How much each domain weighs for each image, (batch, D), rows sum to 1."""
        raise NotImplementedError

    def head_weights(self, scores: torch.Tensor, heads: int) -> torch.Tensor:
        """How much each of `heads` heads weighs, (batch, heads), rows sum to 1; one without a domain has no weight."""
        return self.domain_weights(scores) @ self.owners(heads).to(scores.dtype)

    def owners(self, heads: int) -> torch.Tensor:
        """Which head answers for which domain, float32 (D, heads): 1 for the head of a domain, 0 elsewhere."""
        columns = torch.arange(heads, device=self.domain_head.device)
        return (self.domain_head[:, None] == columns).float()

    def statistics_bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.state_dict(keep_vars=True).values())

    def loaded(self) -> None:
        """Called after a state with domains was loaded."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if self.domains:
            self.loaded()


class Gate(Domains):
    """Domains of which the likeliest answers alone; each experience is one, and several may have the same head.

    A subclass says in `learn` what it keeps of an experience, and in `scores` how likely each domain is, (batch, D).
    What it draws depends on `seed` and the number of the experience only. Its buffers are named with the shapes that
    they have before the first domain.
    """

    def __init__(self, seed: int, **buffers: tuple[int, ...]) -> None:
        super().__init__()
        self.seed = seed
        for name, shape in buffers.items():
            self.register_buffer(name, torch.zeros(shape))

    @torch.no_grad()
    def record(self, data: Iterable[tuple[torch.Tensor, torch.Tensor]], num_classes: int, head: int) -> None:
        features = [x for x, _ in data]
        if not features:
            raise ValueError("a domain needs at least one sample")
        x = torch.cat(features)
        # Drawn on the CPU: a GPU would draw other numbers
        self.learn(x, torch.Generator().manual_seed(1000 * self.seed + self.domains))
        self.domain_head = torch.cat([self.domain_head.to(x.device), torch.tensor([head], device=x.device)])

    def learn(self, x: torch.Tensor, generator: torch.Generator) -> None:
        """Keep what is needed of the features of one more domain, (samples, F)."""
        raise NotImplementedError

    def domain_weights(self, scores: torch.Tensor) -> torch.Tensor:
        return (scores.argmax(dim=1, keepdim=True) == torch.arange(self.domains, device=scores.device)).to(scores.dtype)

    def append(self, name: str, rows: torch.Tensor) -> None:
        """Add what is kept of one domain, (...), to a buffer of all, (D, ...), float32."""
        known = getattr(self, name)
        setattr(
            self, name, torch.cat([known.to(rows.device), rows[None].float()]) if len(known) else rows[None].float()
        )
