"""What M2 minimizes: as published, and with what the field has learned since.

Both take their inputs from a source: images themselves, or (for M1+M2) what an M1 makes of them.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_ssl.networks.m2 import M2, Examples, m2_bounds
from gpu_ssl.networks.vae import VAE, sample
from gpu_ssl.training.augmentation import strong_view, weak_view
from gpu_ssl.training.consistency import PseudoLabels
from gpu_ssl.training.joint import JointBatch

ALPHA = 0.1
"""Weight of the classification term beside the bound of an image (Kingma et al. 2014, section 4)."""

GENERATED = 64
"""Unlabelled images of a batch for which the modern objective works out the bound of every class."""


class Source(Protocol):
    """Makes inputs and targets of images."""

    def plain(self, batch: JointBatch) -> Tensor:
        """Return inputs as they are."""

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

    def plain(self, batch: JointBatch) -> Tensor:
        """Return the images; see `Source`."""
        return batch.images

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
    """Samples from the posterior of a trained M1 (Kingma et al. 2014, section 2.3).

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

    def plain(self, batch: JointBatch) -> Tensor:
        """Return a sample of each image's latents; see `Source`."""
        return self._sampled(batch.images)

    def weak(self, batch: JointBatch) -> Tensor:
        """Return latents of weak views; see `Source`."""
        return self._sampled(weak_view(batch.images, self.mirror, self.generator))

    def strong(self, batch: JointBatch) -> Tensor:
        """Return latents of strong views; see `Source`."""
        return self._sampled(strong_view(batch.images, self.mirror, self.generator))

    def targets(self, batch: JointBatch) -> Tensor:
        """Return the posterior means of the images themselves; see `Source`."""
        return self.latents[batch.rows]


class PublishedObjective:
    """J^alpha of Kingma et al. 2014, eq. 9, for an image: its parts weighted by the numbers of images.

    Parameters
    ----------
    source : Source
        Makes the inputs.
    labelled_share : float
        Labelled images as a fraction of all.
    generator : torch.Generator
        Source of randomness.
    """

    def __init__(self, source: Source, labelled_share: float, generator: torch.Generator) -> None:
        self.source, self.labelled_share, self.generator = source, labelled_share, generator

    def __call__(
        self, network: M2, labelled: JointBatch, unlabelled: JointBatch, ramp: float | Tensor
    ) -> Tensor:
        """Return the loss of a step in nats; see `training.joint.JointObjective`."""
        assert labelled.classes is not None
        known, unknown = (
            Examples(network.trunk(inputs), inputs)
            for inputs in (self.source.plain(labelled), self.source.plain(unlabelled))
        )
        bounds = m2_bounds(network, known, labelled.classes, unknown, self.generator)
        generative = self.labelled_share * bounds.labelled + (1 - self.labelled_share) * bounds.unlabelled
        return generative + ALPHA * bounds.classification


class ModernObjective:
    """M2 with views, pseudo-labels for q(y|x), and a warm-up of what rests on unlabelled images.

    The bounds are divided by the number of outputs: nats of a picture are hundreds, and would drown the
    few nats that the labels have to say. In the terms of eq. 9, alpha is that number.

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
