"""Chooses between M1 and consistency by what cross-validation on the labelled images says of the teacher."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.splits import Fold, stratified_folds
from gpu_ssl.methods.consistency import METHOD as CONSISTENCY
from gpu_ssl.methods.consistency import TrainedClassifier
from gpu_ssl.methods.evaluation import Answer, Cell
from gpu_ssl.methods.graph import MANY
from gpu_ssl.methods.learned import Learned
from gpu_ssl.methods.svm import SVMOnFeatures, SVMSolver
from gpu_ssl.runtime.progress import Advance

METHOD: Final = "auto"

CLEARLY = 2.0
"""Standard errors by which M1 must be ahead of the graph."""


class Auto:
    """Trains a network where its teacher is sound, and else fits the SVM on the latents.

    The network is better than M1 wherever we measured (CHANGELOG.md), and too dear to cross-validate. What
    can mislead it is its teacher, the graph of the latents; and that costs little to check. So where labels
    are few and the teacher counts for much, the graph and M1 are cross-validated on the labelled images, and
    M1 is taken where the graph is clearly worse.

    Parameters
    ----------
    learned : Learned
        Images and latents of the run.
    solver : SVMSolver
        Fits the SVMs.
    seed : int
        Seed of the run.
    """

    name = METHOD

    def __init__(self, learned: Learned, solver: SVMSolver, seed: int) -> None:
        self.learned, self.solver, self.seed = learned, solver, seed
        self.m1 = SVMOnFeatures(learned.features, solver)
        self.network = TrainedClassifier(CONSISTENCY, learned, solver, seed)

    def predict(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> Answer:
        """Choose a method and let it predict; see `methods.evaluation.Method`."""
        chosen, reason = self.choose(labelled, classes)
        answer = chosen.predict(cell, labelled, classes, advance)
        return answer._replace(reason=f"{chosen.name}: {reason}")

    def choose(
        self, labelled: NDArray[np.int64], classes: NDArray[np.int64]
    ) -> tuple[SVMOnFeatures | TrainedClassifier, str]:
        """Return the method to use, and why."""
        per_class = len(classes) / (int(classes.max()) + 1)
        if per_class >= MANY:
            return self.network, f"{per_class:.0f} labels a class are enough for a network"
        folds = stratified_folds(classes, self.seed)
        if not folds:
            return self.network, "a class has a single label, too few to compare"
        m1, graph = self.check_m1(labelled, classes, folds), self.check_graph(labelled, classes, folds)
        # McNemar's: of the images on which the two differ, those that M1 alone gets right.
        m1_alone, graph_alone = int((m1 & ~graph).sum()), int((graph & ~m1).sum())
        error = np.sqrt(max(m1_alone + graph_alone, 1))
        figures = f"{len(classes)} labels, left out in turn: the graph finds {graph.sum()}, M1 {m1.sum()}"
        if m1_alone - graph_alone > CLEARLY * error:
            return self.m1, f"the teacher misleads ({figures})"
        return self.network, f"its teacher is sound ({figures})"

    def check_m1(
        self, labelled: NDArray[np.int64], classes: NDArray[np.int64], folds: list[Fold]
    ) -> NDArray[np.bool_]:
        """Return which labelled images an SVM on the latents of the others names right."""
        right = np.zeros(len(labelled), bool)
        for learn, check in folds:
            points, others = (self.learned.features.train(labelled[rows]) for rows in (learn, check))
            right[check] = self.solver.fit_predict(points, classes[learn], others) == classes[check]
        return right

    def check_graph(
        self, labelled: NDArray[np.int64], classes: NDArray[np.int64], folds: list[Fold]
    ) -> NDArray[np.bool_]:
        """Return which labelled images the graph names right from the labels of the others."""
        graph = self.learned.graph
        right = np.zeros(len(labelled), bool)
        for learn, check in folds:
            votes = graph.backend.to_host(graph.train_probabilities(labelled[learn], classes[learn]))
            right[check] = votes[labelled[check]].argmax(axis=1) == classes[check]
        return right
