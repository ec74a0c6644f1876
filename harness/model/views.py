"""Augmented views of the training images of a stream, as images or as features, for the loader to draw from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from lorisbench.common.cache import Cached
from lorisbench.common.files import digest_of
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.model import features
from lorisbench.model.augment import AUGMENTATION, augment, draws
from lorisbench.model.models import Backbone
from lorisbench.suite.resolve import ResolvedConfig
from lorisbench.suite.training import AugmentConfig


class ImageViews:
    """Views of images, made when a batch needs them: only the random numbers drawn for each are kept.

    Parameters
    ----------
    settings : how many views, and of what kind.
    images : images of the store (or manifest), whose positions the views depend on.
    rows : int64, positions of the images that have views; every other image is left as it is.
    """

    def __init__(self, settings: AugmentConfig, images: int, rows: np.ndarray) -> None:
        self.settings = settings
        self.count = settings.views
        self.rows = torch.from_numpy(rows)
        self.drawn = draws(settings, images)
        self._has_views = torch.zeros(images, dtype=torch.bool)
        self._has_views[self.rows] = True

    def pick(self, x: torch.Tensor, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The images `x`, uint8 (batch, 3, size, size), as that view where `chosen` is above 0; see `stream.Views`."""
        which = (chosen > 0) & self._has_views[rows]
        if which.any():
            here = which.to(x.device)
            x[here] = augment(x[here], self.drawn[rows[which], chosen[which] - 1], self.settings)
        return x

    def all_of(self, x: torch.Tensor, rows: torch.Tensor) -> Iterator[torch.Tensor]:
        """Every view, one after the other, of some images (batch, 3, size, size) at `rows`."""
        for view in range(self.count):
            yield augment(x, self.drawn[rows, view], self.settings)


class FeatureViews:
    """Features of views, extracted once.

    Parameters
    ----------
    extracted : float32 (rows, views, feature_dim), on the CPU, may be memory-mapped.
    images : images of the store.
    rows : int64, positions of the images that have views, in the order of `extracted`.
    """

    def __init__(self, extracted: torch.Tensor, images: int, rows: np.ndarray) -> None:
        self.extracted = extracted
        self.count = extracted.shape[1]
        self._position = torch.full((images,), -1)
        self._position[torch.from_numpy(rows)] = torch.arange(len(rows))

    def pick(self, x: torch.Tensor, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The features `x`, float32 (batch, dim), of that view where `chosen` is above 0; see `stream.Views`."""
        position = self._position[rows]
        which = (chosen > 0) & (position >= 0)
        if which.any():
            x[which.to(x.device)] = self.extracted[position[which], chosen[which] - 1].to(x.device)
        return x


def wanted(config: ResolvedConfig) -> list[AugmentConfig]:
    """The augmentations that the strategies of a suite use, each once."""
    found = [entry.training.augment for entry in config.strategies.values()]
    return list({str(augment): augment for augment in found if augment is not None}.values())


def rows_of(manifest: Manifest, settings: AugmentConfig) -> np.ndarray:
    """Positions (int64) of the images that have views: the training images of the first experience, or of all."""
    if settings.experiences == "first":
        return manifest.rows("train", 0)
    return np.flatnonzero(manifest.table.split == "train")


def image_views(manifest: Manifest, settings: AugmentConfig) -> ImageViews:
    return ImageViews(settings, len(manifest.table), rows_of(manifest, settings))


def extract(
    backbone: Backbone,
    blocks: Iterator[tuple[torch.Tensor, torch.Tensor]],
    views: ImageViews,
    device: torch.device,
    by: features.Extract | None = None,
) -> Iterator[np.ndarray]:
    """Features, float32 (batch, views, feature_dim), of all views of blocks (uint8 (batch, 3, size, size), rows)."""
    made = features.blocks_of(view for block, rows in blocks for view in views.all_of(block, rows))
    extracted = iter((by or features.extract)(backbone, made, device))
    while group := list(islice(extracted, views.count)):
        yield np.stack(group, axis=1)


def entry_of(
    manifest: Manifest, backbone: Backbone, size: int, device: torch.device, settings: AugmentConfig
) -> Cached:
    """The features of views in the cache: beside that of the images, named by the views' settings as well.

    Where only the first experience has views, it is also named by that one, unless it is the stream's own first.
    """
    plain = features.entry_of(manifest, backbone, size, device)
    named: dict[str, Any] = {"images": plain.path.stem, "augment": settings.model_dump(), "augmentation": AUGMENTATION}
    first = manifest.order[0] if manifest.order else 0
    if first and settings.experiences == "first":
        named["experience"] = first
    shape = (len(rows_of(manifest, settings)), settings.views, backbone.feature_dim)
    path, label = plain.path.with_name(f"{digest_of(named)}.npy"), "extracting features of augmented views"
    return Cached(path, "<f4", shape, label, f"{settings.views} views, {plain.rate}")


def cached(
    manifest: Manifest,
    backbone: Backbone,
    size: int,
    device: torch.device,
    settings: AugmentConfig,
    by: features.Extract | None = None,
    pixels: torch.Tensor | None = None,
) -> FeatureViews:
    """The features of all views of a manifest's training images, memory-mapped; extracted if the cache has none.

    `by`: what extracts them, by default `features.extract`. `pixels`: the images, uint8 (images, 3, size, size) in
    table order, if they have been decoded.

    They take 4 bytes x training images x views x feature_dim (quickstart, 4 views of all: 59 MB).
    """
    views = image_views(manifest, settings)
    rows = rows_of(manifest, settings)

    def blocks() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        parts = views.rows.split(features.BATCH)
        if pixels is not None:
            yield from ((pixels[part], part) for part in parts)
            return
        for block, part in zip(images.batches(manifest.sources_at(rows), size, features.BATCH), parts, strict=True):
            yield torch.from_numpy(block).permute(0, 3, 1, 2), part

    entry = entry_of(manifest, backbone, size, device, settings)
    stored = entry.made(lambda: extract(backbone, blocks(), views, device, by))
    return FeatureViews(torch.from_numpy(stored), len(manifest.table), rows)
