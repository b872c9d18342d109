"""A network that others have trained, as an encoder needs it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

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
        Gives the network its weights, from the disk or else from `source`. May it not fetch them, or cannot,
        it raises `NoWeightsError`.
    """

    name: str
    network: nn.Module
    width: int
    side: int
    mean: Colour
    std: Colour
    source: str
    licence: str
    fill: Callable[[bool], None]
