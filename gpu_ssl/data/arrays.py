"""Images, and labels where there are some, from files of NumPy."""

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.decoding import LEAST_SIDE
from gpu_ssl.errors import DataError


class Positions(Sequence[str]):
    """Names of the images of an array: their positions. Of millions it takes no memory.

    Parameters
    ----------
    n : int
        Number of images.
    """

    def __init__(self, n: int) -> None:
        self._range = range(n)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(map(str, self._range[index]))
        return str(self._range[index])

    def __contains__(self, name: object) -> bool:
        try:
            position = int(name)  # type: ignore[call-overload]
        except (TypeError, ValueError):
            return False
        return position in self._range and str(position) == name


def read_arrays(path: Path) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Read images, and labels where there are some, from an ``.npy`` or ``.npz`` file.

    An ``.npz`` file holds one array of images, and at most one more, of their labels: numbers or words, with
    -1 or an empty word where there is none.

    Returns
    -------
    images : ndarray of shape (n, channels, height, width), uint8
        From uint8 arrays of shape (n, height, width), (n, height, width, channels) or
        (n, channels, height, width), with 1 or 3 channels.
    labels : dict of str to str
        Label of each position that has one.

    Raises
    ------
    DataError
        If the file does not hold that.
    """
    with suppress(OSError), path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY" and not zipfile.is_zipfile(path):
            raise DataError(f"{path} is neither an image nor an .npy, .npz or .parquet file")
    try:
        content = np.load(path, mmap_mode="c", allow_pickle=False)
        arrays = dict(content) if isinstance(content, np.lib.npyio.NpzFile) else {"images": content}
    except Exception as error:  # NumPy meets hostile bytes, and raises whatever it likes
        raise DataError(f"{path} is not a readable .npy or .npz file: {error}") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise DataError(f"{path} holds something that is no array")
    found = [array for array in arrays.values() if array.ndim in (3, 4)]
    others = [array for array in arrays.values() if array.ndim not in (3, 4)]
    if len(found) != 1 or len(others) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError(f"{path} must hold one array of images, and at most one of labels; it holds {shapes}")
    images = _channels_first(found[0], path)
    labels = others[0] if others else np.full(len(images), -1)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{path}: {len(images)} images need as many labels, whole numbers or words, "
            f"not {labels.dtype} of shape {labels.shape}"
        )
    known = np.flatnonzero(labels != ("" if labels.dtype.kind == "U" else -1))
    return images, {str(i): str(labels[i].item()) for i in known.tolist()}


def _channels_first(images: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise DataError(f"{path}: images must be uint8, from 0 to 255, not {images.dtype}")
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.shape[1] not in (1, 3) or not len(images) or min(images.shape[2:]) < LEAST_SIDE:
        raise DataError(
            f"{path}: at least one image is needed, with 1 or 3 channels and sides of {LEAST_SIDE} pixels or "
            f"more, not {images.shape}"
        )
    # torch shares the memory of arrays that it may write to. A memory map stays one, whatever its layout.
    return np.require(images, requirements=["W"])
