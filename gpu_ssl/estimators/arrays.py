"""Moving arrays of any library to the host, and results back to the caller's library and device."""

from typing import Any

import torch
from array_api_compat import device, is_cupy_array, is_torch_array

from gpu_ssl.runtime import interop
from gpu_ssl.runtime.arrays import Array, array_namespace


def on_host(array: Any) -> Any:
    """Copy a device array to the host; return everything else unchanged."""
    if is_torch_array(array):
        return interop.to_numpy(interop.copy_to_host(array))
    return array.get() if is_cupy_array(array) else array


def like(result: Array, X: Array) -> Array:
    """Return `result` as an array of the library and device of X."""
    if is_torch_array(X):
        return torch.utils.dlpack.from_dlpack(result).to(X.device)
    if is_cupy_array(X):
        return array_namespace(X).asarray(result, device=device(X))
    return on_host(result)
