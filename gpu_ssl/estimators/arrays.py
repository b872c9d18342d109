"""Moving arrays of any library to the host, and results back to the caller's library and device."""

from typing import Any

import torch
from array_api_compat import device, is_cupy_array, is_torch_array
from numpy.typing import NDArray

from gpu_ssl.runtime import interop
from gpu_ssl.runtime.arrays import Array, array_namespace


def on_host(array: Any) -> Any:
    """Copy a device array to the host; return everything else unchanged."""
    if is_torch_array(array):
        # NumPy has no bfloat16, all values of which are float32 values.
        array = array.float() if array.dtype == torch.bfloat16 else array
        return interop.to_numpy(interop.copy_to_host(array))
    return array.get() if is_cupy_array(array) else array


def native(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the byte order of the machine, the only one that torch takes."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def forget_names(estimator: Any) -> None:
    """Remove the column names of an earlier fit: the array of this one has none."""
    if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def like(result: Array, X: Array) -> Array:
    """Return `result` as an array of the library and device of X."""
    if is_torch_array(X):
        return torch.utils.dlpack.from_dlpack(result).to(X.device)
    if is_cupy_array(X):
        return array_namespace(X).asarray(result, device=device(X))
    return on_host(result)
