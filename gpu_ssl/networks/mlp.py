"""The VAE's network of Kingma et al. 2014: a perceptron of softplus units each way."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl.networks.layers import Parts


def build(image_shape: tuple[int, int, int], latent_dim: int) -> Parts:
    """Build the network of Kingma et al. 2014, section 4: two layers of 600 softplus units each way."""
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

    The next layer's bias could take the constant up, so a network can be what it could be without. But
    inputs of a layer that are 0 in the mean make for a better conditioned descent (LeCun et al. 1998,
    Efficient BackProp, section 4.3).
    """

    def forward(self, features: Tensor) -> Tensor:
        return F.softplus(features) - math.log(2)
