"""Images with labels, as the rest of the package takes them."""

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
        One name a class.

    Raises
    ------
    DataError
        If shapes, dtypes or labels do not fit together.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                f"images must be uint8 of shape (n, channels, height, width), "
                f"not {self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{len(self.images)} images need as many int64 labels, "
                f"not {self.labels.dtype} of shape {self.labels.shape}"
            )
        n_classes = len(self.class_names)
        if len(self.labels) and (self.labels.min() < 0 or self.labels.max() >= n_classes):
            raise DataError(
                f"labels must lie from 0 to {n_classes - 1}, "
                f"not from {self.labels.min()} to {self.labels.max()}"
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
        """Hash of the content: class names, shape, pixels and labels."""
        digest = hashlib.sha256(repr((self.class_names, self.images.shape)).encode())
        digest.update(_little_endian_bytes(self.images))
        digest.update(_little_endian_bytes(self.labels))
        return digest.hexdigest()


def _little_endian_bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data


@dataclass(frozen=True)
class Dataset:
    """A training and a test part. `mirrored` tells whether a mirror image is of the same class."""

    name: str
    train: ImageSet
    test: ImageSet
    mirrored: bool

    @property
    def sha256(self) -> str:
        """Hash of the content of both parts."""
        return hashlib.sha256((self.train.sha256 + self.test.sha256).encode()).hexdigest()
