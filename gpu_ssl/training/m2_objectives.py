"""What M2 minimizes, with what the field has learned since it was published.

It takes inputs from a source: images themselves, or (for M1+M2) what an M1 makes of them.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.networks.m2 import M2
from gpu_ssl.networks.m2_bounds import Examples, m2_bounds
from gpu_ssl.networks.vae import VAE, sample
from gpu_ssl.training.augmentation import strong_view, weak_view
from gpu_ssl.training.consistency import PseudoLabels
from gpu_ssl.training.joint import JointBatch

GENERATED = 64
"""Unlabelled images of a batch for which the modern objective works out the bound of every class."""


class Pair(NamedTuple):
    """What M2 sees of a batch of images, and what it is to draw."""

    inputs: Tensor
    targets: Tensor


class Source(Protocol):
    """Makes inputs and targets of views of images."""

    def weak(self, batch: JointBatch) -> Tensor:
        """Return inputs of weak views."""

    def strong(self, batch: JointBatch) -> Tensor:
        """Return inputs of strong views."""

    def targets(self, batch: JointBatch) -> Tensor:
        """Return what all views of an image are to give."""


class ImageSource:
    """Images, and for views of them the canonical pictures that the VAE draws too.

    Parameters
    ----------
    pictures : Tensor of shape (n, channels, height, width), uint8
        What is to be drawn of each training image.
    mirror : bool
        Whether a mirror image is of the same class.
    generator : torch.Generator
        Source of randomness, on the device of the images.
    """

    def __init__(self, pictures: Tensor, mirror: bool, generator: torch.Generator) -> None:
        self.pictures, self.mirror, self.generator = pictures, mirror, generator

    def weak(self, batch: JointBatch) -> Tensor:
        """Return weak views; see `Source`."""
        return weak_view(batch.images, self.mirror, self.generator)

    def strong(self, batch: JointBatch) -> Tensor:
        """Return strong views; see `Source`."""
        return strong_view(batch.images, self.mirror, self.generator)

    def targets(self, batch: JointBatch) -> Tensor:
        """Return the pictures; see `Source`."""
        return self.pictures[batch.rows].to(torch.float32).div_(255)


class LatentSource:
    """Samples from the posterior of a trained M1, of views (Kingma et al. 2014, section 2.3).

    Parameters
    ----------
    vae : VAE
        M1, left as it is.
    latents : Tensor of shape (n, latent_dim)
        Posterior means of all training images: what all views of an image are to give.
    mirror : bool
        Whether a mirror image is of the same class.
    generator : torch.Generator
        Source of randomness, on the device of the images.
    """

    def __init__(self, vae: VAE, latents: Tensor, mirror: bool, generator: torch.Generator) -> None:
        self.vae, self.latents, self.mirror, self.generator = vae.eval(), latents, mirror, generator

    @torch.no_grad()
    def _sampled(self, images: Tensor) -> Tensor:
        return sample(self.vae.encode(images), self.generator)

    def weak(self, batch: JointBatch) -> Tensor:
        """Return latents of weak views; see `Source`."""
        return self._sampled(weak_view(batch.images, self.mirror, self.generator))

    def strong(self, batch: JointBatch) -> Tensor:
        """Return latents of strong views; see `Source`."""
        return self._sampled(strong_view(batch.images, self.mirror, self.generator))

    def targets(self, batch: JointBatch) -> Tensor:
        """Return the posterior means of the images themselves; see `Source`."""
        return self.latents[batch.rows]


class ModernObjective:
    """M2 with views, pseudo-labels for q(y|x), and a warm-up of what rests on unlabelled images.

    The bounds are divided by the number of outputs: nats of a picture are hundreds, and would drown the
    few nats that the labels have to say. In the terms of eq. 9 of the paper, alpha is that number.

    Parameters
    ----------
    source : Source
        Makes the inputs.
    pseudo_labels : PseudoLabels
        Names the unlabelled images.
    outputs : int
        Number of values that an input has.
    generator : torch.Generator
        Source of randomness.
    """

    def __init__(
        self, source: Source, pseudo_labels: PseudoLabels, outputs: int, generator: torch.Generator
    ) -> None:
        self.source, self.pseudo_labels = source, pseudo_labels
        self.outputs, self.generator = outputs, generator

    def __call__(
        self, network: M2, labelled: JointBatch, unlabelled: JointBatch, ramp: float | Tensor
    ) -> Tensor:
        """Return the loss of a step; see `training.joint.JointObjective`."""
        assert labelled.classes is not None
        with torch.no_grad():
            said = network(self.source.weak(unlabelled))
        classes, weights = self.pseudo_labels(said, unlabelled.rows)
        inputs = torch.cat([self.source.weak(labelled), self.source.strong(unlabelled)])
        features = network.trunk(inputs)
        n = len(labelled.classes)
        logits = network.classifier(features[n:]).float()
        consistency = (weights * F.cross_entropy(logits, classes, reduction="none")).mean()
        known = Examples(features[:n], self.source.targets(labelled))
        some = Examples(features[n : n + GENERATED], self.source.targets(unlabelled)[:GENERATED])
        bounds = m2_bounds(network, known, labelled.classes, some, self.generator)
        generative = (bounds.labelled + bounds.unlabelled) / (2 * self.outputs)
        return bounds.classification + ramp * (consistency + generative)

    def pair(self, network: M2, batch: JointBatch) -> Pair:
        """Return weak views of a batch, and what M2 draws of them."""
        return Pair(self.source.weak(batch), self.source.targets(batch))
