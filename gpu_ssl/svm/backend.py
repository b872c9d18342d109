"""The interface to SVM libraries, and the one place that chooses among them."""

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.errors import DeviceError
from gpu_ssl.records import Choice
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.runtime.optional import install_advice
from gpu_ssl.svm.pairs import PairSolutions, Penalty, Problem


class SVMBackend(Protocol):
    """Solves binary SVMs on arrays of its own library.

    Attributes
    ----------
    name : str
        ``sklearn``, ``cuml`` or ``batched``.
    """

    name: str

    def at_once(self, n_points: int) -> bool:
        """Whether several problems of so many points at most are solved at once."""

    def receive(self, latents: Tensor) -> Array:
        """Return latents of shape (n, d) from torch as an array of this backend's library."""

    def from_host(self, array: NDArray[Any]) -> Array:
        """Return a NumPy array as an array of this backend's library."""

    def to_host(self, array: Array) -> NDArray[Any]:
        """Return an array of this backend's library as a NumPy array."""

    def solve_pairs(
        self, grouped: Array, sizes: Sequence[int], penalty: Penalty, weights: NDArray[np.float64] | None
    ) -> PairSolutions:
        """Solve the binary problem of every pair of classes.

        Parameters
        ----------
        grouped : array of shape (n, d)
            The labelled points, those of the first class first, then those of the second, and so on.
        sizes : sequence of int
            Number of points of each class; none is 0.
        penalty : Penalty
            The optimization problem that all pairs share.
        weights : ndarray of shape (n,), optional
            Factor of C for each point, on the host, positive.

        Returns
        -------
        PairSolutions
            With arrays on the device of `grouped`.
        """

    def solve_all(self, problems: Sequence[Problem]) -> list[PairSolutions]:
        """Solve several one-vs-one problems."""


def install_gpu() -> str:
    """Return what installs cuML."""
    return f"on a machine with an NVIDIA GPU, {install_advice('gpu')}"


def cuml_backend(device: str = "cuda:0") -> SVMBackend:
    """Create cuML's backend for arrays on `device`.

    Raises
    ------
    DeviceError
        If it is not usable, with the reason.
    """
    index = device.partition(":")[2]
    if index != "0":
        raise DeviceError(
            f"cuML uses only the first visible GPU; set CUDA_VISIBLE_DEVICES={index} and give `device=cuda`"
        )
    missing = [name for name in ("cupy", "cuml", "rmm") if find_spec(name) is None]
    if missing:
        raise DeviceError(f"{', '.join(missing)} not installed ({install_gpu()})")
    try:
        backend: SVMBackend = importlib.import_module("gpu_ssl.svm._cuml").CumlBackend()
    except (ImportError, OSError, RuntimeError) as error:
        # A missing library or a driver that is too old for this CuPy shows as any of the three.
        raise DeviceError(f"cuML cannot be used: {' '.join(str(error).split())}") from error
    return backend


def sklearn_backend(device: str = "cpu") -> SVMBackend:
    """Create scikit-learn's backend, which works on the host wherever the latents are."""
    from gpu_ssl.svm._sklearn import SklearnBackend

    return SklearnBackend()


def host_backend() -> SVMBackend:
    """Create the backend for latents on the CPU: scikit-learn's, except for few points."""
    from gpu_ssl.svm._host import HostBackend

    return HostBackend()


def batched_backend(device: str = "cpu") -> SVMBackend:
    """Create the backend that solves all pairs as one batch in torch, for arrays on `device`."""
    from gpu_ssl.svm._batched import BatchedBackend

    return BatchedBackend(torch.device(device))


BACKENDS: dict[str, Callable[[str], SVMBackend]] = {
    "sklearn": sklearn_backend,
    "cuml": cuml_backend,
    "batched": batched_backend,
}
"""Factories of the backends, given the device of the latents; each imports its library when called."""


def resolve_backend(requested: str, device: Choice, leads: bool = True) -> tuple[SVMBackend, Choice]:
    """Choose the SVM library once.

    Parameters
    ----------
    requested : str
        ``auto``, or one of `BACKENDS`. Only ``auto`` may fall back.
    device : Choice
        The device of the latents.
    leads : bool
        Whether this process fits SVMs: of several processes only rank 0, on the first GPU, fits all of them.

    Raises
    ------
    DeviceError
        If cuML is requested and not usable.
    """

    def chosen(used: str, reason: str) -> Choice:
        return Choice(requested=requested, used=used, reason=reason)

    if not leads:
        return sklearn_backend(), chosen("sklearn", "rank 0 fits the SVMs")
    if requested in ("sklearn", "batched"):
        return BACKENDS[requested](device.used), chosen(requested, "requested")
    if device.used == "cpu":
        if requested == "cuml":
            raise DeviceError(
                f"`svm=cuml` needs a CUDA device, and the device is cpu ({device.reason}); {install_gpu()}"
            )
        return host_backend(), chosen("sklearn", "the latents are on the CPU; few points are fitted in torch")
    try:
        return cuml_backend(device.used), chosen("cuml", f"the latents are on {device.used}")
    except DeviceError as problem:
        if requested == "cuml":
            raise DeviceError(f"`svm=cuml`: {problem}") from problem
        return sklearn_backend(), chosen("sklearn", f"{problem}; the latents are copied to the host")
