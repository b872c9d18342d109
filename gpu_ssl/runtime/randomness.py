"""Random numbers for the images of a batch, the same ones however many ranks share the batch."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Share(NamedTuple):
    """A generator, and the part of its numbers that goes to the images of one rank.

    Every rank draws the numbers of the whole batch and takes those of its own images: 70 or so for each
    image, which is nothing beside the network's work on it.

    Parameters
    ----------
    generator : torch.Generator
        In the same state on all ranks.
    total : int
        Images in the whole batch.
    places : Tensor of shape (n,), int64
        Places of this rank's images in it.
    """

    generator: torch.Generator
    total: int
    places: Tensor


Randomness = torch.Generator | Share
"""Where the random numbers of a batch come from; a generator alone where all of its images are here."""


def uniform(shape: tuple[int, ...], source: Randomness, device: torch.device) -> Tensor:
    """Draw from 0 to 1; the first axis of `shape` is that of the images."""
    return _drawn(torch.rand, shape, source, device)


def normal(shape: tuple[int, ...], source: Randomness, device: torch.device) -> Tensor:
    """Draw from the standard normal distribution; the first axis of `shape` is that of the images."""
    return _drawn(torch.randn, shape, source, device)


def _drawn(
    draw: Callable[..., Tensor], shape: tuple[int, ...], source: Randomness, device: torch.device
) -> Tensor:
    if not isinstance(source, Share):
        return draw(shape, generator=source, device=device)
    return draw((source.total, *shape[1:]), generator=source.generator, device=device)[source.places]
