"""The type of arrays of any library, and the namespace of their functions."""

from typing import Any

import array_api_compat
import numpy as np

Array = Any
"""An array of any library that follows the Array API: NumPy and torch on the CPU, CuPy on a GPU."""


def array_namespace(*arrays: Array) -> Any:
    """Return the functions of the arrays' library by the names of the Array API.

    NumPy is its own: it has all of them since 2.1, except that its sorts do not take ``descending``. What
    array_api_compat has for NumPy takes a tenth of a second to import, as it imports f2py too.
    """
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np
    return array_api_compat.array_namespace(*arrays)
