"""Layers that rearrange pixels and channels, and the parts of a VAE network."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Parts(NamedTuple):
    """A trunk from images to `features` features each, and a decoder from latents to image logits."""

    trunk: nn.Module
    features: int
    decoder: nn.Module


class PixelsToChannels(nn.Module):
    """Rearranges blocks of pixels to channels; sides that are not divisible are padded with zeros."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        filled = F.pad(images, (0, -width % self.block, 0, -height % self.block))
        if self.training and not len(filled):  # pixel_unshuffle does not change the shape of an empty batch
            n, channels, height, width = filled.shape
            return filled.reshape(n, channels * self.block**2, height // self.block, width // self.block)
        return F.pixel_unshuffle(filled, self.block).contiguous(memory_format=torch.channels_last)


class ChannelsToPixels(nn.Module):
    """Rearranges channels to blocks of pixels."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        if self.training and not len(images):
            n, channels, height, width = images.shape
            return images.reshape(n, channels // self.block**2, height * self.block, width * self.block)
        return F.pixel_shuffle(images, self.block)


class ToGrid(nn.Module):
    """Reshapes (n, cells * depth) to (n, depth, rows, columns), in the channels-last layout."""

    def __init__(self, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (*grid, depth)

    def forward(self, features: Tensor) -> Tensor:
        return features.reshape(-1, *self.shape).permute(0, 3, 1, 2)


class FromGrid(nn.Module):
    """Reshapes (n, depth, rows, columns) in channels-last layout to (n, cells * depth), without a copy."""

    def forward(self, features: Tensor) -> Tensor:
        return features.permute(0, 2, 3, 1).flatten(1)


class Crop(nn.Module):
    """Crops padded images to their height and width."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, : self.height, : self.width]
