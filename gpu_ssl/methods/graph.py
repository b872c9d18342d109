"""Labels spread over the graph of nearest latents of all training images (Zhou et al. 2004).

Inductive: test images are not in the graph; each asks its nearest training images.
"""

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.graph.backend import graph_backend
from gpu_ssl.graph.propagation import NeighbourGraph, Neighbourhood, class_probabilities
from gpu_ssl.methods.evaluation import Answer, Cell
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.kernels import Array

METHOD: Final = "graph"

FAR, NEAR = 0.97, 0.9
"""How far labels spread where they are few, and where they are many."""

MANY = 60
"""Labels a class from which they are many. FAR, NEAR and MANY were chosen once, on images held out of the
training set of Fashion-MNIST (CHANGELOG.md)."""


class LatentGraph:
    """The graph of a run's latents, made when it is first asked for, and the method that uses it.

    Parameters
    ----------
    train, test : array of shape (n, d)
        Latents of training and test images, arrays of the backend's library.
    backend : SVMBackend
        For that library.
    svm_backend : str
        Its name, ``sklearn`` or ``cuml``.
    """

    name = METHOD

    def __init__(self, train: Array, test: Array, backend: SVMBackend, svm_backend: str) -> None:
        self.graph = NeighbourGraph(train, graph_backend(svm_backend))
        self.test, self.backend = test, backend

    @cached_property
    def _test_neighbourhood(self) -> Neighbourhood:
        return self.graph.neighbourhood(self.test)

    def train_probabilities(self, labelled: NDArray[np.int64], classes: NDArray[np.int64]) -> Array:
        """Return class probabilities of all training images, shape (n, n_classes), from those labelled."""
        n, n_classes = self.graph.points.shape[0], int(classes.max()) + 1
        labels = np.zeros((n, n_classes), np.float32)
        labels[labelled, classes] = 1
        alpha = FAR if len(labelled) < MANY * n_classes else NEAR
        return class_probabilities(self.graph.spread(self.backend.from_host(labels), alpha))

    def predict(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> Answer:
        """Predict the test images; see `methods.evaluation.Method`."""
        votes = self._test_neighbourhood.average(self.train_probabilities(labelled, classes))
        predicted: NDArray[np.int64] = self.backend.to_host(votes).argmax(axis=1).astype(np.int64)
        return Answer(predicted)
