"""The errors a user can meet. Every message says what was given, what is allowed and what to do."""

from typing import ClassVar


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
