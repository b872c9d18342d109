"""Validating X if it holds embeddings: arrays of any library, kept on their device."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data
from torch import Tensor

from gpu_ssl.encoders.encoder import BLOCK
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators.arrays import forget_names
from gpu_ssl.runtime.interop import OnHost, copy_to_host, receive, to_numpy


def take_embeddings(estimator: Any, X: Any, *, reset: bool) -> NDArray[np.float32] | Tensor:
    """Return X (n, d) as embeddings (n, 1, 1, d), float32: a tensor if it is on a GPU, else an array.

    float32 arrays of NumPy, torch, CuPy or another library with DLPack are not copied.

    Parameters
    ----------
    estimator : BaseEstimator
        Estimator that stores the number of features.
    X : array of shape (n, d)
        Real numbers.
    reset : bool
        Whether to set the number of features (in `fit`) instead of checking it.

    Raises
    ------
    UsageError, ValueError
        If X is not a two-dimensional array of finite real numbers.
    """
    if isinstance(X, np.ndarray) or not hasattr(X, "__dlpack__"):
        array: NDArray[np.float32] = validate_data(estimator, X, dtype=np.float32, order="C", reset=reset)
        return array.reshape(-1, 1, 1, array.shape[1])
    tensor = receive(X)
    if tensor.ndim != 2 or not len(tensor) or tensor.is_complex():
        raise UsageError(
            f"expected X of shape (n, d) with real numbers, got {tensor.dtype} of shape {tuple(tensor.shape)}"
        )
    if reset:
        estimator.n_features_in_ = tensor.shape[1]
        forget_names(estimator)
    elif tensor.shape[1] != estimator.n_features_in_:
        raise UsageError(
            f"X has {tensor.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )
    rows = tensor.to(torch.float32).contiguous()
    if not all(bool(block.isfinite().all()) for block in torch.split(rows, BLOCK)):
        raise UsageError("X contains NaN or infinity; remove or impute these values")
    images = rows.reshape(-1, 1, 1, rows.shape[1])
    return to_numpy(images) if images.device.type == "cpu" else images


def rows_on_host(images: NDArray[Any] | Tensor) -> Any:
    """Return an array with NumPy's row indexing; rows of a tensor are copied to the host on access."""
    return OnHost(images) if isinstance(images, Tensor) else images


def labels_on_host(y: Any) -> Any:
    """Return y, copied to the host if it is a DLPack array of another library."""
    if isinstance(y, np.ndarray) or not hasattr(y, "__dlpack__"):
        return y
    return to_numpy(copy_to_host(receive(y)))
