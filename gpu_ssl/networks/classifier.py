"""A convolutional network that classifies images."""

import math

from torch import Tensor, nn

from gpu_ssl.networks.layers import PixelsToChannels
from gpu_ssl.runtime.torch_workarounds.convolution import Convolution

FIRST = 32
"""Channels of the first pair of convolutions."""


class ClassifierNetwork(nn.Module):
    """A convolutional trunk, the mean over its grid, and a linear head.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width.
    n_classes : int
        Number of classes.
    """

    def __init__(self, image_shape: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        self.image_shape, self.n_classes = image_shape, n_classes
        self.trunk, self.width = classifier_trunk(image_shape)
        self.head = nn.Linear(self.width, n_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return features (n, width) of images (n, channels, height, width) with values from 0 to 1."""
        features: Tensor = self.trunk(images).mean(dim=(2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (n, n_classes), float32."""
        logits: Tensor = self.head(self.features(images))
        return logits.float()


def classifier_trunk(image_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Build the trunk of a classifier, and return it with its number of channels.

    Pairs of convolutions with batch norm, at least three; those after the first halve the grid until it is
    about 4 x 4 cells. 2 x 2 pixels are turned into channels first, as in `networks.conv.build`.
    """
    channels, height, width = image_shape
    grid = max(math.ceil(height / 2), math.ceil(width / 2))
    layers: list[nn.Module] = [PixelsToChannels(2)]
    before, depth, stride = 4 * channels, FIRST, 1
    while True:
        layers += _convolution(before, depth, stride) + _convolution(depth, depth, 1)
        if grid <= 4 and depth >= 4 * FIRST:
            return nn.Sequential(*layers), depth
        stride = 2 if grid > 4 else 1
        before, depth, grid = depth, min(2 * depth, 8 * FIRST), math.ceil(grid / stride)


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    kernel = Convolution(before, after, side=3, stride=stride, padding=1)
    return [kernel, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
