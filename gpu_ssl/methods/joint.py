"""What methods share that train a network on labelled and unlabelled images together."""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.methods.evaluation import Cell
from gpu_ssl.methods.learned import Learned
from gpu_ssl.models.classifier import JointPlan
from gpu_ssl.models.consistency import PseudoLabels
from gpu_ssl.runtime.interop import to_torch

GROWTH: Final = 0.4
"""Steps grow with this power of the labels a class: more labels have more to teach.

On images kept from the training set, 5850 steps instead of 3510 were worth half a point at 300 a class.
"""

PASSES = 30
"""A small set of images is gone through so often at most, but for `FEWEST` steps."""

FEWEST = 400
LABELLED_BATCH, UNLABELLED_BATCH = 64, 256
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.02

TEACHER_WEIGHT, TEACHER_FALL = 0.7, 2.2
"""Of the teacher's logarithmic probabilities in a pseudo-label: at most, and for one label a class."""


def cell_seed(seed: int, cell: Cell) -> int:
    """Return the seed of the networks of a split, the same for every number of labels."""
    return int(np.random.default_rng([seed, cell.split]).integers(2**31))


def make_plan(
    steps: int,
    n_images: int,
    labels_per_class: float,
    precision: torch.dtype,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = WEIGHT_DECAY,
) -> JointPlan:
    """Fit a plan of so many `steps` for ten labels a class of a large set to the images and labels there are.

    Parameters
    ----------
    steps : int
        Optimizer steps with ten labels a class.
    n_images : int
        Training images.
    labels_per_class : float
        Labelled images of a class.
    precision, learning_rate, weight_decay
        See `JointPlan`.
    """
    batch = min(UNLABELLED_BATCH, n_images)
    wanted = round(steps * (labels_per_class / 10) ** GROWTH)
    return JointPlan(
        steps=max(FEWEST, min(wanted, PASSES * n_images // batch)),
        labelled_batch=LABELLED_BATCH,
        unlabelled_batch=batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        precision=precision,
    )


def make_pseudo_labels(
    learned: Learned, labelled: NDArray[np.int64], classes: NDArray[np.int64]
) -> PseudoLabels:
    """Make the graph of the VAE's latents the teacher of a network."""
    probabilities = learned.graph.train_probabilities(labelled, classes)
    teacher = to_torch(probabilities, learned.train_images.device)
    return PseudoLabels(teacher, teacher_weight(len(labelled) / teacher.shape[1]))


def teacher_weight(labels_per_class: float) -> float:
    """Return how much the teacher counts: the network outgrows it as labels become many."""
    return min(TEACHER_WEIGHT, TEACHER_FALL / math.sqrt(labels_per_class))
