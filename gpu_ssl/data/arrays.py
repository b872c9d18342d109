"""Images or embeddings, and labels where there are some, from files of NumPy and safetensors."""

import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import ArrayEmbeddings, Embeddings, in_npz, in_safetensors, may_be
from gpu_ssl.data.encoded import SURVEYED, spread_over
from gpu_ssl.data.labels import clean, named
from gpu_ssl.data.preparation import LEAST_SIDE, NO_DATA, range_of
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.memory_map import release

IMAGES = frozenset(("x", "image", "images", "img", "imgs", "data"))
LABELS = frozenset(("y", "label", "labels", "target", "targets"))
NAMES = frozenset(("names", "filenames", "paths", "files"))
SAFETENSORS = ".safetensors"
PARTS = ("train", "val", "test", "dev")
"""Words in the names of arrays."""


@dataclass(frozen=True)
class ArrayImages:
    """Images, and labels where there are some, of a file of NumPy.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), or Embeddings
        Numbers of any kind, as they lie in the file.
    labels : dict of str to str
        Label of each position that has one.
    taken_as_none : mapping of str to int
        How often words stand for no label.
    unused : tuple of str
        Names of arrays that are left out.
    """

    pixels: NDArray[Any] | Embeddings
    labels: dict[str, str]
    taken_as_none: Mapping[str, int] = field(default_factory=Counter)
    unused: tuple[str, ...] = ()


def read_arrays(path: Path) -> ArrayImages:
    """Read images or embeddings, and labels where there are some, from a file of NumPy or safetensors.

    An ``.npz`` file holds arrays of images, and of their labels: numbers or words, of shape (n,) or (n, 1).
    Of several, those whose names say that they are for training count, as ``x_train`` and ``y_train`` or
    ``train_images`` and ``train_labels`` do. Where there are none, a float array (n, d) holds embeddings.

    Raises
    ------
    DataError
        If the file does not hold that.
    """
    arrays = _arrays_in(path)
    pictures = {name: array for name, array in arrays.items() if _is_images(array)}
    if not pictures:
        pictures = {name: array for name, array in arrays.items() if isinstance(array, Embeddings)}
    if len(pictures) > 1:
        pictures = {name: array for name, array in pictures.items() if "train" in name.lower()}
    if len(pictures) > 1:
        pictures = {name: array for name, array in pictures.items() if IMAGES & set(_words(name))} or pictures
    if len(pictures) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError(
            f"{path} must hold one array of images, or one whose name says train, and at most one of their "
            f"labels; it holds {shapes}{_advice(arrays)}"
        )
    ((name, found),) = pictures.items()
    images = found if isinstance(found, Embeddings) else _channels_first(found, path)
    others = {key: a for key, a in arrays.items() if key != name and not _is_images(a)}
    others = {key: a for key, a in others.items() if not isinstance(a, Embeddings)}
    # What belongs to another part, or names files or classes, is not the labels of these images.
    own = _part(name)
    others = {key: a for key, a in others.items() if _part(key) in ("", own or _part(key))}
    others = {key: a for key, a in others.items() if NAMES.isdisjoint(_words(key))}
    if len(others) > 1:
        others = {key: a for key, a in others.items() if _role(key) == _role(name)} or others
    if len(others) > 1:
        raise DataError(f"{path} holds several arrays that may be labels: {', '.join(others)}; keep one")
    labels = next(iter(others.values()), np.full(len(images), -1))
    unused = tuple(key for key in arrays if key != name and key not in others)
    return ArrayImages(images, *_labels_of(labels, len(images), path), unused=unused)


def _arrays_in(path: Path) -> dict[str, Any]:
    """Return the arrays of a file; what may be embeddings is not read yet."""
    if path.suffix.lower() == SAFETENSORS:
        return in_safetensors(path)
    with suppress(OSError), path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY" and not zipfile.is_zipfile(path):
            raise DataError(f"{path} is neither an image nor an .npy, .npz, .parquet or {SAFETENSORS} file")
    arrays: dict[str, Any]
    try:
        content = np.load(path, mmap_mode="c", allow_pickle=False)
        if isinstance(content, np.lib.npyio.NpzFile):
            rows = in_npz(path)
            arrays = {name: rows[name] if name in rows else content[name] for name in content.files}
        else:
            arrays = {"images": content}
    except Exception as error:  # NumPy meets hostile bytes, and raises whatever it likes
        raise DataError(f"{path} is not a readable .npy or .npz file: {error}") from error
    if not all(isinstance(array, np.ndarray | Embeddings) for array in arrays.values()):
        raise DataError(f"{path} holds something that is no array")
    return {
        name: ArrayEmbeddings(path, name, array)
        if isinstance(array, np.ndarray) and may_be(array.shape, array.dtype)
        else array
        for name, array in arrays.items()
    }


def _is_images(array: Any) -> bool:
    return array.ndim in (3, 4)


def _advice(arrays: Mapping[str, Any]) -> str:
    """Return what to do with rows of whole numbers, where there are some."""
    found = [array for array in arrays.values() if isinstance(array, np.ndarray)]
    if any(array.ndim == 2 and array.dtype.kind in "iub" for array in found):
        return "; rows of pixels are taken in the shape (n, height, width), and embeddings as float numbers"
    return ""


def _words(name: str) -> list[str]:
    """Return the words in the name of an array, such as train and x of trainX and x_train."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


def _role(name: str) -> str:
    """Return the name of an array without what says whether it holds images or labels."""
    return "_".join(word for word in _words(name) if word not in IMAGES | LABELS)


def _part(name: str) -> str:
    """Return the part of the data set that the name of an array speaks of, or nothing."""
    return next((part for word in _words(name) for part in PARTS if word.startswith(part)), "")


def _labels_of(labels: NDArray[Any], n: int, path: Path) -> tuple[dict[str, str], Counter[str]]:
    if labels.shape == (n, 1):
        labels = labels[:, 0]
    whole = labels.dtype.kind in "iubUS" or (
        labels.dtype.kind == "f"
        and bool(np.all(np.isnan(labels) | (np.isfinite(labels) & (labels == np.rint(labels)))))
    )
    if labels.shape != (n,) or not whole:
        raise DataError(
            f"{path}: {n} images need as many labels, whole numbers or words, not {labels.dtype} of shape "
            f"{labels.shape}"
        )
    words = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in labels.tolist()]
    return named(words, _written)


def _written(label: object) -> str:
    return str(int(label)) if isinstance(label, float) else clean(str(label))


def _channels_first(images: NDArray[Any], path: Path) -> NDArray[Any]:
    if images.dtype.kind not in "uifb":
        raise DataError(f"{path}: images must be of real numbers, not {images.dtype}")
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


def range_in(images: NDArray[Any], path: Path) -> tuple[float, float]:
    """Return the numbers of black and white in images; of uint8, 0 and 255.

    Raises
    ------
    DataError
        If they are all the same, or none is finite.
    """
    if images.dtype == np.uint8:
        return 0.0, 255.0
    if images.dtype == np.bool_:
        return 0.0, 1.0
    rows = spread_over(len(images), SURVEYED)
    values = np.concatenate([np.ravel(images[row]).astype(np.float64) for row in rows])
    values = values[np.abs(values) < NO_DATA]  # is false for NaN
    if not len(values):
        raise DataError(f"{path}: none of the numbers that were looked at is finite")
    if values.min() == values.max():
        raise DataError(f"{path}: all the numbers that were looked at are {values.min():g}")
    return range_of(values, images.dtype.kind in "iu")


def blank_rows(images: NDArray[np.uint8]) -> list[int]:
    """Return the positions of images of a single colour."""
    found: list[int] = []
    for start in range(0, len(images), 1000):
        pixels = images[start : start + 1000]
        flat = pixels.reshape(*pixels.shape[:2], -1)
        found += (start + np.flatnonzero((flat.min(-1) == flat.max(-1)).all(-1))).tolist()
        release(images)
    return found


def scale(images: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return numbers as uint8, from 0 for `low` to 255 for `high`; what is beyond, or no number, is cut."""
    if images.dtype == np.uint8 and (low, high) == (0, 255):
        return images
    values = images.astype(np.float32)
    values = np.where(np.abs(values) < NO_DATA, values, low)
    levels = np.rint((values - low) * (255 / (high - low)))
    scaled: NDArray[np.uint8] = levels.clip(0, 255).astype(np.uint8)
    return scaled
