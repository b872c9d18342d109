"""The VAE network of Kingma et al. 2014: multilayer perceptrons with softplus units."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl.networks.layers import Parts


def build(image_shape: tuple[int, int, int], latent_dim: int) -> Parts:
    """Build encoder and decoder with two layers of 600 units each (Kingma et al. 2014, section 4)."""
    pixels = math.prod(image_shape)
    trunk = nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, 600), CentredSoftplus(), nn.Linear(600, 600), CentredSoftplus()
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 600),
        CentredSoftplus(),
        nn.Linear(600, 600),
        CentredSoftplus(),
        nn.Linear(600, pixels),
        nn.Unflatten(1, image_shape),
    )
    return Parts(trunk, 600, decoder)


class CentredSoftplus(nn.Module):
    """softplus(x) - log 2, which is 0 at 0.

    The bias of the next layer can absorb the constant, so the networks represent the same functions. But
    centred inputs make the optimization better conditioned (LeCun et al. 1998, Efficient BackProp, section
    4.3).
    """

    def forward(self, features: Tensor) -> Tensor:
        return F.softplus(features) - math.log(2)
