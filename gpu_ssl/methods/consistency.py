"""A network that must say the same of weak and strong views of an image; an SVM on its features decides.

The VAE's part is the teacher: labels spread over the graph of its latents. ``cnn`` is what the same network
makes of the labelled images alone.
"""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.methods.evaluation import Cell
from gpu_ssl.methods.graph import LatentGraph
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
    images, test_images : Tensor of shape (n, channels, height, width), uint8
        Training and test images, on the device to train on.
    graph : LatentGraph
        The teacher of `METHOD`.
    solver : SVMSolver
        Fits the SVM on the features.
    mirror : bool
        Whether a mirror image is of the same class.
    precision : torch.dtype
        dtype of matrix products.
    seed : int
        Seed of the run.
    """

    def __init__(
        self,
        name: str,
        images: Tensor,
        test_images: Tensor,
        graph: LatentGraph,
        solver: SVMSolver,
        mirror: bool,
        precision: torch.dtype,
        seed: int,
    ) -> None:
        self.name, self.images, self.test_images = name, images, test_images
        self.graph, self.solver, self.mirror, self.seed = graph, solver, mirror, seed
        self.precision = precision

    def predict(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> NDArray[np.int64]:
        """Train a network, fit the SVM on its features, and predict; see `methods.evaluation.Method`."""
        device, n_classes = self.images.device, int(classes.max()) + 1
        seed = int(np.random.default_rng([self.seed, cell.split]).integers(2**31))
        channels, height, width = self.images.shape[1:]
        network = build(lambda: Classifier((channels, height, width), n_classes), device, seed)
        objective = self._objective(labelled, classes, torch.Generator(device).manual_seed(seed))
        plan = make_plan(self.name, len(self.images), len(labelled) / n_classes, self.precision)
        trainer = JointTrainer(network, objective, self.images, labelled, classes, plan, seed)
        trainer.fit(advance)
        rows = torch.from_numpy(labelled).to(device)
        points, test = (
            class_features(trainer.average, part, self.mirror, self.precision)
            for part in (self.images[rows], self.test_images)
        )
        receive = self.solver.backend.receive
        return self.solver.predict(self.name, cell, receive(points), classes, receive(test))

    def _objective(
        self, labelled: NDArray[np.int64], classes: NDArray[np.int64], generator: torch.Generator
    ) -> Objective:
        if self.name == BASELINE:
            return SupervisedObjective(self.mirror, generator)
        teacher = to_torch(self.graph.train_probabilities(labelled, classes), self.images.device)
        weight = teacher_weight(len(labelled) / teacher.shape[1])
        return ConsistencyObjective(teacher, weight, self.mirror, generator)


def teacher_weight(labels_per_class: float) -> float:
    """Return how much the teacher counts: the network outgrows it as labels become many."""
    return min(TEACHER_WEIGHT, TEACHER_FALL / math.sqrt(labels_per_class))


def make_plan(name: str, n_images: int, labels_per_class: float, precision: torch.dtype) -> JointPlan:
    """Choose the number of steps from the method, the training images and the labels."""
    unlabelled = min(UNLABELLED_BATCH, n_images)
    steps = round(STEPS[name] * (labels_per_class / 10) ** 0.25)
    return JointPlan(
        steps=max(FEWEST, min(steps, PASSES * n_images // unlabelled)),
        labelled_batch=LABELLED_BATCH,
        unlabelled_batch=unlabelled,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        precision=precision,
    )
