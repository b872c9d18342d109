"""What the graph relies on in cuML's neighbours and CuPy's sparse matrices."""

import importlib.resources
import inspect

import cuml.neighbors
import cupy
import cupyx.scipy.sparse
import numpy as np
import pytest
from cuml.neighbors import NearestNeighbors

from gpu_ssl.graph import _cuml
from gpu_ssl.graph.backend import graph_backend

PYX = (importlib.resources.files("cuml.neighbors") / "nearest_neighbors.pyx").read_text(encoding="utf-8")


def test_the_search_is_made_and_asked_as_cuml_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fit(self: NearestNeighbors, X: object, y: object = None) -> NearestNeighbors:
        expected = {"algorithm": "brute", "metric": "euclidean", "output_type": "cupy"}
        assert {name: self.get_params()[name] for name in expected} == expected
        return self

    def kneighbors(self: NearestNeighbors, *args: object, **kwargs: object) -> object:
        bound = signature.bind(self, *args, **kwargs)
        calls.append(bound.arguments["n_neighbors"])
        assert bound.arguments.get("return_distance", True)
        return np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int64)

    signature = inspect.signature(NearestNeighbors.kneighbors)
    assert set(inspect.signature(fit).parameters) == set(inspect.signature(NearestNeighbors.fit).parameters)
    monkeypatch.setattr(NearestNeighbors, "fit", fit)
    monkeypatch.setattr(NearestNeighbors, "kneighbors", kneighbors)
    backend = graph_backend("cuml")
    assert isinstance(backend, _cuml.CumlGraphBackend)
    points = np.zeros((2, 4), np.float32)
    distances, indices = backend.index(points)(points, 3)
    assert calls == [3]
    assert (distances.dtype, indices.dtype) == (np.float32, np.int64)


def test_exhaustive_search_knows_the_metric_and_gives_distances_before_indices() -> None:
    assert "euclidean" in cuml.neighbors.VALID_METRICS["brute"]
    dense = PYX[PYX.index("def _kneighbors_dense(") : PYX.index("def _maybe_apply_two_pass_precision(")]
    assert dense.rstrip().endswith("return distances, indices")
    assert "dtype=cp.int64" in dense


def test_sparse_matrices_sum_transpose_add_and_multiply() -> None:
    matrix = cupyx.scipy.sparse.csr_matrix
    assert "other = other.tocsr()" in inspect.getsource(matrix._add_sparse)  # the transpose is CSC
    for name in ("__add__", "__matmul__", "T", "tocsr"):
        assert hasattr(matrix, name), name
    assert "sum_duplicates" in inspect.getsource(cupyx.scipy.sparse.coo_matrix.tocsr)


def test_cupy_knows_the_smallest_number() -> None:
    assert cupy.finfo(cupy.float32).smallest_normal > 0
