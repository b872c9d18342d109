"""Sums of encoders, such as ``vae+hog``: their features next to each other, each at the same scale."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gpu_ssl.encoders.encoder import Encoder, encode

SMALLEST_NORM = 1e-6


class Sum(Encoder):
    """The features of several encoders, each divided by a scale of its own.

    Parameters
    ----------
    encoders : sequence of Encoder
        The parts, for images of one shape.
    scales : sequence of float
        One for each part.
    """

    scales: Tensor

    def __init__(self, encoders: Sequence[Encoder], scales: Sequence[float]) -> None:
        name = "+".join(encoder.name for encoder in encoders)
        super().__init__(name, encoders[0].image_shape, sum(encoder.width for encoder in encoders))
        self._parts = nn.ModuleList(encoders)
        self.register_buffer("scales", torch.tensor(scales))

    @property
    def parts(self) -> Sequence[Encoder]:
        """See `Encoder.parts`."""
        return tuple(part for part in self._parts if isinstance(part, Encoder))

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        return self.join([part(images) for part in self.parts])

    def join(self, features: Sequence[Tensor]) -> Tensor:
        """Return the scaled features (n, width) of the parts, column-major."""
        return torch.cat([(part / self.scales[number]).T for number, part in enumerate(features)]).T


def fit_sum(encoders: Sequence[Encoder], images: Tensor) -> Sum:
    """Scale encoders so that the features of `images`, some of the training images, have a mean norm of 1.

    Blocks of features then count alike in distances. Standardizing each feature instead would blow up those
    that carry nothing.

    Parameters
    ----------
    encoders : sequence of Encoder
        Fitted.
    images : Tensor of shape (n, channels, height, width), uint8
        On the device of the encoders.
    """
    norms = [encode(encoder, images).norm(dim=1).mean().clamp_min(SMALLEST_NORM) for encoder in encoders]
    return Sum(encoders, torch.stack(norms).tolist()).to(images.device)
