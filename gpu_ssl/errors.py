"""Errors for users. Every message says what was given, what is allowed and what to do."""

import errno
from collections.abc import Sequence
from typing import ClassVar, Final

_NO_MEMORY: Final = (
    *("not enough memory", "out of memory", "cannot allocate memory", "can't allocate memory", "bad_alloc"),
    *("unable to allocate", "failed to map segment", "bad allocation", "failed to allocate"),
    *("could not create a primitive", "could not execute a primitive"),  # of oneDNN
    *("can't start new thread", "pyobject pointer is null"),
)
"""Messages of libraries for too little memory in other errors, such as torch's RuntimeError on a CPU."""


def either(choices: Sequence[str]) -> str:
    """Return what is allowed as a list for a message: ``a, b or c``."""
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


class GpuSslError(Exception):
    """Base of all errors that gpu-ssl raises on purpose.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line: 1 for a failure, 2 for wrong usage.
    """

    exit_code: ClassVar[int] = 1


class UsageError(GpuSslError, ValueError):
    """An invalid setting, such as an unknown data set or more labels than images."""

    exit_code: ClassVar[int] = 2


class DataError(GpuSslError):
    """A data set that is not available, or an invalid file of one."""


class DeviceError(GpuSslError):
    """An explicitly requested device or SVM backend that is missing, or has too little memory."""


class DependencyError(GpuSslError):
    """An optional package that is needed and not installed."""


class InteropError(GpuSslError):
    """An array that cannot be handed over without a copy."""


class TrainingError(GpuSslError):
    """A training that failed, for instance with a loss that is not finite."""


class RankError(GpuSslError):
    """Another process started by torchrun has ended."""


class InterruptError(GpuSslError):
    """Ctrl-C, with a message on how to resume."""

    exit_code: ClassVar[int] = 130


class StorageError(GpuSslError):
    """A file that is not readable or writable: no space, no permission, invalid content."""


def lacks_memory(error: BaseException | None) -> bool:
    """Return whether an error, of any library, means too little memory."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        kinds = RuntimeError | ImportError | OSError | SystemError | ValueError
        if isinstance(error, kinds) or type(error).__name__ == "PanicException":  # of Rust
            said = str(error).lower()
            if any(words in said for words in _NO_MEMORY):
                return True
        error = error.__cause__ or error.__context__
    return False
