"""The errors a user can meet. Every message says what was given, what is allowed and what to do."""

import errno
from typing import ClassVar, Final

_NO_MEMORY: Final = (
    *("not enough memory", "out of memory", "cannot allocate memory", "can't allocate memory", "bad_alloc"),
    *("unable to allocate", "failed to map segment", "bad allocation", "failed to allocate"),
    *("could not create a primitive", "could not execute a primitive"),  # of oneDNN
    *("can't start new thread", "pyobject pointer is null"),
)
"""What libraries say of too little memory in errors of other kinds, such as torch's RuntimeError on a CPU."""


class GpuSslError(Exception):
    """Base of all errors that gpu-ssl raises on purpose.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 1 for a failure, 2 for wrong usage.
    """

    exit_code: ClassVar[int] = 1


class UsageError(GpuSslError, ValueError):
    """A setting that cannot be, such as an unknown data set or more labels than there are images."""

    exit_code: ClassVar[int] = 2


class DataError(GpuSslError):
    """A data set that cannot be had or a file of one that is not what it should be."""


class DeviceError(GpuSslError):
    """An explicitly requested device or SVM backend that is not there, or too little memory on it."""


class DependencyError(GpuSslError):
    """An optional package that is asked for and not installed."""


class InteropError(GpuSslError):
    """An array that cannot be handed over without a copy."""


class TrainingError(GpuSslError):
    """A training run that went wrong, for instance a loss that is no longer a number."""


class RankError(GpuSslError):
    """Another of the processes that torchrun started is gone."""


class InterruptError(GpuSslError):
    """Ctrl-C, with the words of how to go on."""

    exit_code: ClassVar[int] = 130


class StorageError(GpuSslError):
    """A file that cannot be read or written: no space, no permission, not what was expected."""


def lacks_memory(error: BaseException | None) -> bool:
    """Say whether an error, of any library, comes from too little memory."""
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
