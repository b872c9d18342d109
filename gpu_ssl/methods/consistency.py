"""A network that must say the same of weak and strong views of an image; an SVM on its features decides.

The VAE's part is the teacher: labels spread over the graph of its latents. ``cnn`` is what the same network
makes of the labelled images alone.
"""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.methods.evaluation import Answer, Cell
from gpu_ssl.methods.learned import Learned
from gpu_ssl.methods.svm import SVMSolver
from gpu_ssl.models.building import build
from gpu_ssl.models.classifier import Classifier, JointPlan, JointTrainer, Objective, class_features
from gpu_ssl.models.consistency import ConsistencyObjective, SupervisedObjective
from gpu_ssl.runtime.interop import to_torch
from gpu_ssl.runtime.progress import Advance

METHOD: Final = "consistency"
BASELINE: Final = "cnn"

STEPS = {METHOD: 1500, BASELINE: 750}
"""With ten labels a class. They grow with the fourth root of that number: more labels have more to teach."""

PASSES = 30
"""A small set of images is gone through so often at most, but for `FEWEST` steps."""

FEWEST = 400
TEACHER_WEIGHT, TEACHER_FALL = 0.7, 2.2
"""Of the teacher's logarithmic probabilities in a pseudo-label: at most, and for one label a class."""

LABELLED_BATCH, UNLABELLED_BATCH = 64, 256
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.02


class TrainedClassifier:
    """The method that trains a network for every cell.

    Parameters
    ----------
    name : str
        `METHOD` or `BASELINE`.
    learned : Learned
        Images and latents of the run.
    solver : SVMSolver
        Fits the SVM on the features.
    seed : int
        Seed of the run.
    """

    def __init__(self, name: str, learned: Learned, solver: SVMSolver, seed: int) -> None:
        self.name, self.learned, self.solver, self.seed = name, learned, solver, seed

    def predict(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> Answer:
        """Train a network, fit the SVM on its features, and predict; see `methods.evaluation.Method`."""
        images, learned = self.learned.train_images, self.learned
        device, n_classes = images.device, int(classes.max()) + 1
        seed = cell_seed(self.seed, cell)
        channels, height, width = images.shape[1:]
        network = build(lambda: Classifier((channels, height, width), n_classes), device, seed)
        objective = self._objective(labelled, classes, torch.Generator(device).manual_seed(seed))
        plan = make_plan(self.name, len(images), len(labelled) / n_classes, learned.precision)
        trainer = JointTrainer(network, objective, images, labelled, classes, plan, seed)
        trainer.fit(advance)
        rows = torch.from_numpy(labelled).to(device)
        points, test = (
            class_features(trainer.average, part, learned.mirror, learned.precision)
            for part in (images[rows], learned.test_images)
        )
        receive = self.solver.backend.receive
        return Answer(self.solver.predict(self.name, cell, receive(points), classes, receive(test)))

    def _objective(
        self, labelled: NDArray[np.int64], classes: NDArray[np.int64], generator: torch.Generator
    ) -> Objective[Classifier]:
        if self.name == BASELINE:
            return SupervisedObjective(self.learned.mirror, generator)
        probabilities = self.learned.graph.train_probabilities(labelled, classes)
        teacher = to_torch(probabilities, self.learned.train_images.device)
        weight = teacher_weight(len(labelled) / teacher.shape[1])
        return ConsistencyObjective(teacher, weight, self.learned.mirror, generator)


def teacher_weight(labels_per_class: float) -> float:
    """Return how much the teacher counts: the network outgrows it as labels become many."""
    return min(TEACHER_WEIGHT, TEACHER_FALL / math.sqrt(labels_per_class))


def cell_seed(seed: int, cell: Cell) -> int:
    """Return the seed of the networks of a split, the same for every number of labels."""
    return int(np.random.default_rng([seed, cell.split]).integers(2**31))


def steps_of(base: int, n_images: int, batch: int, labels_per_class: float) -> int:
    """Return the number of steps where `base` steps do for ten labels a class of a large set."""
    wanted = round(base * math.sqrt(math.sqrt(labels_per_class / 10)))
    return max(FEWEST, min(wanted, PASSES * n_images // batch))


def make_plan(name: str, n_images: int, labels_per_class: float, precision: torch.dtype) -> JointPlan:
    """Choose the number of steps from the method, the training images and the labels."""
    unlabelled = min(UNLABELLED_BATCH, n_images)
    return JointPlan(
        steps=steps_of(STEPS[name], n_images, unlabelled, labels_per_class),
        labelled_batch=LABELLED_BATCH,
        unlabelled_batch=unlabelled,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        precision=precision,
    )
