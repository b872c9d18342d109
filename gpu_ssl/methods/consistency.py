"""A network that must say the same of weak and strong views of an image; an SVM on its features decides.

The VAE's part is the teacher: labels spread over the graph of its latents. ``cnn`` is what the same network
makes of the labelled images alone.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.methods.evaluation import Answer, Cell
from gpu_ssl.methods.joint import cell_seed, make_plan, make_pseudo_labels
from gpu_ssl.methods.learned import Learned
from gpu_ssl.methods.svm import SVMSolver
from gpu_ssl.models.building import build
from gpu_ssl.models.classifier import Classifier, JointTrainer, Objective, class_features
from gpu_ssl.models.consistency import ConsistencyObjective, SupervisedObjective
from gpu_ssl.runtime.progress import Advance

METHOD: Final = "consistency"
BASELINE: Final = "cnn"

STEPS = {METHOD: 1500, BASELINE: 750}
"""With ten labels a class; see `methods.joint.make_plan`."""


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
        plan = make_plan(STEPS[self.name], len(images), len(labelled) / n_classes, learned.precision)
        trainer = JointTrainer(network, objective, images, labelled, classes, plan, seed)
        curve = trainer.fit(advance)
        rows = torch.from_numpy(labelled).to(device)
        points, test = (
            class_features(trainer.average, part, learned.mirror, learned.precision)
            for part in (images[rows], learned.test_images)
        )
        receive = self.solver.backend.receive
        predicted = self.solver.predict(self.name, cell, receive(points), classes, receive(test))
        return Answer(predicted, curve=curve)

    def _objective(
        self, labelled: NDArray[np.int64], classes: NDArray[np.int64], generator: torch.Generator
    ) -> Objective[Classifier]:
        if self.name == BASELINE:
            return SupervisedObjective(self.learned.mirror, generator)
        pseudo_labels = make_pseudo_labels(self.learned, labelled, classes)
        return ConsistencyObjective(pseudo_labels, self.learned.mirror, generator)
