"""Random augmentation of images, and the canonical image: their common reconstruction target.

The VAE is trained on a `random_view`; a consistency loss compares a `weak_view` and a `strong_view`, half of
which `cut_mix` mixes.

Parameters are sampled for each image, from one generator, on the device of the images.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.runtime.device import rows_at_a_time
from gpu_ssl.runtime.randomness import Randomness, uniform

STRETCH = 0.15
"""Maximum change of height and width, as a fraction, sampled independently."""

SHIFT = 1 / 14
"""Maximum shift in each direction, as a fraction of the side: 2 of 28 pixels."""

GAIN = 0.3
"""Maximum change of intensities, as a fraction."""

ROTATION, SHEAR, STRONG_STRETCH, STRONG_SHIFT = math.radians(10), 0.2, 0.2, 3 / 28
"""Maximum angle, shear, stretch and shift (as a fraction of the side) of a strong augmentation."""

EXPONENT, STRONG_GAIN = 0.5, 0.4
"""A strong augmentation raises intensities to a power of exp(±EXPONENT) at most, then changes the gain."""

ERASED = 0.35
"""Maximum side of the rectangle that is made black, as a fraction of the side."""

BLOCK = 256
"""Number of images per block whose canonical images are computed on a CPU."""


def intensities(images: Tensor) -> Tensor:
    """Return uint8 images as float32 from 0 to 1."""
    return images.to(torch.float32).div_(255)


def random_view(images: Tensor, mirror: bool, randomness: Randomness) -> Tensor:
    """Shift, stretch, brighten or darken each image slightly; mirror each with probability 1/2 if `mirror`.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width), float
        Intensities from 0 to 1; not modified.
    mirror : bool
        Whether mirroring keeps the class.
    randomness : Generator or Share
        Source of the random numbers, on the device of `images`.

    Returns
    -------
    Tensor of shape (n, channels, height, width)
        The augmented images. Pixels from outside an image are black; intensities are from 0 to 1.
    """
    n = len(images)
    scale = 1 + STRETCH * _uniform(images, randomness, n, 2)
    views = _warp(images, torch.diag_embed(scale), SHIFT, mirror, randomness)
    return (views * (1 + GAIN * _uniform(images, randomness, n, 1, 1, 1))).clamp_(0, 1)


def weak_view(images: Tensor, mirror: bool, randomness: Randomness) -> Tensor:
    """Shift each image by whole pixels, up to `SHIFT` of its side; mirror each with probability 1/2 if
    `mirror`.

    Parameters and result are those of `random_view`. Fractional shifts would blur the image.
    """
    same = torch.eye(2, device=images.device).expand(len(images), 2, 2)
    return _warp(images, same, SHIFT, mirror, randomness, whole=True)


def erased_view(images: Tensor, mirror: bool, randomness: Randomness) -> Tensor:
    """Augment as `weak_view` does, and make a random rectangle black.

    Parameters and result are those of `random_view`.
    """
    return _erase(weak_view(images, mirror, randomness), randomness)


def strong_view(images: Tensor, mirror: bool, randomness: Randomness) -> Tensor:
    """Rotate, shear, stretch and shift each image, change its intensities, and make a rectangle black.

    Parameters and result are those of `random_view`. Photographs get a gain for each channel, so that
    colours change too.
    """
    n, channels = images.shape[:2]

    def drawn(*shape: int) -> Tensor:
        return _uniform(images, randomness, *shape)

    angle = ROTATION * drawn(n)
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    stretch = torch.diag_embed(1 + STRONG_STRETCH * drawn(n, 2))
    shear = SHEAR * drawn(n, 2)
    sheared = stretch + torch.diag_embed(shear).flip(2)
    views = _warp(images, rotation @ sheared, STRONG_SHIFT, mirror, randomness)
    # The gradient of a power is infinite at 0, and autocast would round the small constant to 0.
    views = (views + 1e-6) ** torch.exp(EXPONENT * drawn(n, 1, 1, 1))
    views = (views * (1 + STRONG_GAIN * drawn(n, channels, 1, 1))).clamp_(0, 1)
    return _erase(views, randomness)


def _erase(views: Tensor, randomness: Randomness) -> Tensor:
    """Make a rectangle of each image black, in place."""
    n, _, height, width = views.shape
    vertical, tall, horizontal, wide = (uniform((n, 1), randomness, views.device) for _ in range(4))
    rows, columns = _within(height, vertical, ERASED * tall), _within(width, horizontal, ERASED * wide)
    return views.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def cut_mix(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace a rectangle of each image in the first half of a batch by that of the image before it.

    CutMix (Yun et al. 2019): a rectangle has a uniformly distributed area, the proportions of the image, and
    its centre anywhere in it. The image before the first one is the last one.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width), float
        A whole batch in random order; not modified.
    generator : Generator
        Source of the random numbers, on the device of `images`.

    Returns
    -------
    mixed : Tensor of shape (n, channels, height, width)
        The images, half of them with a rectangle of another.
    own : Tensor of shape (n,), float32
        Fraction of each image's pixels that are its own.
    """
    n, _, height, width = images.shape
    area, vertical, horizontal = (uniform((n, 1), generator, images.device) for _ in range(3))
    length = area.sqrt() * (torch.arange(n, device=images.device) < n // 2)[:, None]
    rows, columns = _within(height, vertical, length), _within(width, horizontal, length)
    replaced = rows[:, :, None] & columns[:, None, :]
    mixed = torch.where(replaced[:, None], images.roll(1, dims=0), images)
    return mixed, 1 - replaced.float().mean(dim=(1, 2))


def binarized(images: Tensor, randomness: Randomness) -> Tensor:
    """Sample each pixel as 0 or 1, its intensity being the probability of 1, as Kingma et al. trained.

    Parameters and result are those of `random_view`, without `mirror`. Sampled anew in every step, it is also
    an augmentation.
    """
    return (uniform(tuple(images.shape), randomness, images.device) < images).to(images.dtype)


def _within(side: int, centre: Tensor, length: Tensor) -> Tensor:
    """Return which of `side` pixels are within `length` around `centre`, two fractions of it, (n, side)."""
    places = (torch.arange(side, device=centre.device) + 0.5) / side
    return (places - centre).abs() < length / 2


def _uniform(images: Tensor, randomness: Randomness, *shape: int) -> Tensor:
    """Sample uniformly from -1 to 1."""
    return 2 * uniform(shape, randomness, images.device) - 1


def _warp(
    images: Tensor,
    matrices: Tensor,
    shift: float,
    mirror: bool,
    randomness: Randomness,
    whole: bool = False,
) -> Tensor:
    """Apply a matrix (n, 2, 2) to each image, and a random shift and mirror; outside is black."""
    n = len(images)
    if mirror:
        # Not sign(), which is 0 at 0.
        side = 1 - 2 * (_uniform(images, randomness, n, 1) < 0).to(matrices.dtype)
        matrices = torch.stack([matrices[:, :, 0] * side, matrices[:, :, 1]], dim=2)
    shifts = 2 * shift * _uniform(images, randomness, n, 2, 1)
    if whole:
        halves = [side / 2 for side in images.shape[:1:-1]]  # width and height in pixels, from -1 to 1
        shifts = torch.stack([(shifts[:, i] * half).round() / half for i, half in enumerate(halves)], 1)
    if not n:  # of a batch shared with other processes
        return images
    return F.grid_sample(images, _grid(matrices, shifts, *images.shape[2:]), align_corners=False)


def _grid(matrices: Tensor, shifts: Tensor, height: int, width: int) -> Tensor:
    """Return the source position of each pixel, (n, height, width, 2), for `grid_sample`.

    It equals the result of torch's affine_grid, in a seventh of the time on a CPU: a sum of a term for the
    row and one for the column, instead of a product of each pixel's position with a matrix.
    """
    x, y = ((2 * torch.arange(side, device=matrices.device) + 1) / side - 1 for side in (width, height))
    columns = matrices[:, :, 0, None] * x
    rows = matrices[:, :, 1, None] * y + shifts
    return (rows[:, :, :, None] + columns[:, :, None]).permute(0, 2, 3, 1)


def canonical(images: Tensor) -> Tensor:
    """Replace each intensity by the share of the image's pixels that are darker, and take the square root.

    The rank (the basis of histogram equalization) is independent of exposure and contrast. A black background
    stays 0, and an object on a large background becomes bright, however dark it was.

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
    counts = torch.zeros(images.shape[0], 256, device=images.device)
    counts.scatter_add_(1, values, torch.ones(1, device=images.device).expand(values.shape))
    darker = counts.cumsum(1) - counts
    return (darker.gather(1, values) / values.shape[1]).sqrt().reshape(images.shape)


def canonical_bytes(images: Tensor) -> Tensor:
    """Return the canonical images of uint8 images as uint8, computed block by block."""
    # Intensities as int64, their ranks, and the counts of each image.
    bytes_each = 32 * math.prod(images.shape[1:]) + 4 * 256 * 4
    blocks = torch.split(images, rows_at_a_time(images.device, bytes_each, BLOCK))
    return torch.cat([canonical(block).mul_(255).round_().to(torch.uint8) for block in blocks])
