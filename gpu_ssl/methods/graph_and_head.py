"""Label spreading on the graph of networks' features, and the networks' own linear heads, together.

Their errors differ: with many labels a mean of their log-probabilities is right more often than either
(docs/experiments/accuracy.md).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.network import NetworkFeatures
from gpu_ssl.encoders.sums import Sum
from gpu_ssl.methods import graph
from gpu_ssl.methods.graph import GraphClassifier, log_votes
from gpu_ssl.methods.method import Classifier, Labelled, Options, Saved
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.arrays import Array, array_namespace

GRAPH = 0.7
"""Weight of the graph in the mean; the head has the rest."""


class Head(NamedTuple):
    """A linear head: `weight` (n_classes, width) and `bias` (n_classes,)."""

    weight: Array
    bias: Array


def head_of(encoder: Encoder) -> Head:
    """Return the head on an encoder's features whose logits are the mean of those of its networks' heads."""
    networks = [part.network for part in encoder.parts if isinstance(part, NetworkFeatures)]
    scales = encoder.scales if isinstance(encoder, Sum) else torch.ones(1)
    weights = [
        part.network.head.weight.detach() * scale / len(networks)
        if isinstance(part, NetworkFeatures)
        else networks[0].head.weight.new_zeros(networks[0].n_classes, part.width)
        for part, scale in zip(encoder.parts, scales, strict=True)
    ]
    biases = torch.stack([network.head.bias.detach() for network in networks])
    return Head(torch.cat(weights, dim=1), biases.mean(dim=0))


class GraphAndHead(Classifier):
    """A `GraphClassifier` on features of networks, and their head.

    Parameters
    ----------
    spread : GraphClassifier
        The graph with the class probabilities of its points.
    head : Head
        On the features of its encoder, arrays of the library of its backend.
    """

    pairwise = False

    def __init__(self, spread: GraphClassifier, head: Head) -> None:
        super().__init__(spread.method, spread.encoder, spread.n_classes, spread.curve)
        self.spread, self.head = spread, head

    def _log_probabilities(self, view: View) -> Array:
        points = view.points(self.encoder)
        with view.stopwatch.phase("score"):
            votes = self.spread.graph.neighbourhood(points).average(self.spread.probabilities)
            logits = points @ self.head.weight.T + self.head.bias
            return log_softmax(GRAPH * log_votes(votes) + (1 - GRAPH) * log_softmax(logits))

    def decisions(self, view: View) -> NDArray[np.float32]:
        """See `Classifier.decisions`."""
        return self.spread.backend.to_host(self._log_probabilities(view))

    def predict(self, view: View) -> NDArray[np.int64]:
        """See `Classifier.predict`."""
        classes = self.winners(self._log_probabilities(view))
        return self.spread.backend.to_host(classes).astype(np.int64)

    def tensors(self) -> dict[str, Tensor]:
        """See `Classifier.tensors`."""
        weight, bias = (
            torch.from_numpy(np.ascontiguousarray(self.spread.backend.to_host(part))) for part in self.head
        )
        return {**self.spread.tensors(), "head_weight": weight, "head_bias": bias}

    def settings(self) -> dict[str, Any]:
        """See `Classifier.settings`."""
        return self.spread.settings()

    def module(self) -> nn.Module:
        """See `Classifier.module`."""
        tensors = self.tensors()
        return _Both(self.spread.module(), tensors["head_weight"], tensors["head_bias"])


class _Both(nn.Module):
    """The weighted mean of the log-probabilities of a graph and a head."""

    def __init__(self, votes: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.votes, self.weight, self.bias = votes, weight, bias

    def forward(self, features: Tensor) -> Tensor:
        head = (features @ self.weight.T + self.bias).log_softmax(dim=1)
        both: Tensor = GRAPH * self.votes(features) + (1 - GRAPH) * head
        return both.log_softmax(dim=1)


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of probabilities (n, n_classes) with these logits, of any array library."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))


def fit_on(
    encoder: Encoder, view: View, labelled: Labelled, options: Options, curve: tuple[float, ...] = ()
) -> GraphAndHead:
    """Spread labels on the graph of an encoder of trained networks, whose heads join in."""
    head = Head(*(view.backend.from_host(part.cpu().numpy()) for part in head_of(encoder)))
    return GraphAndHead(graph.fit_on(encoder, view, labelled, options, curve), head)


def load(saved: Saved) -> GraphAndHead:
    """Rebuild the classifier; see `methods.method`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the parts do not fit together.
    """
    weight, bias = (saved.backend.from_host(saved.tensors[f"head_{part}"].numpy()) for part in Head._fields)
    spread = graph.load(saved)
    if weight.shape != (spread.n_classes, saved.encoder.width) or bias.shape != (spread.n_classes,):
        raise ValueError(f"a head of shape {weight.shape} for {saved.encoder.width} features")
    return GraphAndHead(spread, Head(weight, bias))
