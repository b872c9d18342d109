"""Sums of encoders, such as ``vae+hog``: their features concatenated at the same scale."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gpu_ssl.encoders.encoder import Encoder

SMALLEST_NORM = 1e-6


class Sum(Encoder):
    """The concatenated features of several encoders, each divided by its scale.

    Parameters
    ----------
    encoders : sequence of Encoder
        The parts, for the same images.
    scales : sequence of float
        Scale of each part.
    """

    scales: Tensor

    def __init__(self, encoders: Sequence[Encoder], scales: Sequence[float]) -> None:
        name = "+".join(encoder.name for encoder in encoders)
        of_data = [encoder.image_shape for encoder in encoders if not encoder.own_shape]
        shape = of_data[0] if of_data else encoders[0].image_shape
        super().__init__(name, shape, sum(encoder.width for encoder in encoders))
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


def fit_sum(
    encoders: Sequence[Encoder], features: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Sum:
    """Return a sum whose parts have a mean feature norm of 1, or of their weight, on some training images.

    Without `weights` all parts have equal weight in distances; a part of weight w counts w² in squared ones.
    Standardizing each feature instead would amplify features without information.

    Parameters
    ----------
    encoders : sequence of Encoder
        The fitted parts.
    features : sequence of Tensor of shape (n, width), float32
        Features of the same images from each part.
    weights : sequence of float, optional
        Mean norm of each part.
    """
    norms = torch.stack([part.norm(dim=1).mean().clamp_min(SMALLEST_NORM) for part in features])
    scales = norms if weights is None else norms / norms.new_tensor(weights)
    return Sum(encoders, scales.tolist()).to(features[0].device)
