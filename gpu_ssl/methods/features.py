"""What a method hands to the SVM: features of the training images by index, and of the test images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.svm.model import Array


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


def of_array(method: str, train: NDArray[Any], test: NDArray[Any]) -> Features:
    """Make `Features` of two arrays."""
    return Features(method, lambda indices: train[indices], test)
