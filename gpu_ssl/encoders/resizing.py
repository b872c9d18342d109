"""Images on a device brought to another shape."""

import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.data.preparation import STRIP
from gpu_ssl.encoders.encoder import ImageShape


def fit_within(images: Tensor, shape: ImageShape) -> Tensor:
    """Return images scaled to fit whole into a shape, in the middle of it, as decoding brings files to one.

    Strips are squeezed.

    Parameters
    ----------
    images : Tensor of shape (n, 1 or channels, height, width), float32
        Of one channel or as many as wanted; one is repeated.
    shape : tuple of int
        Channels, height and width wanted.

    Returns
    -------
    Tensor of shape (n, *shape), float32
        Zeros where no image is.
    """
    channels, height, width = shape
    if images.shape[2:] != (height, width):
        size = _size_within(images.shape[2], images.shape[3], height, width)
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
        free = [wanted - side for wanted, side in zip((height, width), size, strict=True)]
        before = [round(side / 2) for side in free]
        images = F.pad(images, (before[1], free[1] - before[1], before[0], free[0] - before[0]))
    return images.expand(-1, channels, -1, -1)


def _size_within(old_height: int, old_width: int, height: int, width: int) -> tuple[int, int]:
    """Return height and width of an image scaled to fit; rounded as Pillow does, to the pixel."""
    proportion, wanted = old_width / old_height, width / height
    if proportion == wanted or max(proportion / wanted, wanted / proportion) > STRIP:
        return height, width
    if proportion > wanted:
        return max(1, round(old_height / old_width * width)), width
    return height, max(1, round(proportion * height))
