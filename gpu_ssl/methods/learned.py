"""What methods share: images on the device, and a VAE that was trained on them without labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_ssl.methods.features import Features
from gpu_ssl.methods.graph import LatentGraph
from gpu_ssl.models.vae import VAE
from gpu_ssl.report.records import TrainingRecord


@dataclass(frozen=True)
class Learned:
    """The images, the VAE and the latents of a run.

    Parameters
    ----------
    train_images, test_images : Tensor of shape (n, channels, height, width), uint8
        On the device.
    mirror : bool
        Whether a mirror image is of the same class.
    vae, training, precision
        The VAE, how it was trained, and the dtype of its matrix products.
    train_latents, test_latents : Tensor of shape (n, latent_dim), float32
        Posterior means, on the device.
    features : Features
        The same latents as arrays of the library of the SVM backend.
    graph : LatentGraph
        Of those; nothing is computed until a method asks.
    """

    train_images: Tensor
    test_images: Tensor
    mirror: bool
    vae: VAE
    training: TrainingRecord
    precision: torch.dtype
    train_latents: Tensor
    test_latents: Tensor
    features: Features
    graph: LatentGraph
