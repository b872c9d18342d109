"""Random views of images, and the canonical picture that all views of an image share.

Everything is drawn for each image on its own, from one generator, on the device the images are on.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

STRETCH = 0.15
"""Height and width are stretched or shrunk by up to this fraction, each on its own."""

SHIFT = 1 / 14
"""Largest shift each way, as a fraction of the side: 2 of 28 pixels."""

GAIN = 0.3
"""Intensities are multiplied by up to this fraction more or less."""

BLOCK = 256
"""Images whose canonical pictures are worked out at a time."""


def random_view(images: Tensor, mirror: bool, generator: torch.Generator) -> Tensor:
    """Shift, stretch, brighten or darken each image a little; mirror every second one if asked to.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width), float
        Intensities from 0 to 1; left as they are.
    mirror : bool
        Whether a mirror image is of the same class.
    generator : torch.Generator
        Source of randomness, on the device of `images`.

    Returns
    -------
    Tensor of shape (n, channels, height, width)
        What comes in from outside is black; intensities stay from 0 to 1.
    """
    n = len(images)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=generator, device=images.device) - 1

    scale = 1 + STRETCH * uniform(n, 2)
    if mirror:
        # Not sign(), which is 0 at 0.
        scale[:, 0] *= 1 - 2 * (uniform(n) < 0).to(scale.dtype)
    affine = torch.cat([torch.diag_embed(scale), 2 * SHIFT * uniform(n, 2, 1)], dim=2)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, align_corners=False)
    return (views * (1 + GAIN * uniform(n, 1, 1, 1))).clamp_(0, 1)


def canonical(images: Tensor) -> Tensor:
    """Replace each intensity by the share of the image's pixels that are darker, and take the square root.

    The rank (what histogram equalization is made of) is the same whatever the exposure and contrast. Black
    ground stays 0, and what stands before much of it is bright, however dark it was.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width), uint8
        Pixel intensities.

    Returns
    -------
    Tensor of shape (n, channels, height, width), float32
        Values from 0 to 1.
    """
    values = images.flatten(1).long()
    counts = torch.zeros(len(images), 256, device=images.device)
    counts.scatter_add_(1, values, torch.ones(1, device=images.device).expand(values.shape))
    darker = counts.cumsum(1) - counts
    return (darker.gather(1, values) / values.shape[1]).sqrt().reshape(images.shape)


def canonical_bytes(images: Tensor) -> Tensor:
    """Return the canonical pictures of uint8 images as uint8, worked out block by block."""
    blocks = torch.split(images, BLOCK)
    return torch.cat([canonical(block).mul_(255).round_().to(torch.uint8) for block in blocks])
