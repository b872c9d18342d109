"""The networks of the VAE: ours (convolutional, any image size) and the paper's (a perceptron)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl.models.convolution import Convolution

COARSEST_GRID = 8
"""Longest side, in cells, of the grid at which the convolutional decoder starts."""


class Parts(NamedTuple):
    """A trunk from images to `features` numbers each, and a decoder from latents to image logits."""

    trunk: nn.Module
    features: int
    decoder: nn.Module


def perceptron(image_shape: tuple[int, int, int], latent_dim: int) -> Parts:
    """Build the network of Kingma et al. 2014, section 4: two layers of 600 softplus units each way."""
    pixels = math.prod(image_shape)
    trunk = nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, 600), _CentredSoftplus(), nn.Linear(600, 600), _CentredSoftplus()
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 600),
        _CentredSoftplus(),
        nn.Linear(600, 600),
        _CentredSoftplus(),
        nn.Linear(600, pixels),
        nn.Unflatten(1, image_shape),
    )
    return Parts(trunk, 600, decoder)


def convolutional(image_shape: tuple[int, int, int], latent_dim: int) -> Parts:
    """Build our network: convolutions with batch norm, and pixels moved to channels and back.

    The trunk turns 2 x 2 pixels into channels (so its first convolution has work enough for matrix
    units, and a reach of 6 pixels), then halves the grid until it is about 4 x 4 cells. The decoder starts
    from a coarse grid, doubles it as often as the image needs, and lets each cell draw 4 x 4 pixels from
    its 3 x 3 neighbourhood. An image of 28 x 28 goes 14-7-4, then 7-28.
    """
    channels, height, width = image_shape
    grid = (math.ceil(height / 2), math.ceil(width / 2))
    # The finest grid costs most: batch norm there took a fifth of a step, for 0.1 points.
    first = [nn.Conv2d(4 * channels, 32, 3, padding=1), nn.ReLU(inplace=True)]
    layers: list[nn.Module] = [_PixelsToChannels(2), *first]
    depth = 32
    while max(grid) > 4 or depth < 128:
        wider = min(2 * depth, 256)
        layers += [Convolution(depth, wider, side=3, stride=2, padding=1)]
        layers += [nn.BatchNorm2d(wider), nn.ReLU(inplace=True)]
        depth, grid = wider, (math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
    trunk = nn.Sequential(*layers, _FromGrid())
    return Parts(trunk, depth * grid[0] * grid[1], convolutional_decoder(image_shape, latent_dim))


def convolutional_decoder(image_shape: tuple[int, int, int], latent_dim: int) -> nn.Module:
    """Build the decoder of `convolutional`: latents (n, latent_dim) to image logits (n, *image_shape)."""
    channels, height, width = image_shape
    depth = 64
    grid = (math.ceil(height / 4), math.ceil(width / 4))
    doublings = 0
    while max(grid) > COARSEST_GRID:
        grid = (math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
        doublings += 1
    cells = depth * grid[0] * grid[1]
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, cells, bias=False),
        nn.BatchNorm1d(cells),
        nn.ReLU(inplace=True),
        _ToGrid(depth, grid),
    ]
    for _ in range(doublings):
        layers += [nn.Conv2d(depth, 4 * depth, 3, padding=1, bias=False), _ChannelsToPixels(2)]
        layers += [nn.BatchNorm2d(depth), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(depth, 16 * channels, 3, padding=1), _ChannelsToPixels(4), _Crop(height, width)]
    return nn.Sequential(*layers)


def classifier_trunk(image_shape: tuple[int, int, int], first: int = 32) -> tuple[nn.Module, int]:
    """Build the trunk of a classifier, and return it with its number of channels.

    Pairs of convolutions with batch norm, at least three; those after the first halve the grid until it is
    about 4 x 4 cells. 2 x 2 pixels are turned into channels first, as in `convolutional`.
    """
    channels, height, width = image_shape
    grid = max(math.ceil(height / 2), math.ceil(width / 2))
    layers: list[nn.Module] = [_PixelsToChannels(2)]
    before, depth, stride = 4 * channels, first, 1
    while True:
        layers += _convolution(before, depth, stride) + _convolution(depth, depth, 1)
        if grid <= 4 and depth >= 4 * first:
            return nn.Sequential(*layers), depth
        stride = 2 if grid > 4 else 1
        before, depth, grid = depth, min(2 * depth, 8 * first), math.ceil(grid / stride)


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    kernel = Convolution(before, after, side=3, stride=stride, padding=1)
    return [kernel, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


class _CentredSoftplus(nn.Module):
    """softplus(x) - log 2, which is 0 at 0.

    The next layer's bias could take the constant up, so a network can be what it could be without. But
    inputs of a layer that are 0 in the mean make for a better conditioned descent (LeCun et al. 1998,
    Efficient BackProp, section 4.3).
    """

    def forward(self, features: Tensor) -> Tensor:
        return F.softplus(features) - math.log(2)


class _PixelsToChannels(nn.Module):
    """Turns blocks of pixels into channels; a side that is not divisible is filled up with black."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        filled = F.pad(images, (0, -width % self.block, 0, -height % self.block))
        if self.training and not len(filled):  # torch leaves the shape of nothing as it is
            n, channels, height, width = filled.shape
            return filled.reshape(n, channels * self.block**2, height // self.block, width // self.block)
        return F.pixel_unshuffle(filled, self.block).contiguous(memory_format=torch.channels_last)


class _ChannelsToPixels(nn.Module):
    """Turns channels into blocks of pixels."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        if self.training and not len(images):
            n, channels, height, width = images.shape
            return images.reshape(n, channels // self.block**2, height * self.block, width * self.block)
        return F.pixel_shuffle(images, self.block)


class _ToGrid(nn.Module):
    """Turns (n, cells * depth) into (n, depth, rows, columns), already in the channels-last layout."""

    def __init__(self, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (*grid, depth)

    def forward(self, features: Tensor) -> Tensor:
        return features.reshape(-1, *self.shape).permute(0, 3, 1, 2)


class _FromGrid(nn.Module):
    """Turns (n, depth, rows, columns) in the channels-last layout into (n, cells * depth), without a copy."""

    def forward(self, features: Tensor) -> Tensor:
        return features.permute(0, 2, 3, 1).flatten(1)


class _Crop(nn.Module):
    """Cuts what lies beyond the image."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, : self.height, : self.width]
