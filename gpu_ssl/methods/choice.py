"""From the name of a method to the method."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_ssl.config import MethodName
from gpu_ssl.methods import m1
from gpu_ssl.methods.consistency import TrainedClassifier
from gpu_ssl.methods.evaluation import Method
from gpu_ssl.methods.features import Features
from gpu_ssl.methods.graph import METHOD as GRAPH
from gpu_ssl.methods.graph import LatentGraph
from gpu_ssl.methods.svm import SVMOnFeatures, SVMSolver
from gpu_ssl.models.vae import VAE
from gpu_ssl.report.records import TrainingRecord


@dataclass(frozen=True)
class Learned:
    """What methods share: images on the device, a VAE trained on them without labels, and their latents.

    Parameters
    ----------
    train_images, test_images : Tensor of shape (n, channels, height, width), uint8
        On the device.
    mirror : bool
        Whether a mirror image is of the same class.
    vae, training, precision
        The VAE, how it was trained, and the dtype of its matrix products.
    latents : Features
        Posterior means, arrays of the library of the SVM backend.
    graph : LatentGraph
        Of the latents; nothing is computed until a method asks.
    """

    train_images: Tensor
    test_images: Tensor
    mirror: bool
    vae: VAE
    training: TrainingRecord
    precision: torch.dtype
    latents: Features
    graph: LatentGraph


def make_method(name: MethodName, learned: Learned, solver: SVMSolver, seed: int) -> Method:
    """Return the method of this name, ready to predict from any choice of labels."""
    if name == m1.METHOD:
        return SVMOnFeatures(learned.latents, solver)
    if name == GRAPH:
        return learned.graph
    return TrainedClassifier(
        name,
        learned.train_images,
        learned.test_images,
        learned.graph,
        solver,
        learned.mirror,
        learned.precision,
        seed,
    )
