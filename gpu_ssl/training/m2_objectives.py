"""The modern objective of M2, with techniques published since.

Its inputs come from a source: images, or (for M1+M2) their latents by an M1.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.networks.m2 import M2
from gpu_ssl.networks.m2_bounds import Estimate, Examples, m2_bounds
from gpu_ssl.networks.vae import VAE, sample
from gpu_ssl.training.augmentation import intensities, strong_view, weak_view
from gpu_ssl.training.consistency import PseudoLabels
from gpu_ssl.training.joint import JointBatch

GENERATED = 64
"""Unlabelled images of a batch whose bounds the modern objective computes."""

MANY_CLASSES = Estimate(exact=10, sampled=1.0)
"""How it estimates the sum over more than eleven classes."""


class Pair(NamedTuple):
    """Inputs and reconstruction targets of a batch of images."""

    inputs: Tensor
    targets: Tensor


class Source(Protocol):
    """Generates inputs from augmented images, and targets."""

    def weak(self, batch: JointBatch) -> Tensor:
        """Return inputs with weak augmentation."""

    def strong(self, batch: JointBatch) -> Tensor:
        """Return inputs with strong augmentation."""

    def targets(self, batch: JointBatch) -> Tensor:
        """Return the target of all augmentations of an image."""


class ImageSource:
    """Images as inputs, and the canonical images as targets, as for the VAE.

    Parameters
    ----------
    canonical_images : Tensor of shape (n, channels, height, width), uint8
        Canonical images of all training images.
    mirror : bool
        Whether mirroring keeps the class.
    generator : torch.Generator
        Source of randomness, on the device of the images.
    """

    def __init__(self, canonical_images: Tensor, mirror: bool, generator: torch.Generator) -> None:
        self.canonical_images, self.mirror, self.generator = canonical_images, mirror, generator

    def weak(self, batch: JointBatch) -> Tensor:
        """Return weakly augmented images; see `Source`."""
        return weak_view(batch.images, self.mirror, self.generator)

    def strong(self, batch: JointBatch) -> Tensor:
        """Return strongly augmented images; see `Source`."""
        return strong_view(batch.images, self.mirror, self.generator)

    def targets(self, batch: JointBatch) -> Tensor:
        """Return the canonical images; see `Source`."""
        return intensities(self.canonical_images[batch.rows])


class LatentSource:
    """Posterior samples of a trained M1 for augmented images (Kingma et al. 2014, section 2).

    Parameters
    ----------
    vae : VAE
        The M1, not trained further.
    latents : Tensor of shape (n, latent_dim)
        Posterior means of all training images, the targets of their augmentations.
    mirror : bool
        Whether mirroring keeps the class.
    generator : torch.Generator
        Source of randomness, on the device of the images.
    """

    def __init__(self, vae: VAE, latents: Tensor, mirror: bool, generator: torch.Generator) -> None:
        self.vae, self.latents, self.mirror, self.generator = vae.eval(), latents, mirror, generator

    @torch.no_grad()
    def _sampled(self, images: Tensor) -> Tensor:
        return sample(self.vae.encode(images), self.generator)

    def weak(self, batch: JointBatch) -> Tensor:
        """Return latents of weakly augmented images; see `Source`."""
        return self._sampled(weak_view(batch.images, self.mirror, self.generator))

    def strong(self, batch: JointBatch) -> Tensor:
        """Return latents of strongly augmented images; see `Source`."""
        return self._sampled(strong_view(batch.images, self.mirror, self.generator))

    def targets(self, batch: JointBatch) -> Tensor:
        """Return the posterior means of the images themselves; see `Source`."""
        return self.latents[batch.rows]


class ModernObjective:
    """M2 with augmentation, pseudo-labels for q(y|x), and a warm-up of the terms of unlabelled images.

    The bounds are divided by the number of outputs: an image has hundreds of nats, which would dominate the
    few nats of the labels. In eq. 9 of the paper, which sums over N images, this is an alpha of N times that
    number, instead of 0.1 N; the means over labelled and unlabelled images have equal weight here.

    Parameters
    ----------
    source : Source
        Generates the inputs.
    pseudo_labels : PseudoLabels
        Pseudo-labels of the unlabelled images.
    outputs : int
        Number of values of an input.
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
        bounds = m2_bounds(network, known, labelled.classes, some, self.generator, MANY_CLASSES)
        generative = (bounds.labelled + bounds.unlabelled) / (2 * self.outputs)
        return bounds.classification + ramp * (consistency + generative)

    def pair(self, network: M2, batch: JointBatch) -> Pair:
        """Return the weakly augmented inputs of a batch, and their targets."""
        return Pair(self.source.weak(batch), self.source.targets(batch))
