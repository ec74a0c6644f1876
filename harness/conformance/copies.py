"""Copies of samples among what a method keeps: as they are, rounded, normalised, turned or shifted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch

from lorisbench.conformance.guarded import methods_plugins, state_of
from lorisbench.engine.reach import opaque, walk

LESS = 1e-3, 1e-5  # the most and the least by which a copy's correlation with its sample may fall short of 1
NEAR = 16  # a copy is this many times nearer to its sample than any two samples are: the mean of a class is no copy
SHIFT = 2  # pixels by which a copy of an image may be moved
BUDGET = 2**24  # correlations worked out at once


class Samples:
    """The samples of a stream, in a form in which copies can be looked up.

    Two vectors are compared by their correlation, images by its mean over the channels, ignoring its sign: so a copy in
    another unit, with another brightness and contrast, normalised, inverted, or rounded to 8 or 16 bits still counts as
    one. The middle of an image is compared with all places at most `SHIFT` pixels away in the sample, in all eight
    orientations of a square.

    Parameters
    ----------
    inputs : features (samples, F) or images (samples, 3, s, s), of any real dtype.
    """

    def __init__(self, inputs: torch.Tensor) -> None:
        self.shape = tuple(inputs.shape[1:])
        values = inputs.detach().cpu().float()
        self._alike = 1 - LESS[0]
        if values.ndim == 2:
            self._known = _units(values[:, None])
            nearest = (self._known @ self._known.T).abs().fill_diagonal_(0).max().item()
            self._alike = 1 - min(LESS[0], max(LESS[1], (1 - nearest) / NEAR))
        else:
            side = values.shape[-1] - 2 * SHIFT
            turned = [image.rot90(k, (2, 3)) for image in (values, values.flip(3)) for k in range(4)]
            windows = torch.stack(turned, 1).unfold(3, side, 1).unfold(4, side, 1)  # sample, turn, channel, y, x, …
            self._known = _units(windows.permute(0, 1, 3, 4, 2, 5, 6).reshape(-1, 3, side * side))
        self._each = len(self._known) // len(values)

    def among(self, tensor: torch.Tensor) -> set[int]:
        """Indices of the samples that a tensor holds copies of, end to end or one per row beside other values."""
        found: set[int] = set()
        for units in self._candidates(tensor.detach().cpu()):
            for part in units.split(max(1, BUDGET // len(self._known))):
                hits = ((part @ self._known.T).abs() > self._alike).any(dim=0).nonzero().flatten()
                found.update((hits // self._each).tolist())
        return found

    def _candidates(self, tensor: torch.Tensor) -> Iterator[torch.Tensor]:
        size = torch.Size(self.shape).numel()
        rows = [tensor] if tensor.numel() % size == 0 else []
        if tensor.ndim == 2 and tensor.shape[1] > size:
            rows += [tensor[:, :size], tensor[:, -size:]]
        for part in rows:
            values = part.float()
            if len(self.shape) == 1:
                yield _units(values.reshape(-1, 1, size))
                continue
            channels, height, width = self.shape
            layouts = (
                values.reshape(-1, channels, height, width),
                values.reshape(-1, height, width, channels).permute(0, 3, 1, 2),
            )
            for images in layouts:
                yield _units(images[:, :, SHIFT:-SHIFT, SHIFT:-SHIFT].flatten(2))


def _units(vectors: torch.Tensor) -> torch.Tensor:
    """(rows, channels, values) -> (rows, channels * values), whose products are mean correlations of the channels."""
    centred = vectors - vectors.mean(dim=2, keepdim=True)
    norm = centred.norm(dim=2, keepdim=True)
    flat = norm <= 1e-6 * vectors.abs().amax(dim=2, keepdim=True)
    return torch.where(flat, 0.0, centred / norm).flatten(1) / vectors.shape[1] ** 0.5


def held_samples(strategy: Any, samples: Samples, rows: set[int]) -> tuple[int, str]:
    """How many of the stream's samples at `rows` the method holds copies of, in any tensor, and the path of one such
    tensor."""
    found: set[int] = set()
    where = ""
    for path, tensor in _kept(strategy):
        if not isinstance(tensor, torch.Tensor) or tensor.is_complex() or tensor.ndim == 0:
            continue
        tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
        hits = samples.among(tensor) & rows
        where = where or (path if hits else "")
        found |= hits
    return len(found), where


def _kept(strategy: Any) -> Iterator[tuple[str, Any]]:
    """Everything a method keeps: its state, the model's, and what its classes and their modules hold for all runs."""
    yield from state_of(strategy, inside=True)
    yield from walk(strategy.model, "model", inside=True)
    for kind in {kind for plugin in methods_plugins(strategy) for kind in type(plugin).__mro__}:
        if opaque(kind.__module__) or kind.__module__.startswith("avalanche."):
            continue
        yield from walk(dict(vars(kind)), kind.__name__, inside=True)
        outside = {
            name: value
            for name, value in vars(sys.modules.get(kind.__module__, object)).items()
            if not (name.startswith("__") or callable(value))
        }
        yield from walk(outside, kind.__module__, inside=True)
