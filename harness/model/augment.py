"""Augmented versions of images: crop, mirror and colour, the same for an image whatever batch it comes in."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from lorisbench.suite.training import AugmentConfig

AUGMENTATION = "crop (bilinear), mirror, brightness, contrast, saturation, uint8, v1"  # part of the key of cached views
WIDEST = 4 / 3  # aspect of a crop, and its inverse, as in Szegedy et al. 2015, section 6
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow turns RGB to grey


def draws(settings: AugmentConfig, images: int) -> torch.Tensor:
    """What each view of each image is made from: float64 (images, views, 8), uniform in [0, 1).

    A view depends only on the seed, its number and the image's position, not on how many views or images there are.
    """
    tables = [np.random.Generator(np.random.Philox([settings.seed, view])) for view in range(1, settings.views + 1)]
    return torch.from_numpy(np.stack([table.random((images, 8)) for table in tables], axis=1))


def augment(images: torch.Tensor, drawn: torch.Tensor, settings: AugmentConfig) -> torch.Tensor:
    """One augmented version of each image.

    An image is cropped to a share of its area between `crop` and 1 and an aspect between 3/4 and 4/3, scaled back,
    mirrored with probability 1/2, and then brightness, contrast (about its mean grey) and saturation (about its own
    grey) are scaled, each clamped to 0..255. Nothing random is drawn, and no image depends on the others.

    Parameters
    ----------
    images : uint8 (batch, 3, height, width).
    drawn : float64 (batch, 8) of `draws`, one row per image.

    Returns
    -------
    uint8, of the shape and on the device of `images`.
    """
    drawn = drawn.to(images.device)
    x = _cropped(images.float(), drawn[:, :5], settings)
    factors = [
        (1 + strength * (2 * drawn[:, column] - 1)).float().view(-1, 1, 1, 1)
        for column, strength in enumerate((settings.brightness, settings.contrast, settings.saturation), start=5)
    ]
    brightness, contrast, saturation = factors
    x = (x * brightness).clamp(0, 255)
    # Summed as whole numbers in double precision, which is exact: the mean is the same in every batch
    mean = _grey(x).round().double().mean(dim=(1, 2, 3), keepdim=True).float()
    x = _scaled_about(mean, x, contrast)
    return _scaled_about(_grey(x), x, saturation).round().to(torch.uint8)


def _cropped(x: torch.Tensor, drawn: torch.Tensor, settings: AugmentConfig) -> torch.Tensor:
    """Random crops, scaled to the size of the images by bilinear interpolation; mirrored ones read from the right."""
    area = settings.crop + (1 - settings.crop) * drawn[:, 0]
    # an aspect beyond 1 / area would stick out of the image
    aspect = torch.exp((2 * drawn[:, 1] - 1) * (-area.log()).clamp(max=math.log(WIDEST)))
    width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
    # centres in -1..1, where the crop may lie anywhere inside
    across, down = (1 - width) * (2 * drawn[:, 2] - 1), (1 - height) * (2 * drawn[:, 3] - 1)
    if settings.flip:
        width = torch.where(drawn[:, 4] < 0.5, width, -width)
    columns = (across[:, None] + width[:, None] * _centres(x.shape[3], x.device)).float()
    rows = (down[:, None] + height[:, None] * _centres(x.shape[2], x.device)).float()
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, x.shape[2], -1),
            rows[:, :, None].expand(-1, -1, x.shape[3]),
        ],
        dim=3,
    )
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _centres(size: int, device: torch.device) -> torch.Tensor:
    """The centres of a row of pixels, where -1 and 1 are its ends; float64 (size,)."""
    return (2 * torch.arange(size, dtype=torch.float64, device=device) + 1) / size - 1


def _grey(x: torch.Tensor) -> torch.Tensor:
    red, green, blue = (weight * x[:, channel : channel + 1] for channel, weight in enumerate(GREY))
    return red + green + blue


def _scaled_about(middle: torch.Tensor, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """x moved away from the middle by the factor; exactly x where the factor is 1."""
    return (x + (factor - 1) * (x - middle)).clamp(0, 255)
