"""The common interface of pretrained networks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from gpu_ssl.runtime.progress import Progress

Colour = tuple[float, float, float]
"""Values for red, green and blue, for intensities from 0 to 1."""


@dataclass(frozen=True)
class Backbone:
    """A network from colour images to features.

    Parameters
    ----------
    name : str
        Name from which `build_backbone` rebuilds it.
    network : nn.Module
        Maps standardized images (n, 3, side, side), float32, to features (n, width); in evaluation mode.
    width : int
        Number of features.
    side : int
        Height and width of the input images in pixels.
    mean, std : Colour
        Mean and standard deviation by which input images are standardized.
    source : str
        Origin of the weights.
    licence : str
        Licence of the weights, as stated by their publisher.
    fill : callable
        Loads the weights into the network, from disk or else from `source`. Takes whether downloading is
        allowed, and a `Progress`. Raises `NoWeightsError` if the weights are not available.
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
    """Return the number of features for images of this side, without computing any.

    Raises
    ------
    AssertionError, ValueError, RuntimeError
        From the library of the network, if it does not support such images.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    with torch.no_grad():
        image = torch.empty(1, 3, side, side, device="meta")
        features = torch.func.functional_call(network, shapes, (image,))
    if features.ndim != 2:
        raise ValueError(f"expected a row of features per image, got shape {tuple(features.shape[1:])}")
    return int(features.shape[1])
