"""Chooses the library that finds neighbours and multiplies sparse matrices."""

import importlib

from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph.neighbours import GraphBackend


def graph_backend(svm_backend: str) -> GraphBackend:
    """Return the backend that works on the arrays of the SVM backend ``sklearn`` or ``cuml``."""
    if svm_backend == "cuml":
        backend: GraphBackend = importlib.import_module("gpu_ssl.graph._cuml").CumlGraphBackend()
        return backend
    return SklearnGraphBackend()
