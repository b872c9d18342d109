"""A device that is not the CPU, without a GPU: array-api-strict's, whose arrays NumPy cannot take.

A Python number made of such an array goes unnoticed by array-api-strict; `numbers_refused` notices.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import array_api_strict as xp
import numpy as np
from numpy.typing import NDArray

from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm._sklearn import SklearnBackend, _solve_apart
from gpu_ssl.svm.pairs import BinarySVM, PairSolutions, Penalty, join_pairs

DEVICE = xp.Device("device1")
StrictArray = type(xp.asarray(0))


def to_device(array: NDArray[Any]) -> Array:
    return xp.asarray(array, device=DEVICE)


def to_host(array: Array) -> NDArray[Any]:
    return np.asarray(array.to_device(xp.Device("CPU_DEVICE")))


@contextmanager
def numbers_refused() -> Iterator[None]:
    """Make an array on the device raise if Python needs its value."""

    def refuse(array: Array) -> None:
        if array.device == DEVICE:
            raise RuntimeError("a value on the device was requested")
        raise NotImplementedError("the tests make no numbers of arrays on the CPU device")

    names = ("__float__", "__int__", "__bool__", "__complex__")
    with patch.multiple(StrictArray, **dict.fromkeys(names, refuse)):
        yield


class DeviceBackend(SklearnBackend):
    """Replaces cuML: takes points on the device, and returns solutions there."""

    def from_host(self, array: NDArray[Any]) -> Array:
        return to_device(array)

    def to_host(self, array: Array) -> NDArray[Any]:
        return to_host(array)

    def solve_pairs(
        self, grouped: Array, sizes: Sequence[int], penalty: Penalty, weights: NDArray[np.float64] | None
    ) -> PairSolutions:
        assert grouped.device == DEVICE
        solutions = _solve_apart(to_host(grouped), sizes, penalty, weights)
        on_device = [
            BinarySVM(*(to_device(part) for part in solution[:3]), solution.n_iter) for solution in solutions
        ]
        return join_pairs(on_device, sizes)
