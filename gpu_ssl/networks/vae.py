"""The VAE and its objective (Kingma and Welling 2014; M1 of Kingma et al. 2014)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl import catalog
from gpu_ssl.config import ModelConfig
from gpu_ssl.networks.layers import Parts
from gpu_ssl.runtime.randomness import Randomness, normal
from gpu_ssl.runtime.torch_workarounds.softplus import ready_softplus

LOG_VARIANCE_RANGE = (-12.0, 6.0)
"""Log-variances of the posterior are clamped to this range, so that no exponential overflows."""


class Posterior(NamedTuple):
    """Mean and log-variance of the diagonal Gaussian q(z|x), each of shape (n, latent_dim), float32."""

    mean: Tensor
    log_variance: Tensor


class Losses(NamedTuple):
    """The two terms of the negative ELBO, in nats per image."""

    reconstruction: Tensor
    kl: Tensor


class VAE(nn.Module):
    """A variational autoencoder with Gaussian posterior and Bernoulli likelihood.

    Parameters
    ----------
    config : ModelConfig
        Network, latent dimension, KL weight.
    image_shape : tuple of int
        Channels, height and width.
    """

    def __init__(self, config: ModelConfig, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        ready_softplus()
        self.config = config
        self.image_shape = image_shape
        network = catalog.load_module(catalog.network(config.network))
        parts: Parts = network.build(image_shape, config.latent_dim)
        self.trunk, self.decoder = parts.trunk, parts.decoder
        self.head = nn.Linear(parts.features, 2 * config.latent_dim)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.head.weight.device

    def encode(self, images: Tensor) -> Posterior:
        """Return q(z|x) for images of shape (n, channels, height, width) with values from 0 to 1."""
        return self.posterior(self.trunk(images))

    def posterior(self, features: Tensor) -> Posterior:
        """Return q(z|x) for the features of the trunk."""
        mean, log_variance = self.head(features).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, latents: Tensor) -> Tensor:
        """Return the logits of p(x|z), of shape (n, channels, height, width), float32."""
        logits: Tensor = self.decoder(latents)
        return logits.float()


def sample(posterior: Posterior, randomness: Randomness) -> Tensor:
    """Sample z = mean + standard deviation * noise (Kingma and Welling 2014, section 2.4)."""
    mean, log_variance = posterior
    noise = normal(tuple(mean.shape), randomness, mean.device)
    return mean + noise * torch.exp(0.5 * log_variance)


def kl_divergence(posterior: Posterior) -> Tensor:
    """Return KL(q(z|x) || N(0, I)) of each image in nats (Kingma and Welling 2014, appendix B)."""
    mean, log_variance = posterior
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def reconstruction_loss(logits: Tensor, images: Tensor) -> Tensor:
    """Return -log p(x|z) of each image in nats: Bernoulli, with intensities from 0 to 1 as probabilities."""
    losses = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
    return losses.sum(dim=(1, 2, 3))


def training_losses(vae: VAE, inputs: Tensor, targets: Tensor, randomness: Randomness, total: int) -> Losses:
    """Return both terms of the negative ELBO of `targets`, encoded from `inputs`.

    Each is the sum over this rank's images, divided by the `total` number of images of all ranks.

    If `inputs` equals `targets`, this is the bound of Kingma et al. 2014, eq. 5 (one sample of z). If
    `inputs` are augmented images and `targets` their reconstruction targets, it is the denoising criterion
    of Im et al. 2017, eq. 5: the posterior must fit every augmentation of an image, so it keeps what they
    share and drops position, scale and brightness.
    """
    posterior = vae.encode(inputs)
    logits = vae.decode(sample(posterior, randomness))
    return Losses(reconstruction_loss(logits, targets).sum() / total, kl_divergence(posterior).sum() / total)
