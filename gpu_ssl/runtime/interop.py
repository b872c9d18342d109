"""All uses of DLPack: shares a tensor's memory with NumPy or CuPy, or raises. Nothing here copies.

The one copy that a pipeline may need (latents of a GPU to scikit-learn on the host) is the explicit
`copy_to_host`.
"""

import warnings
from typing import Any

import numpy as np
import torch

from gpu_ssl.errors import InteropError


def _check_shareable(tensor: torch.Tensor, device_type: str, receiver: str) -> None:
    if tensor.device.type != device_type:
        raise InteropError(
            f"{receiver} shares {device_type} memory and the tensor is on {tensor.device}; "
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

    CuPy's current stream (the legacy default stream unless the caller changed it) waits for torch's current
    stream, and torch keeps the memory until CuPy's stream is done with it. Output of a CUDA graph is
    overwritten by its next replay: clone it before.

    Parameters
    ----------
    tensor : Tensor
        A tensor on a CUDA device.

    Raises
    ------
    InteropError
        If the tensor is not on a CUDA device, requires grad, is lazily negated, or has no CuPy dtype; if a
        CUDA graph is being captured; or if CuPy works on the per-thread default stream, for which torch
        cannot wait.
    """
    _check_shareable(tensor, "cuda", "CuPy")
    import cupy

    if torch.cuda.is_current_stream_capturing():
        raise InteropError("CuPy cannot share a tensor while a CUDA graph is captured; convert it afterwards")
    with cupy.cuda.Device(tensor.device.index):
        current, default = torch.cuda.current_stream(), torch.cuda.default_stream()
        reader = cupy.cuda.get_current_stream().ptr
        if current != default or reader:
            # Otherwise torch would reuse the memory while CuPy's stream still reads it.
            stream = torch.cuda.ExternalStream(reader) if reader else default  # type: ignore[no-untyped-call]
            tensor.record_stream(stream)
        try:
            return cupy.from_dlpack(tensor)
        except BufferError as error:
            raise InteropError(
                f"CuPy cannot share the tensor: {error}; call this under CuPy's default stream "
                "(no stream context, CUPY_CUDA_PER_THREAD_DEFAULT_STREAM unset)"
            ) from error


def to_torch(array: Any, device: torch.device) -> torch.Tensor:
    """Return a NumPy or CuPy array as a tensor on `device`: the same memory if it is there already.

    The device waits for pending work of CuPy. Only a NumPy array for another device is copied.
    """
    return receive(array).to(device)


def receive(array: Any) -> torch.Tensor:
    """Return an array of any library with DLPack as a tensor on the same device, sharing its memory.

    Raises
    ------
    InteropError
        If torch does not support it.
    """
    if isinstance(array, torch.Tensor):
        return array.detach()
    try:
        tensor: torch.Tensor = torch.utils.dlpack.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError) as error:
        raise InteropError(f"torch cannot share an array of {type(array).__module__}: {error}") from error
    return tensor


def borrow(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """View a NumPy array, which may be read-only, as a tensor that must not be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


class OnHost:
    """Rows of a tensor on any device, as NumPy arrays; only the requested rows are copied.

    Parameters
    ----------
    tensor : Tensor of shape (n, ...), float32
        The rows.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor, self.shape = tensor, tuple(tensor.shape)

    def __len__(self) -> int:
        return len(self._tensor)

    def __getitem__(self, rows: Any) -> np.ndarray[Any, Any]:
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows).to(self._tensor.device)
        return to_numpy(copy_to_host(self._tensor[rows]))


def copy_to_host(tensor: torch.Tensor) -> torch.Tensor:
    """Return a CPU tensor with the values of `tensor`: itself if it is on the CPU, else one copy."""
    return tensor.detach().to("cpu")
