"""Common parts of methods that train a network on labelled and unlabelled images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import torch

from gpu_ssl.encoders.averaged import averaged
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.network import NetworkFeatures
from gpu_ssl.encoders.sums import fit_sum
from gpu_ssl.methods.graph import spread_labels
from gpu_ssl.methods.method import Classifier, Labelled, Options
from gpu_ssl.methods.view import View
from gpu_ssl.networks.classifier import ClassifierNetwork
from gpu_ssl.runtime.interop import to_torch
from gpu_ssl.training.consistency import PseudoLabels
from gpu_ssl.training.joint import JointObjective, JointPlan, JointTrainer
from gpu_ssl.training.optimizers import build
from gpu_ssl.training.side_by_side import train_side_by_side

GROWTH: Final = 0.4
"""The number of steps grows with this power of the labels per class, unless a method asks for another.

With 300 per class, 5850 steps of AdamW instead of 3510 gained half a percentage point on held-out images, and
twice the steps of Muon a third (docs/experiments/accuracy.md).
"""

PASSES = 30
"""Maximum number of epochs, unless these are fewer than `FEWEST` steps."""

FEWEST = 400
LABELLED_BATCH, UNLABELLED_BATCH = 64, 256
MANY_LABELS = 1000
"""Labels per class from which a batch has twice as many labelled images, as each of them is seen seldom, and
`methods.cnn` augments them less (docs/experiments/accuracy.md; between 100 and 5,000 nothing was tried)."""

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 0.02
"""For Muon, half as many of whose steps do more than AdamW's (docs/experiments/accuracy.md)."""

TEACHER_WEIGHT, TEACHER_FALL = 0.7, 2.2
"""Weight of the teacher's log-probabilities in a pseudo-label: its maximum, and what the root of the labels
per class divides."""


def plan_joint(
    steps: int,
    n_images: int,
    labels_per_class: float,
    precision: torch.dtype,
    learning_rate: float,
    weight_decay: float,
    muon: bool = False,
    growth: float = GROWTH,
) -> JointPlan:
    """Adapt a plan of `steps` for a large data set with ten labels per class to the images and labels.

    Parameters
    ----------
    steps : int
        Optimizer steps with ten labels per class.
    n_images : int
        Number of training images.
    labels_per_class : float
        Labelled images per class, which decide the steps and the size of a labelled batch.
    precision, learning_rate, weight_decay, muon
        See `JointPlan`.
    growth : float
        The number of steps grows with this power of the labels per class.
    """
    batch = min(UNLABELLED_BATCH, n_images)
    wanted = round(steps * (labels_per_class / 10) ** growth)
    return JointPlan(
        steps=max(FEWEST, min(wanted, PASSES * n_images // batch)),
        labelled_batch=LABELLED_BATCH if labels_per_class < MANY_LABELS else 2 * LABELLED_BATCH,
        unlabelled_batch=batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        precision=precision,
        muon=muon,
    )


def as_asked(plan: JointPlan, options: Options) -> JointPlan:
    """Return the plan with the requested number of steps, if any."""
    return plan if options.steps is None else replace(plan, steps=options.steps)


def teacher_of(view: View, encoder: Encoder, labelled: Labelled) -> PseudoLabels:
    """Return the graph of an encoder's features as the teacher of a network."""
    with view.stopwatch.phase("fit"):
        probabilities = spread_labels(view, view.graph(encoder), labelled)
    teacher = to_torch(probabilities, view.device)
    return PseudoLabels(teacher, teacher_weight(labelled.per_class))


def teacher_weight(labels_per_class: float) -> float:
    """Return the weight of the teacher, which falls with the number of labels."""
    return min(TEACHER_WEIGHT, TEACHER_FALL / math.sqrt(labels_per_class))


MakeObjective = Callable[[torch.Generator], JointObjective[ClassifierNetwork]]
"""Creates the objective of a training from a generator."""


Finish = Callable[[Encoder, View, Labelled, Options, tuple[float, ...]], Classifier]
"""Fits a classifier to features: of an encoder, for a view, labelled images, options and a learning curve."""


class NetworkJob(NamedTuple):
    """Labelled images to train networks for.

    `labelled` and `options` are those of `methods.method`; `make_objective` creates the objective of each
    network.
    """

    labelled: Labelled
    options: Options
    make_objective: MakeObjective


def fit_networks(
    view: View,
    jobs: Sequence[NetworkJob],
    steps: int,
    finish: Finish,
    n_networks: int = 1,
    growth: float = GROWTH,
) -> list[Classifier]:
    """Train networks, and fit a classifier to the features of those of each job and, for images, HOG.

    `Options.side_by_side` networks are trained at a time; the results are the same.

    Parameters
    ----------
    view : View
        The images.
    jobs : sequence of NetworkJob
        The choices of labelled images.
    steps, growth
        See `plan_joint`.
    finish : callable
        Fits the classifier.
    n_networks : int
        Number of networks per job, which differ by their seeds.
    """
    whole = [(job, number) for job in jobs for number in range(n_networks)]
    at_a_time = jobs[0].options.side_by_side
    trained: list[tuple[ClassifierNetwork, tuple[float, ...]]] = []
    for start in range(0, len(whole), at_a_time):
        trainers, trainings = [], []
        for job, number in whole[start : start + at_a_time]:
            own = job._replace(options=_part(job.options, number, n_networks))
            trainers.append(_trainer(view, own, steps, growth))
            trainings.append(trainers[-1].training(own.options.advance))
        with view.stopwatch.phase("fit"):
            curves = train_side_by_side(trainings, view.device)
        trained += [(trainer.average, curve) for trainer, curve in zip(trainers, curves, strict=True)]
    classifiers = []
    for number, job in enumerate(jobs):
        mine = trained[n_networks * number : n_networks * (number + 1)]
        encoder = _features_of([network for network, _ in mine], view, job.labelled)
        curve = tuple(float(mean) for mean in np.mean([curve for _, curve in mine], axis=0))
        classifiers.append(finish(encoder, view, job.labelled, job.options, curve))
    return classifiers


def _features_of(networks: Sequence[ClassifierNetwork], view: View, labelled: Labelled) -> Encoder:
    """Return the encoder of the features of trained networks and, for images, HOG.

    HOG weighs as much as all networks together: with three and few labels that is better than equal weights
    (docs/experiments/accuracy.md).
    """
    own: list[Encoder] = [NetworkFeatures(network, view.mirror) for network in networks]
    if view.holds_images:
        known = [part for encoder in view.encoders.values() for part in encoder.parts if part.name == "hog"]
        own.append(known[0] if known else averaged(HOG(view.image_shape)).to(view.device))
    if len(own) == 1:
        return own[0]
    weights = [1.0 if isinstance(part, NetworkFeatures) else math.sqrt(len(networks)) for part in own]
    return fit_sum(own, [view.rows(part, labelled.rows) for part in own], weights)


def _part(options: Options, number: int, of: int) -> Options:
    """Return the options of one of several networks, with its seed and its share of the progress."""
    if of == 1:
        return options

    def advance(note: str, steps: float = 1) -> None:
        options.advance(f"network {number + 1} of {of}, {note}", steps / of)

    return replace(options, seed=(options.seed + number) % 2**32, advance=advance)


def _trainer(view: View, job: NetworkJob, steps: int, growth: float) -> JointTrainer[ClassifierNetwork]:
    """Return the trainer of one network."""
    labelled, options = job.labelled, job.options
    network = build(
        lambda: ClassifierNetwork(view.image_shape, labelled.n_classes), view.device, options.seed
    )
    objective = job.make_objective(torch.Generator(view.device).manual_seed(options.seed))
    plan = plan_joint(
        *(steps, len(view), labelled.per_class, view.precision, LEARNING_RATE, WEIGHT_DECAY),
        muon=True,
        growth=growth,
    )
    return JointTrainer(
        *(network, objective, view.images, labelled.rows, labelled.classes),
        *(as_asked(plan, options), options.seed),
    )
