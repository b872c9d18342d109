"""How unlike an image is to all that a model has seen: out-of-distribution (OOD) scores."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.models.augmentation import canonical
from gpu_ssl.models.batches import blocks_of
from gpu_ssl.models.encoding import encode
from gpu_ssl.models.vae import VAE

REFERENCES = 10_000
"""Most latents that are kept to compare with."""

TYPICAL = 0.95
BLOCK = 1000


@dataclass(frozen=True)
class OODScore:
    """The larger of two ratios to what is usual: distance of the latents, and error of the reconstruction.

    The distance is that to the nearest of many training latents (Sun et al. 2022, with k = 1); the error is
    the sum of squares. Each misses what the other sees (CHANGELOG.md): objects of another kind are drawn
    well, and noise may lie among the latents. A plain ELBO rates simple images as likely (Nalisnick et al.
    2019).

    Parameters
    ----------
    references : Tensor of shape (m, d), float32
        Latents of training images.
    reach, usual_error : float
        Distance and error that 95 % of the other training images do not exceed.
    """

    references: Tensor
    reach: float
    usual_error: float

    def __call__(self, latents: Tensor, errors: Tensor) -> Tensor:
        """Return a score for each image from its latents (n, d) and its error (n,): above 1 is unusual."""
        return torch.maximum(nearest(latents, self.references) / self.reach, errors / self.usual_error)


@torch.no_grad()
def reconstruction_errors(vae: VAE, images: Tensor, latents: Tensor, augmented: bool) -> Tensor:
    """Return the sum of squares between what is drawn of `latents` (n, d) and what is to be drawn, (n,).

    Parameters
    ----------
    vae : VAE
        In evaluation mode.
    images : Tensor of shape (n, channels, height, width), uint8
        The images.
    latents : Tensor of shape (n, d)
        Their posterior means.
    augmented : bool
        Whether the VAE was trained to draw the canonical picture of all views.
    """
    blocks = zip(torch.split(images, BLOCK), torch.split(latents, BLOCK), strict=True)
    errors = [picture_errors(vae, block, part, augmented) for block, part in blocks]
    return torch.cat(errors) if errors else latents.new_empty(0)


def picture_errors(vae: VAE, images: Tensor, latents: Tensor, augmented: bool) -> Tensor:
    """Do what `reconstruction_errors` does, for all images at once."""
    targets = canonical(images) if augmented else images.to(torch.float32).div(255)
    return (torch.sigmoid(vae.decode(latents)) - targets).square().sum(dim=(1, 2, 3))


def nearest(latents: Tensor, references: Tensor) -> Tensor:
    """Return the distance of each of `latents` (n, d) to the nearest of `references` (m, d)."""
    blocks = [torch.cdist(block, references).amin(dim=1) for block in torch.split(latents, BLOCK)]
    return torch.cat(blocks) if blocks else latents.new_empty(0)


def fit_ood_score(latents: Tensor, errors: Tensor, seed: int) -> OODScore:
    """Choose references among training latents (n, d), and measure what is usual on those left over.

    `errors` (n,) are those of the reconstructions of the training images.

    Of few latents half are references, so that there are others to measure on.
    """
    order = np.random.default_rng(seed).permutation(len(latents))
    m = min(REFERENCES, (len(latents) + 1) // 2)
    chosen = torch.from_numpy(order[:m]).to(latents.device)
    others = torch.from_numpy(order[m : m + REFERENCES]).to(latents.device)
    references = latents[chosen].contiguous()
    distances = nearest(latents[others], references) if len(others) else latents.new_ones(1)
    reach, usual_error = (max(float(torch.quantile(values, TYPICAL)), 1e-6) for values in (distances, errors))
    return OODScore(references, reach, usual_error)


def ood_score_of(vae: VAE, pixels: NDArray[np.uint8], augmented: bool, seed: int) -> OODScore:
    """Fit a score to training images on the host: to twice `REFERENCES` of them, where there are more.

    Parameters are those of `reconstruction_errors` and `fit_ood_score`.
    """
    n = len(pixels)
    some = np.arange(n)
    if n > 2 * REFERENCES:
        some = np.sort(np.random.default_rng(seed).choice(n, 2 * REFERENCES, replace=False))
    latents, errors = [], []
    for block in blocks_of(pixels, some, BLOCK, vae.device):
        latents.append(encode(vae, block, torch.float32))
        errors.append(reconstruction_errors(vae, block, latents[-1], augmented))
    return fit_ood_score(torch.cat(latents), torch.cat(errors), seed)
