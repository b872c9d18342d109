"""Kernel functions over the Array API, as LIBSVM and cuML define them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from gpu_ssl.runtime.arrays import Array, array_namespace

KernelName = Literal["rbf", "linear", "poly", "sigmoid"]
KERNEL_NAMES: tuple[KernelName, ...] = get_args(KernelName)

DOUBLE_FROM = 1e4
"""Exponents of the RBF kernel from which float32 is off by a thousandth of a kernel value, as with features
that were not scaled: a CPU then computes in float64."""


@dataclass(frozen=True)
class Kernel:
    """A kernel with its parameters, as LIBSVM defines them (Chang and Lin 2011).

    ``rbf``: exp(-gamma |x - s|^2); ``linear``: x.s; ``poly``: (gamma x.s + coef0)^degree; ``sigmoid``:
    tanh(gamma x.s + coef0).

    Parameters
    ----------
    name : str
        One of `KERNEL_NAMES`.
    gamma : float
        Scale; a number, never "scale", so that every pair of classes and both backends use the same.
    degree : int
        Degree of ``poly``.
    coef0 : float
        Constant of ``poly`` and ``sigmoid``.
    """

    name: KernelName = "rbf"
    gamma: float = 1.0
    degree: int = 3
    coef0: float = 0.0

    def against(self, vectors: Array) -> Callable[[Array], Array]:
        """Return the function from points (n, d) to their kernel matrix (n, m) with `vectors` (m, d).

        All three may have leading batch axes, for many problems with their own points.
        """
        if self.name == "rbf":
            return _rbf(vectors, self.gamma)
        xp = array_namespace(vectors)
        transposed = xp.matrix_transpose(vectors)
        if self.name == "linear":
            return lambda points: points @ transposed
        if self.name == "poly":
            return lambda points: (self.gamma * (points @ transposed) + self.coef0) ** self.degree
        return lambda points: xp.tanh(self.gamma * (points @ transposed) + self.coef0)


def _rbf(vectors: Array, gamma: float) -> Callable[[Array], Array]:
    """Return the RBF kernel as one matrix product and an exponential.

    With points multiplied by the root of gamma, -gamma |x - s|^2 = 2 x.s - |x|^2 - |s|^2 is the product of
    (x, |x|^2, 1) and (2 s, -1, -|s|^2), which saves three passes over the kernel matrix; squares of tiny
    features would vanish. The sum is a small difference of large numbers if the data are far from the origin,
    so all points are taken relative to the centre of the vectors.
    """
    xp = array_namespace(vectors)
    root = math.sqrt(gamma)
    centre = xp.mean(vectors, axis=-2, keepdims=True)
    centred = (vectors - centre) * root
    squares = xp.sum(centred * centred, axis=-1, keepdims=True)
    # Not asked of a GPU, whose answer the host would have to wait for.
    if vectors.dtype == xp.float32 and _on_host(vectors) and _largest(squares) > DOUBLE_FROM:
        precise = _rbf(xp.astype(vectors, xp.float64), gamma)
        return lambda points: xp.astype(precise(xp.astype(points, xp.float64)), xp.float32)
    parts = [2 * centred, -xp.ones_like(squares), -squares]
    augmented = xp.matrix_transpose(xp.concat(parts, axis=-1))

    def matrix(points: Array) -> Array:
        block = (points - centre) * root
        lengths = xp.sum(block * block, axis=-1, keepdims=True)
        return xp.exp(xp.concat([block, lengths, xp.ones_like(lengths)], axis=-1) @ augmented)

    return matrix


def _on_host(array: Array) -> bool:
    return isinstance(array, np.ndarray) or getattr(array.device, "type", "") == "cpu"


def _largest(squares: Array) -> float:
    return float(squares.max()) if 0 not in squares.shape else 0.0


def scale_gamma(points: Array) -> float:
    """Return scikit-learn's ``gamma="scale"``: 1 / (n_features * variance), or 1 for constant points."""
    xp = array_namespace(points)
    variance = float(xp.var(xp.astype(points, xp.float64)))
    return 1.0 / (points.shape[1] * variance) if variance > 0 else 1.0
