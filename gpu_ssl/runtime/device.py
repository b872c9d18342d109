"""The only place that detects devices. Everything else infers its device from its arrays."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

import torch

from gpu_ssl.config import device_name
from gpu_ssl.errors import DeviceError, GpuSslError, UsageError, lacks_memory
from gpu_ssl.records import Choice
from gpu_ssl.runtime.environment import cpu_name


def minimum_capability(cuda_version: str) -> tuple[int, int]:
    """Compute capability that RAPIDS 26.10 needs: Turing with CUDA 13, Volta (V100) with CUDA 12."""
    return (7, 5) if int(cuda_version.split(".")[0]) >= 13 else (7, 0)


def cuda_problem(index: int = 0) -> str | None:
    """Return why CUDA device `index` is not usable, or None."""
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is a build without CUDA; install the CUDA build of torch"
    if not torch.cuda.is_available():
        try:
            torch.cuda.current_device()
            reason = "there is no device"
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().partition(". ")[0].partition("\n")[0] or type(error).__name__
        return f"{reason}; CUDA needs an NVIDIA GPU and driver 580 or newer (see nvidia-smi)"
    if index >= torch.cuda.device_count():
        return f"there is no CUDA device {index}; the devices here are 0 to {torch.cuda.device_count() - 1}"
    capability = torch.cuda.get_device_capability(index)
    minimum = minimum_capability(torch.version.cuda)
    if capability < minimum:
        return (
            f"{torch.cuda.get_device_name(index)} has compute capability {capability[0]}.{capability[1]}; "
            f"{minimum[0]}.{minimum[1]} or newer is needed with CUDA {torch.version.cuda}"
        )
    return None


def resolve_device(requested: str) -> Choice:
    """Choose the device once.

    Parameters
    ----------
    requested : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Only ``auto`` may fall back to the CPU.

    Returns
    -------
    Choice
        `used` is ``cpu`` or ``cuda:N``.

    Raises
    ------
    UsageError
        If there is no such kind of device.
    DeviceError
        If an explicitly requested CUDA device is not usable.
    """
    try:
        device_name(requested)
    except ValueError as error:
        raise UsageError(f"`device={requested}`: {error}") from None
    if requested == "cpu":
        return Choice(requested=requested, used="cpu", reason="requested")
    index = int(requested.partition(":")[2] or 0)
    problem = cuda_problem(index)
    if problem is None:
        name = torch.cuda.get_device_name(index)
        return Choice(requested=requested, used=f"cuda:{index}", reason=f"{name} is usable")
    if requested == "auto":
        return Choice(requested=requested, used="cpu", reason=problem)
    raise DeviceError(f"`device={requested}`: {problem}. To run on the CPU, give `device=cpu`.")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether matrix products on `device` are faster in bfloat16 than in float32."""
    if device.type == "cuda":
        return _has_bfloat16(device)
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        avx512, amx = capabilities.get("avx512_bf16"), capabilities.get("amx_bf16")
    else:  # torch 2.9
        avx512, amx = torch.cpu._is_avx512_bf16_supported(), torch.cpu._is_amx_tile_supported()
    # Measured on an Intel Xeon without AMX: products in bfloat16 take twice as long there as in float32.
    return bool(amx or (avx512 and "Intel" not in cpu_name()))


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether a GPU supports bfloat16: Ampere and newer; others lack its convolutions in cuDNN."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def require_precision(requested: str, device: torch.device) -> None:
    """Check that `device` supports the requested precision of training.

    Raises
    ------
    DeviceError
        If bfloat16 is requested on a GPU without it.
    """
    if requested == "bfloat16" and device.type == "cuda" and not _has_bfloat16(device):
        major, minor = torch.cuda.get_device_capability(device)
        raise DeviceError(
            f"`precision=bfloat16`: {torch.cuda.get_device_name(device)} has compute capability "
            f"{major}.{minor}, and bfloat16 needs 8.0; give `precision=auto` or `precision=float32`"
        )


def resolve_precision(requested: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products: bfloat16 for ``auto`` where that is faster, else float32.

    On a GPU without bfloat16 it is always float32: a model may come from another GPU.
    """
    usable = has_fast_bfloat16(device) if requested == "auto" or device.type == "cuda" else True
    return torch.bfloat16 if requested != "float32" and usable else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Run matrix products and convolutions on `device` in `precision`."""
    if precision != torch.float32:
        # Weights that were converted without gradients, for pseudo-labels, must not be used again with them:
        # torch 2.9 then computes no gradient.
        return torch.autocast(device.type, precision, cache_enabled=False)
    return full_float32() if device.type == "cuda" else nullcontext()


@contextmanager
def full_float32() -> Iterator[None]:
    """Disable TF32 on a GPU: by default cuDNN rounds float32 to it, with a mantissa of 10 bits.

    So results of a model on GPUs with and without TF32, and on a CPU, differ only by the order of summation.
    """
    _full_float32.enter()
    try:
        yield
    finally:
        _full_float32.leave()


class _FullFloat32:
    """torch's settings of TF32, which all threads share: the last thread to leave restores them."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, [""]

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = [part.fp32_precision for part in self._parts()]
                for part in self._parts():
                    part.fp32_precision = "ieee"

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for part, precision in zip(self._parts(), self._before, strict=True):
                    part.fp32_precision = precision

    @staticmethod
    def _parts() -> tuple[Any, ...]:
        cudnn: Any = torch.backends.cudnn
        return cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul


_full_float32 = _FullFloat32()


@contextmanager
def memory_errors(device: torch.device, advice: str) -> Iterator[None]:
    """Turn out-of-memory errors of any library into one line with `advice` on what to lower.

    Raises
    ------
    DeviceError
        If the enclosed block ran out of memory.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, GpuSslError) or not lacks_memory(error):
            raise
        raise DeviceError(f"too little memory for this (the device is {device}); {advice}") from None


def synchronize(device: torch.device) -> None:
    """Wait until all queued work on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Return the available memory of a GPU: the free memory, and torch's unused cache."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


MOST_ROWS = 16_384
"""Maximum number of images per block on a GPU; with much fewer it would wait for kernel launches."""

ROWS_SHARE = 0.25
"""Maximum memory of a block, as a fraction of the GPU's free memory."""


def rows_at_a_time(device: torch.device, bytes_each: int, on_cpu: int) -> int:
    """Return the number of images per block, given the memory of each.

    On a CPU that is `on_cpu`, on a GPU as many as fit in a part of the free memory, at most `MOST_ROWS`.
    """
    if device.type != "cuda":
        return on_cpu
    return max(1, min(MOST_ROWS, int(ROWS_SHARE * free_bytes(device)) // bytes_each))
