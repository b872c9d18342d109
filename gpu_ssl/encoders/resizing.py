"""Images on a device brought to another shape."""

import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.encoders.encoder import ImageShape


def fit_within(images: Tensor, shape: ImageShape) -> Tensor:
    """Return images scaled to fit whole into a shape, in the middle of it, as decoding brings files to one.

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
        scale = min(height / images.shape[2], width / images.shape[3])
        size = [max(1, round(scale * side)) for side in images.shape[2:]]
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
        free = [wanted - side for wanted, side in zip((height, width), size, strict=True)]
        before = [round(side / 2) for side in free]
        images = F.pad(images, (before[1], free[1] - before[1], before[0], free[0] - before[0]))
    return images.expand(-1, channels, -1, -1)
