"""M2 as published by Kingma et al. 2014: its objective, and a training recipe.

Model and objective are the paper's; the optimization is ours, with a schedule and fewer steps than the
authors' 300,000 at a constant rate (docs/experiments/paper.md). As many can be requested.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.networks.m2 import M2
from gpu_ssl.networks.m2_bounds import Estimate, Examples, m2_bounds
from gpu_ssl.networks.vae import Posterior
from gpu_ssl.runtime.randomness import normal
from gpu_ssl.training.augmentation import binarized
from gpu_ssl.training.joint import JointBatch, JointPlan
from gpu_ssl.training.m2_objectives import Pair

ALPHA = 0.1
"""Weight of the classification term relative to the bound of an image (Kingma et al. 2014, section 3.1.2)."""

LABELLED_BATCH, UNLABELLED_BATCH = 32, 100

MANY_STEPS = 20_000
"""Number of steps from which on few sampled pairs suffice; see `Recipe.estimate`."""

PASSES, FEWEST = 400, 3000
"""Maximum number of epochs, and a number of steps that is allowed even if these are more epochs."""


@dataclass(frozen=True)
class Recipe:
    """Settings of the published training of an M2.

    Parameters
    ----------
    steps : int
        Steps for a large set of images with ten labels per class.
    growth : float
        The number of steps grows with this power of the labels per class. With many labels, only better
        densities reduce the error further (docs/experiments/paper.md).
    learning_rate : float
        Peak of the learning rate.
    warm_up : float
        Fraction of the steps in which the learning rate rises.
    ramp : float
        Fraction of the steps over which the weight of the bounds rises, with the third power. Before it
        reaches the paper's value, the cross-entropy ties q(y|x) to the labels, and the decoder learns to use
        the class. Otherwise z also encodes the class; the bound then gains nothing from y, and q(y|x) becomes
        uniform: the entropy of ten classes is worth 2.3 nats (docs/experiments/paper.md). With a start (see
        `PublishedObjective`) only their weight for q(y|x) rises, which follows the start until then.
    exact : int
        Number of most probable classes whose bounds are always computed.
    sampled : float
        Number of sampled pairs of an image and another class, per image; see `estimate`.
    """

    steps: int
    growth: float
    learning_rate: float
    warm_up: float
    ramp: float
    exact: int
    sampled: float

    def plan(self, n_images: int, labels_per_class: float, precision: torch.dtype) -> JointPlan:
        """Return the plan for numbers of training images and labels; `precision` is that of products."""
        batch = min(UNLABELLED_BATCH, n_images)
        wanted = round(self.steps * (labels_per_class / 10) ** self.growth)
        return JointPlan(
            steps=min(wanted, max(FEWEST, PASSES * n_images // batch)),
            labelled_batch=LABELLED_BATCH,
            unlabelled_batch=batch,
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            precision=precision,
            beta2=0.99,
            warm_up=self.warm_up,
            ramp=self.ramp,
        )

    def estimate(self, steps: int) -> Estimate:
        """Return how the sum over the classes is estimated in a training of so many steps.

        Fewer sampled pairs make a step cheaper. They lower the accuracy of short trainings, but that of long
        ones by no more than runs differ from each other (docs/experiments/paper.md).
        """
        return Estimate(self.exact, self.sampled if steps >= MANY_STEPS else 1.0)


OF_LATENTS = Recipe(
    steps=80_000,
    growth=0.3,
    learning_rate=2e-3,
    warm_up=0.1,
    ramp=0.1,
    exact=1,
    sampled=0.25,
)
OF_IMAGES = Recipe(
    steps=40_000,
    growth=0.0,
    learning_rate=3e-3,
    warm_up=0.3,
    ramp=0.6,
    exact=2,
    sampled=1.0,
)


class BinarizedImages:
    """Images whose pixels are sampled anew in every step; see `training.augmentation.binarized`.

    Parameters
    ----------
    generator : torch.Generator
        Source of randomness, on the device of the images.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def __call__(self, batch: JointBatch) -> Tensor:
        """Return the binarized images of a batch."""
        return binarized(batch.images, self.generator)


class PosteriorSamples:
    """Posterior samples of a trained M1, new in every step (Kingma et al. 2014, section 2).

    Parameters
    ----------
    posterior : Posterior
        Posterior of all training images.
    generator : torch.Generator
        Source of randomness, on the same device.
    """

    def __init__(self, posterior: Posterior, generator: torch.Generator) -> None:
        self.mean, self.deviation = posterior.mean, torch.exp(0.5 * posterior.log_variance)
        self.generator = generator

    def __call__(self, batch: JointBatch) -> Tensor:
        """Return a sample for each image."""
        mean, deviation = (part.index_select(0, batch.rows) for part in (self.mean, self.deviation))
        return mean + deviation * normal(tuple(mean.shape), self.generator, mean.device)


class _HalfSquares(torch.autograd.Function):
    """Half of the sum of the squares of some tensors.

    Composed of torch's differentiable operations it takes twice as long; the difference is 5 % of a step of
    M1+M2.
    """

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return 0.5 * torch.stack(torch._foreach_norm(tensors)).square().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch._foreach_mul(ctx.saved_tensors, gradients[0]))


class PublishedObjective:
    """J^alpha of Kingma et al. 2014, eq. 9, per image: its terms weighted by the numbers of images.

    It is the MAP objective of the weights, which have a standard normal prior (section 4).

    Parameters
    ----------
    inputs : callable
        Generates the inputs of a batch.
    n_labelled, n_images : int
        Number of labelled images, and of all training images.
    generator : torch.Generator
        Source of randomness.
    estimate : Estimate, optional
        See `networks.m2_bounds.m2_bounds`.
    start : Tensor of shape (n_images, n_classes), optional
        Class probabilities of all training images that q(y|x) follows at first, instead of the bounds. The
        other networks learn from the bounds at once.
    """

    def __init__(
        self,
        inputs: Callable[[JointBatch], Tensor],
        n_labelled: int,
        n_images: int,
        generator: torch.Generator,
        estimate: Estimate | None = None,
        start: Tensor | None = None,
    ) -> None:
        self.inputs, self.generator, self.estimate, self.start = inputs, generator, estimate, start
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
        weight = ramp**3
        trust = None if self.start is None else weight
        bounds = m2_bounds(network, known, labelled.classes, unknown, self.generator, self.estimate, trust)
        generative = self.labelled_share * bounds.labelled + (1 - self.labelled_share) * bounds.unlabelled
        prior: Tensor = _HalfSquares.apply(*network.parameters())
        loss = ALPHA * bounds.classification + prior / self.n_images
        if self.start is None:
            return loss + weight * generative
        unlike_start = (
            -(self.start.index_select(0, unlabelled.rows) * bounds.log_probabilities).sum(dim=1).mean()
        )
        return loss + generative + (1 - weight) * unlike_start

    def pair(self, network: M2, batch: JointBatch) -> Pair:
        """Return inputs and targets of a batch, which are the same."""
        inputs = self.inputs(batch)
        return Pair(inputs, network.modelled(inputs))
