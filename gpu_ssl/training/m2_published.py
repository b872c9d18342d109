"""M2 as Kingma et al. 2014 published it: what a step minimizes, and a plan that gets there.

Model and objective are the paper's; how they are optimized is ours, since its 300,000 steps at a constant
rate take a day of a CPU (docs/experiments/paper.md). As many steps can be asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_ssl.networks.m2 import M2
from gpu_ssl.networks.m2_bounds import Examples, m2_bounds
from gpu_ssl.networks.vae import Posterior
from gpu_ssl.runtime.randomness import normal
from gpu_ssl.training.joint import JointBatch, JointPlan
from gpu_ssl.training.m2_objectives import Pair

ALPHA = 0.1
"""Weight of the classification term beside the bound of an image (Kingma et al. 2014, section 4)."""

EXACT = 2
"""Classes of an image whose bounds the published objective works out in any case, beside a sampled one.

On MNIST a step takes half of the time that it takes with all ten, and as many steps learn as much
(docs/experiments/paper.md).
"""


LABELLED_BATCH, UNLABELLED_BATCH = 32, 100

PASSES, FEWEST = 80, 3000
"""A small set of images is gone through so often at most, but for so many steps."""


@dataclass(frozen=True)
class Recipe:
    """How an M2 is trained as published.

    Parameters
    ----------
    steps : int
        Steps for a large set of images.
    learning_rate : float
        Its peak.
    ramp : float
        Fraction of the steps over which the bounds come in, by its third power. Before they count as much as
        the paper has it, the cross-entropy holds q(y|x) at what the labels say, and the decoder learns to use
        the class. Otherwise z of images learns the class, too; the bound then gains nothing from knowing it,
        and q(y|x) becomes uniform: the entropy of ten classes is worth 2.3 nats (docs/experiments/paper.md).
    """

    steps: int
    learning_rate: float
    ramp: float

    def plan(self, n_images: int, precision: torch.dtype) -> JointPlan:
        """Return the plan for so many training images; `precision` is that of matrix products."""
        batch = min(UNLABELLED_BATCH, n_images)
        return JointPlan(
            steps=min(self.steps, max(FEWEST, PASSES * n_images // batch)),
            labelled_batch=LABELLED_BATCH,
            unlabelled_batch=batch,
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            precision=precision,
            beta2=0.99,
            warm_up=0.3,
            ramp=self.ramp,
        )


OF_LATENTS = Recipe(steps=40_000, learning_rate=6e-3, ramp=0.1)
OF_IMAGES = Recipe(steps=10_000, learning_rate=3e-3, ramp=0.6)


def plain_images(batch: JointBatch) -> Tensor:
    """Return images as they are, from 0 to 1."""
    return batch.images


class PosteriorSamples:
    """Samples from the posterior of a trained M1, new ones in every step (Kingma et al. 2014, section 2.3).

    Parameters
    ----------
    posterior : Posterior
        Of all training images.
    generator : torch.Generator
        Source of randomness, on the same device.
    """

    def __init__(self, posterior: Posterior, generator: torch.Generator) -> None:
        self.mean, self.deviation = posterior.mean, torch.exp(0.5 * posterior.log_variance)
        self.generator = generator

    def __call__(self, batch: JointBatch) -> Tensor:
        """Return a sample for each image."""
        mean, deviation = self.mean[batch.rows], self.deviation[batch.rows]
        return mean + deviation * normal(tuple(mean.shape), self.generator, mean.device)


class PublishedObjective:
    """J^alpha of Kingma et al. 2014, eq. 9, for an image: its parts weighted by the numbers of images.

    Of the weights, which have a standard normal prior, the most probable are sought (section 4).

    Parameters
    ----------
    inputs : callable
        Makes the inputs of a batch.
    n_labelled, n_images : int
        Labelled images, and all training images.
    generator : torch.Generator
        Source of randomness.
    exact : int or None
        See `networks.m2_bounds.m2_bounds`.
    """

    def __init__(
        self,
        inputs: Callable[[JointBatch], Tensor],
        n_labelled: int,
        n_images: int,
        generator: torch.Generator,
        exact: int | None = EXACT,
    ) -> None:
        self.inputs, self.generator, self.exact = inputs, generator, exact
        self.labelled_share, self.n_images = n_labelled / n_images, n_images

    def __call__(
        self, network: M2, labelled: JointBatch, unlabelled: JointBatch, ramp: float | Tensor
    ) -> Tensor:
        """Return the loss of a step in nats; see `training.joint.JointObjective`."""
        assert labelled.classes is not None
        known, unknown = (
            Examples(network.trunk(pair.inputs), pair.targets)
            for pair in (self.pair(network, labelled), self.pair(network, unlabelled))
        )
        bounds = m2_bounds(network, known, labelled.classes, unknown, self.generator, self.exact)
        generative = self.labelled_share * bounds.labelled + (1 - self.labelled_share) * bounds.unlabelled
        weights = torch.cat([weight.flatten() for weight in network.parameters()])
        prior = 0.5 * weights.square().sum() / self.n_images
        return ramp**3 * generative + ALPHA * bounds.classification + prior

    def pair(self, network: M2, batch: JointBatch) -> Pair:
        """Return what M2 sees and draws of a batch: the same."""
        inputs = self.inputs(batch)
        return Pair(inputs, network.modelled(inputs))
