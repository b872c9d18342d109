"""Stands for cuML's neighbours and CuPy's sparse matrices, on the device of `tests.svm.on_device`."""

from collections.abc import Callable
from typing import Any

from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph.neighbours import Neighbours
from gpu_ssl.runtime.arrays import Array
from tests.svm.on_device import DEVICE, to_device, to_host


class DenseOnDevice:
    """A matrix with what the graph asks of a sparse one, on the device."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __matmul__(self, columns: Array) -> Array:
        return self.array @ columns

    def __add__(self, other: "DenseOnDevice") -> "DenseOnDevice":
        return DenseOnDevice(self.array + other.array)

    @property
    def T(self) -> "DenseOnDevice":  # noqa: N802
        return DenseOnDevice(self.array.T)

    def tocsr(self) -> "DenseOnDevice":
        return self


class DeviceGraphBackend:
    """Takes and returns only arrays of the device."""

    def index(self, points: Array) -> Callable[[Array, int], Neighbours]:
        search = SklearnGraphBackend().index(to_host(points))

        def nearest(queries: Array, k: int) -> Neighbours:
            return Neighbours(*(to_device(part) for part in search(to_host(queries), k)))

        return nearest

    def sparse(self, values: Array, rows: Array, columns: Array, n: int) -> Any:
        assert {values.device, rows.device, columns.device} == {DEVICE}
        matrix = SklearnGraphBackend().sparse(*(to_host(part) for part in (values, rows, columns)), n)
        return DenseOnDevice(to_device(matrix.toarray()))
