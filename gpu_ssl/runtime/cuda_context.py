"""Creates CUDA's context in a thread while torch is imported.

The driver needs some tenths of a second for it, in which it holds neither the GIL nor the CPU. torch and CuPy
use a device's primary context, so they find it ready. Nothing here decides about the device, or reports an
error: see `runtime.device`.
"""

import ctypes
import os
import threading
from typing import Any, Final

LIBRARY: Final = "libcuda.so.1"
"""The driver's library on Linux; elsewhere torch creates the context."""


def begin_context(device: str) -> threading.Thread | None:
    """Start to create the context of the device that a run will probably use, if there is a driver.

    Parameters
    ----------
    device : str
        The setting: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    Thread or None
        The thread; None without a driver, or for the CPU.
    """
    number = _number_of(device)
    if number is None:
        return None
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    thread = threading.Thread(target=_create, args=(driver, number), name="cuda-context")
    thread.start()
    return thread


def _number_of(device: str) -> int | None:
    """Return the number of a CUDA device, of several processes this one's; None for others."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cuda") or not (number or "0").isdecimal():
        return None
    return int(number or os.environ.get("LOCAL_RANK", "0"))


def _create(driver: Any, number: int) -> None:
    """Retain the primary context of a device until the process ends, unless a call fails."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), number) == 0:
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
