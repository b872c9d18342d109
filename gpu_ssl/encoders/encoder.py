"""What all encoders have in common, and how images are encoded block by block.

The module of an encoder defines two functions::

    fit(images: TrainingImages, training: Training) -> Encoder      # `encoders.fitting` has both types
    build(image_shape: tuple[int, int, int], settings: dict[str, Any]) -> Encoder

The first learns from training images. The second makes an encoder of `Encoder.settings`, whose state dict is
then loaded.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BLOCK = 1000
"""Images that are encoded at a time."""

ImageShape = tuple[int, int, int]
"""Channels, height and width."""


class Exhibit(NamedTuple):
    """Pictures of what a model has learned: rows of images (n, channels, height, width), from 0 to 1."""

    name: str
    title: str
    rows: list[NDArray[np.float32]]


class Encoder(nn.Module):
    """A map from images to features.

    Parameters
    ----------
    name : str
        Its name in `catalog.ENCODERS`, or of a sum of these.
    image_shape : tuple of int
        Channels, height and width of the images.
    width : int
        Number of features.

    Attributes
    ----------
    own_shape : bool
        Whether `image_shape` is the encoder's own and not that of the data: files are decoded to it anew.
    precision : torch.dtype
        dtype of the matrix products, float32 unless changed. It is no part of what is saved: a saved encoder
        computes in float32, so that its features depend little on the machine; one of `own_shape`, which may
        be hundreds of times as dear, as fast as the machine can.
    """

    own_shape = False

    def __init__(self, name: str, image_shape: ImageShape, width: int) -> None:
        super().__init__()
        self.name, self.image_shape, self.width = name, image_shape, width
        self.precision = torch.float32

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return features (n, width), float32, of images (n, channels, height, width), uint8.

        An encoder for embeddings (`catalog.EncoderSpec`) gets these instead: (n, 1, 1, width), float32.
        """

    @property
    def parts(self) -> Sequence["Encoder"]:
        """The encoders whose features are joined; one that is no sum has itself as its part."""
        return (self,)

    def join(self, features: Sequence[Tensor]) -> Tensor:
        """Return the features of this encoder, given those of its `parts`."""
        return features[0]

    def reconstruction_errors(self, images: Tensor, features: Tensor) -> Tensor | None:
        """Return how badly uint8 images (n, ...) are reconstructed from their features, (n,), float32.

        None from an encoder without a decoder.
        """
        return None

    def settings(self) -> dict[str, Any]:
        """Return what ``build`` of its module needs, as JSON."""
        return {}

    def exhibits(self, images: Tensor) -> list[Exhibit]:
        """Return pictures of what it has learned, with some `images` (n, channels, height, width), uint8."""
        return []


@torch.no_grad()
def encode(encoder: Encoder, images: Tensor) -> Tensor:
    """Return the features of images, worked out in blocks of constant size.

    Parameters
    ----------
    encoder : Encoder
        Set to evaluation.
    images : Tensor of shape (n, channels, height, width), uint8
        On the device of `encoder`.

    Returns
    -------
    Tensor of shape (n, width), float32
        Column-major (what cuML takes without a copy).
    """
    encoder.eval()
    features = torch.empty(encoder.width, len(images), device=images.device).T
    for start in range(0, len(images), BLOCK):
        features[start : start + BLOCK] = encoder(images[start : start + BLOCK])
    return features


def intensities(images: Tensor) -> Tensor:
    """Return uint8 images as float32 from 0 to 1."""
    return images.to(torch.float32).div_(255)
