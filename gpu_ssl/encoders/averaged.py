"""Averaging an encoder's features over small shifts of the image."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape

FINEST = 28
"""Side in pixels per pixel of shift; smaller images are not shifted."""


def shift_of(image_shape: ImageShape) -> int:
    """Return the shift in pixels; 0 for images so small that a shift could change their class."""
    return max(image_shape[1:]) // FINEST if min(image_shape[1:]) >= FINEST else 0


class Averaged(Encoder):
    """The mean of an encoder's features over an image and its shifts up, down, left and right.

    This averages out the dependence on the position of cells and strides. HOG gains most, because (as in
    scikit-image) a pixel votes for a single cell, where Dalal and Triggs (2005, section 6.3) interpolate
    between neighbouring cells.

    Parameters
    ----------
    encoder : Encoder
        The encoder to average; its name and settings are kept.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder.name, encoder.image_shape, encoder.width)
        self.encoder = encoder
        self.shift = shift_of(encoder.image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`; shifted images are padded by repeating their edge."""
        if torch.compiler.is_exporting():
            # One copy of the encoder in the exported graph instead of five: tracing takes a fifth of the
            # time. Inference takes nearly twice as long, because the arrays are larger.
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
    """Return the encoder averaged over shifts, or unchanged if it has `own_shape` or small images."""
    return Averaged(encoder) if shift_of(encoder.image_shape) and not encoder.own_shape else encoder


def plain(encoder: Encoder) -> Encoder:
    """Return the encoder inside an `Averaged`; any other encoder unchanged."""
    return encoder.encoder if isinstance(encoder, Averaged) else encoder
