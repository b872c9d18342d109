"""Choosing the library for neighbour search and sparse matrices."""

import importlib

from gpu_ssl.graph.neighbours import GraphBackend

BACKENDS = {
    "sklearn": "gpu_ssl.graph._sklearn",
    "cuml": "gpu_ssl.graph._cuml",
    "batched": "gpu_ssl.graph._torch",
}
"""Module of the graph backend for the arrays of each SVM library; it defines ``make``."""


def graph_backend(svm_backend: str) -> GraphBackend:
    """Return the graph backend for the arrays of an SVM library; see `svm.backend.BACKENDS`."""
    backend: GraphBackend = importlib.import_module(BACKENDS[svm_backend]).make()
    return backend
