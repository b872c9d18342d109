"""What a method hands to the SVM: features of the training images by index, and of the test images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from gpu_ssl.svm.kernels import Array


@dataclass(frozen=True)
class Features:
    """Features that `method` made without a label.

    Parameters
    ----------
    method : str
        Name in the report.
    train : callable
        Takes indices of training images, shape (n,), and returns their features, shape (n, d).
    test : array of shape (n_test, d)
        Features of the test images.
    """

    method: str
    train: Callable[[NDArray[np.int64]], Array]
    test: Array


def of_array(method: str, train: Array, test: Array) -> Features:
    """Make `Features` of two arrays of one library, shapes (n_train, d) and (n_test, d), on one device."""
    xp = array_namespace(train, test)

    def rows(indices: NDArray[np.int64]) -> Array:
        return xp.take(train, xp.asarray(indices, device=device(train)), axis=0)

    return Features(method, rows, test)
