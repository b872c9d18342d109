"""Label spreading on the graph of nearest neighbours of all images (Zhou et al. 2004).

Inductive: an image outside the graph gets the mean of its nearest images in it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.graph.backend import graph_backend
from gpu_ssl.graph.propagation import NeighbourGraph, class_probabilities, edge_weights
from gpu_ssl.graph.search import middle
from gpu_ssl.methods.method import Classifier, Labelled, Options, Saved
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.svm.backend import SVMBackend

FAR, NEAR = 0.97, 0.9
"""How far labels spread if they are few, and if they are many (alpha of Zhou et al.)."""

MANY = 60
"""Labels per class from which they are many. FAR, NEAR and MANY were chosen once, on images held out of the
training set of Fashion-MNIST (docs/experiments/)."""

MOST_IN_GRAPH = 200_000
"""Maximum number of images for a graph on a CPU that was not requested. The time grows with the square:
60,000 images with 128 features take 16 seconds on one core, so this many 180, and a million over an hour."""

FLOOR = 1e-6
"""Added to probabilities before their logarithm."""


def is_too_large(view: View) -> bool:
    """Return whether a graph of the images would take minutes or hours."""
    return view.device.type == "cpu" and len(view) > MOST_IN_GRAPH


def spread_labels(view: View, graph: NeighbourGraph, labelled: Labelled) -> Array:
    """Return class probabilities of all images of a view, (n, n_classes), as an array of its backend."""
    labels = np.zeros((len(view), labelled.n_classes), np.float32)
    labels[labelled.rows, labelled.classes] = 1
    alpha = FAR if labelled.per_class < MANY else NEAR
    return class_probabilities(graph.spread(view.backend.from_host(labels), alpha))


class GraphClassifier(Classifier):
    """A graph with the class probabilities of its points as a classifier.

    Parameters
    ----------
    method, encoder, curve
        See `Classifier`.
    graph : NeighbourGraph
        The graph of points, which are features of `encoder`.
    probabilities : array of shape (n, n_classes)
        Class probabilities of the points, an array of `backend`'s library.
    backend : SVMBackend
        For that library.
    """

    pairwise = False

    def __init__(
        self,
        method: str,
        encoder: Encoder,
        graph: NeighbourGraph,
        probabilities: Array,
        backend: SVMBackend,
        curve: tuple[float, ...] = (),
    ) -> None:
        super().__init__(method, encoder, probabilities.shape[1], curve)
        self.graph, self.probabilities, self.backend = graph, probabilities, backend

    def _votes(self, view: View) -> Array:
        with view.stopwatch.phase("score"):
            return view.neighbourhood(self.encoder, self.graph).average(self.probabilities)

    def decisions(self, view: View) -> NDArray[np.float32]:
        """See `Classifier.decisions`."""
        return self.backend.to_host(log_votes(self._votes(view)))

    def predict(self, view: View) -> NDArray[np.int64]:
        """See `Classifier.predict`."""
        return self.backend.to_host(self.winners(self._votes(view))).astype(np.int64)

    def tensors(self) -> dict[str, Tensor]:
        """See `Classifier.tensors`."""
        arrays = {"points": self.graph.points, "probabilities": self.probabilities}
        if self.graph.components is not None:
            arrays["components"] = self.graph.components
        return {
            name: torch.from_numpy(np.ascontiguousarray(self.backend.to_host(array)))
            for name, array in arrays.items()
        }

    def settings(self) -> dict[str, Any]:
        """See `Classifier.settings`."""
        return {"k": self.graph.k}

    def module(self) -> nn.Module:
        """See `Classifier.module`."""
        return _Votes(**self.tensors(), k=self.graph.k)


def log_votes(votes: Array) -> Array:
    """Return the logarithms of the probabilities that points get from their neighbours."""
    return array_namespace(votes).log(votes + FLOOR)


class _Votes(nn.Module):
    """The log-probabilities that points get from their neighbours."""

    def __init__(
        self,
        points: Tensor,
        probabilities: Tensor,
        k: int,
        components: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.centre = middle(points)
        self.points, self.probabilities, self.k = points - self.centre, probabilities, min(k, len(points))
        self.components = components

    def forward(self, features: Tensor) -> Tensor:
        if self.components is not None:
            features = features @ self.components
        features = features - self.centre
        squares = features.square().sum(1, keepdim=True) + self.points.square().sum(1)
        near = torch.topk(squares - 2 * features @ self.points.T, self.k, dim=1, largest=False).indices
        # Rounding of the differences of squares would change the weights of close points.
        apart = (self.points[near] - features[:, None, :]).square().sum(dim=2).sqrt()
        distances, order = apart.topk(self.k, dim=1, largest=False)
        indices = near.gather(1, order)
        weights = edge_weights(distances)
        weights = weights / weights.sum(dim=1, keepdim=True)
        votes = (weights[:, :, None] * self.probabilities[indices]).sum(dim=1)
        return torch.log(votes + FLOOR)


def fit(view: View, labelled: Labelled, options: Options) -> GraphClassifier:
    """Spread labels on the graph of the requested encoder; see `methods.method`."""
    return fit_on(view.encoder(options.encoder_name), view, labelled, options)


def fit_on(
    encoder: Encoder, view: View, labelled: Labelled, options: Options, curve: tuple[float, ...] = ()
) -> GraphClassifier:
    """Spread labels on the graph of an encoder's features."""
    with view.stopwatch.phase("fit"):
        graph = view.graph(encoder)
        probabilities = spread_labels(view, graph, labelled)
    return GraphClassifier(options.method, encoder, graph, probabilities, view.backend, curve)


def load(saved: Saved) -> GraphClassifier:
    """Rebuild the classifier; see `methods.method`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the parts do not fit together.
    """
    arrays = {name: saved.backend.from_host(tensor.numpy()) for name, tensor in saved.tensors.items()}
    points, probabilities, width = arrays["points"], arrays["probabilities"], saved.encoder.width
    components = arrays.get("components")
    if components is not None:
        if components.ndim != 2 or components.shape[0] != width:
            raise ValueError(f"components of shape {components.shape} for {width} features")
        width = components.shape[1]
    if points.ndim != 2 or points.shape[1] != width or len(probabilities) != len(points):
        raise ValueError(f"a graph of {points.shape} points with probabilities {probabilities.shape}")
    backend = graph_backend(saved.backend.name)
    graph = NeighbourGraph(points, backend, int(saved.settings["k"]), components)
    return GraphClassifier(saved.settings["method"], saved.encoder, graph, probabilities, saved.backend)
