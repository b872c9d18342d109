"""A network that others have trained, as an encoder needs it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from gpu_ssl.runtime.progress import Progress

Colour = tuple[float, float, float]
"""A number for red, green and blue, of intensities from 0 to 1."""


@dataclass(frozen=True)
class Backbone:
    """A network from colour images to features.

    Parameters
    ----------
    name : str
        What `build_backbone` makes it of.
    network : nn.Module
        From standardized images (n, 3, side, side), float32, to features (n, width); set to evaluation.
    width : int
        Number of features.
    side : int
        Height and width in pixels of the images it sees.
    mean, std : Colour
        Of the images it was trained on, which it wants subtracted and divided by.
    source : str
        Where its weights come from.
    licence : str
        Of the weights, as far as whoever publishes them says.
    fill : callable
        Gives the network its weights, from the disk or else from `source`; takes whether it may fetch them,
        and what shows how far that is. May it not, or cannot, it raises `NoWeightsError`.
    """

    name: str
    network: nn.Module
    width: int
    side: int
    mean: Colour
    std: Colour
    source: str
    licence: str
    fill: Callable[[bool, Progress], None]


def width_of(network: nn.Module, side: int) -> int:
    """Return how many features a network gives of images of this side; nothing is computed.

    Raises
    ------
    AssertionError, ValueError, RuntimeError
        Of its library, if it cannot see such images.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    with torch.no_grad():
        image = torch.empty(1, 3, side, side, device="meta")
        features = torch.func.functional_call(network, shapes, (image,))
    if features.ndim != 2:
        raise ValueError(f"of an image it gives {tuple(features.shape[1:])} numbers, and not a row of them")
    return int(features.shape[1])
