"""Features averaged over small shifts of an image."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape

FINEST = 28
"""Pixels of a side for each pixel of the shift: smaller images are not shifted."""


def shift_of(image_shape: ImageShape) -> int:
    """Return by how many pixels images are shifted; 0 where they are so small that it would change them."""
    return max(image_shape[1:]) // FINEST if min(image_shape[1:]) >= FINEST else 0


class Averaged(Encoder):
    """The mean of an encoder's features over an image and its shifts up, down, left and right.

    What depends on where cells and strides fall averages out. HOG gains most: as in scikit-image a pixel
    votes for one cell, where Dalal and Triggs (2005, section 6.3) interpolate between neighbouring ones.

    Parameters
    ----------
    encoder : Encoder
        Whose features; its name and settings are taken over.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder.name, encoder.image_shape, encoder.width)
        self.encoder = encoder
        self.shift = shift_of(encoder.image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`; the edge of an image is repeated where a shift lays it bare."""
        if torch.compiler.is_exporting():
            # The encoder once in the graph, not five times: tracing takes a fifth as long. Computing takes
            # nearly twice as long, for the size of the arrays.
            shifted = list(self._shifted(images))
            features: Tensor = self.encoder(torch.cat(shifted))
            return features.reshape(len(shifted), -1, self.width).mean(dim=0)
        return torch.stack([self.encoder(shifted) for shifted in self._shifted(images)]).mean(dim=0)

    def _shifted(self, images: Tensor) -> Iterator[Tensor]:
        yield images
        for dim in (2, 3):
            places = torch.arange(images.shape[dim], device=images.device)
            for step in (-self.shift, self.shift):
                yield images.index_select(dim, (places + step).clamp(0, images.shape[dim] - 1))

    def settings(self) -> dict[str, Any]:
        """See `Encoder.settings`."""
        return self.encoder.settings()


def averaged(encoder: Encoder) -> Encoder:
    """Return an encoder averaged over shifts; itself where its images are too small, or its own affair."""
    return Averaged(encoder) if shift_of(encoder.image_shape) and not encoder.own_shape else encoder


def plain(encoder: Encoder) -> Encoder:
    """Return the encoder within an average; any other encoder itself."""
    return encoder.encoder if isinstance(encoder, Averaged) else encoder
