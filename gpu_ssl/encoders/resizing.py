"""Resizing images on the device."""

import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.data.preparation import STRIP
from gpu_ssl.encoders.encoder import ImageShape


def fit_within(images: Tensor, shape: ImageShape) -> Tensor:
    """Resize images to a shape, keeping the aspect ratio, centred and padded, as `data.decoding` does.

    Long strips are squeezed instead.

    Parameters
    ----------
    images : Tensor of shape (n, 1 or channels, height, width), float32
        Images; a single channel is repeated.
    shape : tuple of int
        Target channels, height and width.

    Returns
    -------
    Tensor of shape (n, *shape), float32
        Padding is 0.
    """
    channels, height, width = shape
    if images.shape[2:] != (height, width):
        size = _size_within(images.shape[2], images.shape[3], height, width)
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
        free = [target - side for target, side in zip((height, width), size, strict=True)]
        before = [round(side / 2) for side in free]
        images = F.pad(images, (before[1], free[1] - before[1], before[0], free[0] - before[0]))
    return images.expand(-1, channels, -1, -1)


def _size_within(old_height: int, old_width: int, height: int, width: int) -> tuple[int, int]:
    """Return the height and width of an image resized to fit, rounded exactly as Pillow does."""
    aspect, target = old_width / old_height, width / height
    if aspect == target or max(aspect / target, target / aspect) > STRIP:
        return height, width
    if aspect > target:
        return max(1, round(old_height / old_width * width)), width
    return height, max(1, round(aspect * height))
