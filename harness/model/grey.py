"""Pixels as inputs of a head without a network in between: kept as bytes, made into numbers batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lorisbench.common.cache import load_array
from lorisbench.data.manifest import Manifest
from lorisbench.data.manifest import Pixels as Sources
from lorisbench.model.backbones import Pixels
from lorisbench.model.models import Backbone


class GreyPixels:
    """The features that `pixels` gives for grey images of its size, float32 (images, size * size), indexed as a tensor.

    What is kept are the bytes of the file that holds the images, which may be shown several times, moved, without being
    there several times. What indexing gives is a copy, with the same numbers as the backbone's, bit for bit.

    Parameters
    ----------
    stored : uint8 (stored images, pixels), may be memory-mapped. rows : int64 (images,), which of them each image is.
    values : float32 (256,), the feature that stands for each byte.
    moves, which : int64 (moves, pixels) and (images,), see `Manifest`; None if all images are shown as they are.
    """

    ndim = 2
    dtype = torch.float32

    def __init__(
        self,
        stored: torch.Tensor,
        rows: torch.Tensor,
        values: torch.Tensor,
        moves: torch.Tensor | None = None,
        which: torch.Tensor | None = None,
    ) -> None:
        self.stored, self.rows, self.values, self.moves, self.which = stored, rows, values, moves, which

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.rows), self.stored.shape[1]))

    @property
    def device(self) -> torch.device:
        return self.stored.device

    @property
    def _version(self) -> int:
        """As of tensors: it rises with each change in place."""
        return sum(part._version for part in self._parts() if part is not None)

    def _parts(self) -> tuple[torch.Tensor | None, ...]:
        return self.stored, self.rows, self.values, self.moves, self.which

    def to(self, device: torch.device) -> GreyPixels:
        stored, rows, values, moves, which = (part if part is None else part.to(device) for part in self._parts())
        assert stored is not None and rows is not None and values is not None
        return GreyPixels(stored, rows, values, moves, which)

    def moved(self, moves: np.ndarray) -> GreyPixels:
        """The same images, shown by other moves, int64 (moves, pixels)."""
        return GreyPixels(self.stored, self.rows, self.values, torch.from_numpy(moves).to(self.device), self.which)

    def __getitem__(self, index: int | slice | torch.Tensor) -> torch.Tensor:
        """float32 (pixels,) of an image, or (images, pixels) of several, at a slice of positions or at positions."""
        if isinstance(index, int):
            return self[torch.tensor([index], device=self.device)][0]
        rows, which = self.rows[index], None if self.which is None else self.which[index]
        if self.device.type == "cpu":  # where numpy looks up several times as fast
            return torch.from_numpy(self._looked_up(rows.numpy(), None if which is None else which.numpy()))
        x = self.values[self.stored[rows].int()]
        if self.moves is None or which is None:
            return x
        source = self.moves[which]
        return torch.where(source < 0, self.values[0], x.gather(1, source.clamp(min=0)))

    def _looked_up(self, rows: np.ndarray, which: np.ndarray | None) -> np.ndarray:
        shown = self.stored.numpy()[rows]
        if self.moves is not None and which is not None:
            moves = self.moves.numpy()
            if len(which) and (which == which[0]).all():  # as in training on one experience
                source = moves[which[0]]
                shown = np.take(shown, source, axis=1, mode="clip")
                shown[:, source < 0] = 0
            else:
                source = moves[which]
                shown = np.where(source < 0, 0, np.take_along_axis(shown, source.clip(min=0), axis=1))
        return np.take(self.values.numpy(), shown)


def grey_pixels(manifest: Manifest, backbone: Backbone, size: int) -> GreyPixels | None:
    """The features of a manifest's images, where they need no more than their bytes; None otherwise.

    That is so for the backbone `pixels` and images of one channel that have its size.
    """
    if not is_grey(manifest, backbone, size):
        return None
    sources: Any = manifest.sources()
    assert isinstance(sources, Sources)
    with torch.no_grad():
        every = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 3, 16, 16)
        values = backbone.to("cpu")(every)[:, 0].clone()  # asked of the backbone: rounding is its own
    stored = torch.from_numpy(sources.stored.reshape(len(sources.stored), -1))
    if sources.moves is None or sources.which is None:
        return GreyPixels(stored, torch.tensor(sources.rows), values)
    return GreyPixels(
        stored, torch.tensor(sources.rows), values, torch.tensor(sources.moves), torch.tensor(sources.which)
    )


def is_grey(manifest: Manifest, backbone: Backbone, size: int) -> bool:
    """Whether `grey_pixels` can be had; of a file of pixels that is still to be made it is taken to be so."""
    if manifest.pixels is None or not isinstance(backbone.network, Pixels):
        return False
    stored = load_array(manifest.pixels)
    return stored is None or stored.shape[1:] == (size, size, 1)
