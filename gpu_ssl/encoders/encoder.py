"""The base class of encoders, and encoding in blocks.

The module of an encoder defines two functions::

    fit(images: TrainingImages, training: Training) -> Encoder      # `encoders.fitting` has both types
    build(image_shape: tuple[int, int, int], settings: dict[str, Any]) -> Encoder

``fit`` learns from training images without labels. ``build`` creates an encoder from `Encoder.settings`; its
state dict is loaded afterwards.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl.runtime.device import rows_at_a_time

BLOCK = 1000
"""Number of images encoded at a time on a CPU."""

BYTES_A_VALUE = 1024
"""Memory that encoding takes at most for each intensity: 64 channels of float32 a few times over."""

ImageShape = tuple[int, int, int]
"""Channels, height and width."""


class Exhibit(NamedTuple):
    """A figure of what a model has learned: rows of images (n, channels, height, width), from 0 to 1."""

    name: str
    title: str
    rows: list[NDArray[np.float32]]


class Encoder(nn.Module):
    """A map from images to features.

    Parameters
    ----------
    name : str
        Name in `catalog.ENCODERS`, or several such names joined by ``+``.
    image_shape : tuple of int
        Channels, height and width of the images.
    width : int
        Number of features.

    Attributes
    ----------
    own_shape : bool
        Whether `image_shape` is fixed by the encoder rather than by the data; files are decoded again to it.
    precision : torch.dtype
        dtype of the matrix products, float32 by default. It is not saved: a loaded encoder computes in
        float32, so that features hardly depend on the machine. An encoder with `own_shape`, which may cost
        hundreds of times as much, uses the fastest precision of the machine.
    """

    own_shape = False

    def __init__(self, name: str, image_shape: ImageShape, width: int) -> None:
        super().__init__()
        self.name, self.image_shape, self.width = name, image_shape, width
        self.precision = torch.float32

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return features (n, width), float32, of images (n, channels, height, width), uint8.

        An encoder for embeddings (see `catalog.EncoderSpec`) takes rows (n, 1, 1, width), float32, instead.
        """

    @property
    def parts(self) -> Sequence["Encoder"]:
        """The encoders whose features are concatenated; the encoder itself if it is not a sum."""
        return (self,)

    def join(self, features: Sequence[Tensor]) -> Tensor:
        """Return the features of this encoder, given those of its `parts`."""
        return features[0]

    def reconstruction_errors(self, images: Tensor, features: Tensor) -> Tensor | None:
        """Return the reconstruction error of uint8 images (n, ...) from their features, (n,), float32.

        An encoder without a decoder returns None.
        """
        return None

    def settings(self) -> dict[str, Any]:
        """Return the arguments of ``build`` as JSON-compatible values."""
        return {}

    def exhibits(self, images: Tensor) -> list[Exhibit]:
        """Return figures of what it has learned, for `images` (n, channels, height, width), uint8."""
        return []


@torch.no_grad()
def encode(encoder: Encoder, images: Tensor) -> Tensor:
    """Return the features of images, computed in blocks of constant size.

    Parameters
    ----------
    encoder : Encoder
        The encoder; it is set to evaluation mode.
    images : Tensor of shape (n, channels, height, width), uint8
        On the device of `encoder`.

    Returns
    -------
    Tensor of shape (n, width), float32
        Column-major, which cuML takes without a copy.
    """
    encoder.eval()
    block = block_of(encoder, images.device)
    features = torch.empty(encoder.width, len(images), device=images.device).T
    for start in range(0, len(images), block):
        features[start : start + block] = encoder(images[start : start + block])
    return features


def block_of(encoder: Encoder, device: torch.device) -> int:
    """Return how many images an encoder takes at a time; one of `own_shape` cuts them up itself."""
    if encoder.own_shape:
        return BLOCK
    return rows_at_a_time(device, BYTES_A_VALUE * math.prod(encoder.image_shape), BLOCK)
