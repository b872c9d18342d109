"""The seam between the pipeline and whoever fits the SVMs, and the one place that chooses."""

from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.errors import DeviceError
from gpu_ssl.report.records import Choice
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.model import Array, OneVsOneModel


class SVMBackend(Protocol):
    """Fits one-vs-one SVMs on arrays of its own library."""

    def receive(self, latents: Tensor) -> Array:
        """Take over latents of shape (n, d) from torch as an array of this backend's library."""

    def to_host(self, array: Array) -> NDArray[Any]:
        """Return an array of this backend's library as a NumPy array."""

    def fit(
        self, points: Array, labels: NDArray[np.int64], n_classes: int, C: float, gamma: float
    ) -> OneVsOneModel:
        """Fit one binary RBF SVM for every pair of classes.

        Parameters
        ----------
        points : array of shape (n, d)
            Labelled points.
        labels : ndarray of shape (n,), int64
            Their classes, 0 to n_classes - 1, each at least once.
        n_classes : int
            Number of classes.
        C, gamma : float
            Penalty and kernel width, the same for every pair.
        """


def resolve_backend(requested: str, device: Choice) -> tuple[SVMBackend, Choice]:
    """Decide once who fits the SVMs.

    Parameters
    ----------
    requested : str
        ``auto``, ``sklearn`` or ``cuml``. Only ``auto`` may fall back.
    device : Choice
        The device the latents are on.

    Raises
    ------
    DeviceError
        If cuML is asked for and cannot be used.
    """
    if requested == "cuml":
        if device.used == "cpu":
            raise DeviceError(
                f"--svm cuml needs a CUDA device, and the device is cpu ({device.reason}); "
                "on a GPU machine install the extra with: pip install 'gpu-ssl[gpu]'"
            )
        raise DeviceError("--svm cuml: this version of gpu-ssl has no cuML backend yet; use --svm sklearn")
    if requested == "sklearn":
        reason = "asked for"
    elif device.used == "cpu":
        reason = "the latents are on the CPU"
    else:
        reason = "this version has no cuML backend yet; the latents are copied to the host"
    return SklearnBackend(), Choice(requested=requested, used="sklearn", reason=reason)


def scale_gamma(points: Array) -> float:
    """Return scikit-learn's ``gamma="scale"``: 1 / (n_features * variance), or 1 for constant points."""
    xp = array_namespace(points)
    variance = float(xp.var(xp.astype(points, xp.float64)))
    return 1.0 / (points.shape[1] * variance) if variance > 0 else 1.0
