"""From images to latents, block by block."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.models.batches import blocks_of
from gpu_ssl.models.vae import VAE
from gpu_ssl.runtime.device import autocast

BLOCK = 1000


@torch.no_grad()
def hidden(vae: VAE, images: Tensor, precision: torch.dtype) -> Tensor:
    """Return the last hidden layer of each image, (n, features), float32; arguments as of `encode`."""
    vae.eval()
    layers = []
    for block in torch.split(images, BLOCK):
        inputs = block.to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)
        with autocast(images.device, precision):
            layers.append(vae.trunk(inputs).float())
    return torch.cat(layers)


@torch.no_grad()
def encode(vae: VAE, images: Tensor, precision: torch.dtype) -> Tensor:
    """Return the posterior mean of each image.

    Parameters
    ----------
    vae : VAE
        A trained VAE.
    images : Tensor of shape (n, channels, height, width), uint8
        On the device of `vae`.
    precision : torch.dtype
        dtype of the matrix products in the trunk; the head works in float32.

    Returns
    -------
    Tensor of shape (n, latent_dim), float32
        On the device of `vae`, column-major (what cuML takes without a copy).
    """
    vae.eval()
    latents = torch.empty(vae.config.latent_dim, len(images), device=images.device).T
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].to(torch.float32).div_(255)
        block = block.contiguous(memory_format=torch.channels_last)
        with autocast(images.device, precision):
            features = vae.trunk(block)
        # The head works in float32: bfloat16 would leave the latents 8 bits of mantissa. The noise of
        # training hides that, an SVM does not.
        latents[start : start + BLOCK] = vae.posterior(features.float()).mean
    return latents


def encode_rows(
    vae: VAE, pixels: NDArray[np.uint8], rows: NDArray[np.int64], precision: torch.dtype
) -> Tensor:
    """Return the posterior means of some rows of images on the host, a block at a time; see `encode`."""
    latents = torch.empty(vae.config.latent_dim, len(rows), device=vae.device).T
    done = 0
    for block in blocks_of(pixels, rows, BLOCK, vae.device):
        latents[done : done + len(block)] = encode(vae, block, precision)
        done += len(block)
    return latents
