"""Random numbers for the images of a batch, independent of the number of processes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Share(NamedTuple):
    """A generator, and the part of its numbers for the images of one process.

    Every process generates the numbers of the whole batch and uses those of its own images: about 70 per
    image, whose cost is negligible compared with the network's.

    Parameters
    ----------
    generator : torch.Generator
        A generator in the same state on all processes.
    total : int
        Number of images in the whole batch.
    places : Tensor of shape (n,), int64
        Positions of this process's images in it.
    """

    generator: torch.Generator
    total: int
    places: Tensor


Randomness = torch.Generator | Share
"""Source of the random numbers of a batch; a plain generator if all of its images are here."""


def uniform(shape: tuple[int, ...], source: Randomness, device: torch.device) -> Tensor:
    """Sample uniformly from [0, 1); the first axis of `shape` is that of the images."""
    return _drawn(torch.rand, shape, source, device)


def normal(shape: tuple[int, ...], source: Randomness, device: torch.device) -> Tensor:
    """Sample from the standard normal distribution; the first axis of `shape` is that of the images."""
    return _drawn(torch.randn, shape, source, device)


def _drawn(
    draw: Callable[..., Tensor], shape: tuple[int, ...], source: Randomness, device: torch.device
) -> Tensor:
    if not isinstance(source, Share):
        return draw(shape, generator=source, device=device)
    return draw((source.total, *shape[1:]), generator=source.generator, device=device)[source.places]
