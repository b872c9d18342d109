"""Chooses the library that finds neighbours and multiplies sparse matrices."""

import importlib

from gpu_ssl.graph.neighbours import GraphBackend

BACKENDS = {
    "sklearn": "gpu_ssl.graph._sklearn",
    "cuml": "gpu_ssl.graph._cuml",
    "batched": "gpu_ssl.graph._torch",
}
"""Module of the backend that works on the arrays of each backend of the SVM; it defines ``make``."""


def graph_backend(svm_backend: str) -> GraphBackend:
    """Return the backend that works on the arrays of a backend of the SVM; see `svm.backend.BACKENDS`."""
    backend: GraphBackend = importlib.import_module(BACKENDS[svm_backend]).make()
    return backend
