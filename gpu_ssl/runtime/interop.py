"""All DLPack: hands a tensor to NumPy or CuPy as the same memory, or raises. Nothing here copies.

The one copy that a pipeline may need (latents of a GPU to scikit-learn on the host) is `copy_to_host`,
which says what it does.
"""

from typing import Any

import numpy as np
import torch

from gpu_ssl.errors import InteropError


def _check_shareable(tensor: torch.Tensor, device_type: str, receiver: str) -> None:
    if tensor.device.type != device_type:
        raise InteropError(
            f"{receiver} shares {device_type} memory and the tensor lies on {tensor.device}; "
            "move it explicitly first"
        )
    if tensor.requires_grad:
        raise InteropError(f"{receiver} cannot share a tensor that requires grad; call detach() first")
    if tensor.is_conj() or tensor.is_neg():
        raise InteropError(
            f"{receiver} cannot share a lazily conjugated or negated tensor; "
            "call resolve_conj() or resolve_neg() first"
        )
    if tensor.dtype in (torch.bfloat16, torch.complex32) or tensor.is_quantized:
        raise InteropError(f"{receiver} has no dtype for {tensor.dtype}; convert with float() first")


def to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """View a CPU tensor as a NumPy array over DLPack: same memory, same strides.

    Raises
    ------
    InteropError
        If the tensor is not on the CPU, requires grad, is lazily negated, or has no NumPy dtype.
    """
    _check_shareable(tensor, "cpu", "NumPy")
    return np.from_dlpack(tensor)


def to_cupy(tensor: torch.Tensor) -> Any:
    """View a CUDA tensor as a CuPy array over DLPack: same memory, same strides.

    CuPy's current stream (the legacy default stream unless the caller changed it) is made to wait for
    torch's current stream; work on other torch streams is the caller's to order.

    Raises
    ------
    InteropError
        If the tensor is not on a CUDA device, requires grad, is lazily negated, or has no CuPy dtype.
    """
    _check_shareable(tensor, "cuda", "CuPy")
    import cupy

    with cupy.cuda.Device(tensor.device.index):
        return cupy.from_dlpack(tensor)


def copy_to_host(tensor: torch.Tensor) -> torch.Tensor:
    """Return a CPU tensor with the values of `tensor`: itself where it is on the CPU, else one copy."""
    return tensor.detach().to("cpu")
