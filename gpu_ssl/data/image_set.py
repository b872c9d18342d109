"""Labelled images of a built-in data set: the common type of the package."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.errors import DataError


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels on the host.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width), uint8
        Pixel intensities from 0 to 255.
    labels : ndarray of shape (n,), int64
        Index into `class_names`.
    class_names : tuple of str
        Name of each class.

    Raises
    ------
    DataError
        If shapes, dtypes or labels are invalid.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                f"expected images of dtype uint8 and shape (n, channels, height, width), "
                f"got {self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"expected int64 labels of shape ({len(self.images)},), "
                f"got {self.labels.dtype} of shape {self.labels.shape}"
            )
        n_classes = len(self.class_names)
        if len(self.labels) and (self.labels.min() < 0 or self.labels.max() >= n_classes):
            raise DataError(
                f"expected labels from 0 to {n_classes - 1}, "
                f"got values from {self.labels.min()} to {self.labels.max()}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of class names, shape, pixels and labels."""
        digest = hashlib.sha256(repr((self.class_names, self.images.shape)).encode())
        digest.update(_little_endian_bytes(self.images))
        digest.update(_little_endian_bytes(self.labels))
        return digest.hexdigest()


def _little_endian_bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data


@dataclass(frozen=True)
class Dataset:
    """A training and a test set; `mirrored` is true if mirroring an image preserves its class."""

    name: str
    train: ImageSet
    test: ImageSet
    mirrored: bool

    @property
    def sha256(self) -> str:
        """SHA-256 of both sets."""
        return hashlib.sha256((self.train.sha256 + self.test.sha256).encode()).hexdigest()
