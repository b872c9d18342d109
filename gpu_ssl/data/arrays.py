"""Reading images or embeddings, with optional labels, from NumPy and safetensors files."""

import math
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

from gpu_ssl.data.embeddings import ArrayEmbeddings, Embeddings, in_npz, in_safetensors, may_be, read_header
from gpu_ssl.data.labels import clean, named
from gpu_ssl.data.preparation import LEAST_SIDE
from gpu_ssl.data.problems import Problem, examples
from gpu_ssl.errors import DataError, GpuSslError, lacks_memory
from gpu_ssl.runtime.memory_map import release

LARGEST = 2**30
"""Bytes that the arrays of an ``.npz`` file may take; they are inflated as a whole, but for embeddings."""

IMAGES = frozenset(("x", "image", "images", "img", "imgs", "data"))
LABELS = frozenset(
    ("y", "label", "labels", "target", "targets", "class", "classes", "category", "categories")
)
UNNAMED = re.compile(r"arr_[0-9]+")
NAMES = frozenset(("names", "filenames", "paths", "files"))
SAFETENSORS = ".safetensors"
PARTS = ("train", "val", "test", "dev")
"""Words in array names that mark images, labels, file names and parts of a data set; NumPy's own names are
`UNNAMED`."""


@dataclass(frozen=True)
class ArrayImages:
    """Images and optional labels of a NumPy or safetensors file.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), or Embeddings
        Values of any real dtype, as stored in the file.
    labels : dict of str to str
        Label of each labelled image, by position.
    taken_as_none : mapping of str to int
        How often each word was read as a missing label.
    unused : tuple of str
        Names of arrays that are ignored.
    """

    pixels: NDArray[Any] | Embeddings
    labels: dict[str, str]
    taken_as_none: Mapping[str, int] = field(default_factory=Counter)
    unused: tuple[str, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """What of the file is not used."""
        message = f"unused arrays: {examples(self.unused)}"
        return [Problem("unused-arrays", len(self.unused), self.unused, message)] if self.unused else []


def read_arrays(path: Path, prefer_embeddings: bool = False, labels_too: bool = True) -> ArrayImages:
    """Read images or embeddings, with optional labels, from a NumPy or safetensors file.

    An ``.npz`` file holds an array of images and optionally an array of labels: numbers or words, of shape
    (n,) or (n, 1). If there are several, those named as training data are used, such as ``x_train`` and
    ``y_train`` or ``train_images`` and ``train_labels``. Labels have a word of `LABELS` in their name, or
    NumPy's own name ``arr_1``; other arrays are not used. Without an array of images, a float array of shape
    (n, d) is read as embeddings.

    Parameters
    ----------
    path : Path
        The file.
    prefer_embeddings : bool
        Whether embeddings are read even if the file also holds images.
    labels_too : bool
        Whether labels are read.

    Raises
    ------
    DataError
        If the file holds no such arrays, or it is ambiguous which to use.
    """
    arrays = _arrays_in(path)
    images_in = {name: array for name, array in arrays.items() if _is_images(array)}
    rows_in = {name: array for name, array in arrays.items() if isinstance(array, Embeddings)}
    chosen = (rows_in or images_in) if prefer_embeddings else (images_in or rows_in)
    if len(chosen) > 1:
        chosen = {name: array for name, array in chosen.items() if "train" in name.lower()}
    if len(chosen) > 1:
        chosen = {name: array for name, array in chosen.items() if IMAGES & set(_words(name))} or chosen
    if len(chosen) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError(
            f"{path}: expected one array of images (or one with train in its name) and at most one of "
            f"labels, got {shapes}{_advice(arrays)}"
        )
    ((name, found),) = chosen.items()
    images = found if isinstance(found, Embeddings) else _channels_first(found, path)
    others = {key: a for key, a in arrays.items() if key != name and not _is_images(a)}
    others = {key: a for key, a in others.items() if not isinstance(a, Embeddings)}
    # Arrays of another part of the data set, and arrays of file names, are not labels of these images.
    part = _part(name)
    others = {key: a for key, a in others.items() if _part(key) in ("", part or _part(key))}
    others = {key: a for key, a in others.items() if NAMES.isdisjoint(_words(key))}
    others = {key: a for key, a in others.items() if LABELS & set(_words(key)) or UNNAMED.fullmatch(key)}
    if len(others) > 1:
        others = {key: a for key, a in others.items() if _role(key) == _role(name)} or others
    unused = tuple(key for key in arrays if key != name and key not in others)
    if not labels_too:
        others = {}
    if len(others) > 1:
        raise DataError(f"{path} holds several arrays that may be labels: {', '.join(others)}; keep only one")
    labels = next(iter(others.values()), np.full(len(images), -1))
    return ArrayImages(images, *_labels_of(labels, len(images), path), unused=unused)


def _reason(error: Exception) -> str:
    """Return why NumPy cannot read a file, and what to do, in terms of the file."""
    told = str(error)
    if "mmap length is greater" in told:
        return "it is truncated"
    if "Python objects" in told:
        return "it holds Python objects; give all images one size, and save them as one array of numbers"
    return told + ("; save text with `.astype(str)`" if "allow_pickle" in told else "")


def _arrays_in(path: Path) -> dict[str, Any]:
    """Return the arrays of a file; embeddings are not read yet."""
    if path.suffix.lower() == SAFETENSORS:
        return in_safetensors(path)
    with suppress(OSError), path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY" and not zipfile.is_zipfile(path):
            raise DataError(f"{path} is neither an image nor an .npy, .npz, .parquet or {SAFETENSORS} file")
    arrays: dict[str, Any]
    try:
        content = np.load(path, mmap_mode="c", allow_pickle=False)
        if isinstance(content, np.lib.npyio.NpzFile):
            _check_size(path)
            rows = in_npz(path)
            arrays = {name: rows[name] if name in rows else content[name] for name in content.files}
        else:
            arrays = {"images": content}
    except GpuSslError:
        raise
    except Exception as error:  # a damaged file makes NumPy raise exceptions of many types
        if lacks_memory(error):
            raise MemoryError(str(error)) from error
        raise DataError(f"{path} is not a readable .npy or .npz file: {_reason(error)}") from error
    if not all(isinstance(array, np.ndarray | Embeddings) for array in arrays.values()):
        raise DataError(f"{path} holds an object that is not an array; save only arrays")
    return {
        name: ArrayEmbeddings(path, name, array)
        if isinstance(array, np.ndarray) and may_be(array.shape, array.dtype)
        else array
        for name, array in arrays.items()
    }


def _check_size(path: Path) -> None:
    """Refuse an ``.npz`` file that inflates to more than fits, or to more than it holds.

    Raises
    ------
    DataError
        If its arrays, but for embeddings, take more than `LARGEST` bytes, or fewer than their headers say.
    """
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as file:
                shape, by_columns, dtype = read_header(file)
            size = math.prod(shape) * dtype.itemsize
            if size > member.file_size:
                raise DataError(f"{path} is damaged: {member.filename} is shorter than its header says")
            if by_columns or not may_be(shape, dtype):
                total += size
    if total > LARGEST:
        raise DataError(
            f"the arrays in {path} take {total / 2**30:.1f} GiB, and at most {LARGEST / 2**30:.0f} GiB of an "
            ".npz file are decompressed; save each as .npy, which is read as needed"
        )


def _is_images(array: Any) -> bool:
    return array.ndim in (3, 4)


def _advice(arrays: Mapping[str, Any]) -> str:
    """Return advice for two-dimensional integer arrays, or an empty string if there are none."""
    found = [array for array in arrays.values() if isinstance(array, np.ndarray)]
    if any(array.ndim == 2 and array.dtype.kind in "iub" for array in found):
        return "; reshape flat pixels to (n, height, width), or save embeddings as float"
    return ""


def _words(name: str) -> list[str]:
    """Return the words of an array name, such as train and x for trainX and x_train."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


def _role(name: str) -> str:
    """Return the name of an array without the words for images and labels."""
    return "_".join(word for word in _words(name) if word not in IMAGES | LABELS)


def _part(name: str) -> str:
    """Return the part of the data set that an array name mentions, or an empty string."""
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
            f"{path}: expected labels of shape ({n},), whole numbers or words, got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    words = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in labels.tolist()]
    return named(words, _written)


def _written(label: object) -> str:
    return str(int(label)) if isinstance(label, float) else clean(str(label))


def _channels_first(images: NDArray[Any], path: Path) -> NDArray[Any]:
    if images.dtype.kind not in "uifb":
        raise DataError(f"{path}: expected images of a real dtype, got {images.dtype}")
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.shape[1] not in (1, 3) or not len(images) or min(images.shape[2:]) < LEAST_SIDE:
        raise DataError(
            f"{path}: expected at least one image, with 1 or 3 channels and sides of at least {LEAST_SIDE} "
            f"pixels, got shape {images.shape}"
        )
    # torch shares memory only with writable arrays. A memory map stays one, whatever its layout.
    return np.require(images, requirements=["W"])


def blank_rows(images: NDArray[np.uint8]) -> list[int]:
    """Return the positions of single-colour images."""
    found: list[int] = []
    for start in range(0, len(images), 1000):
        pixels = images[start : start + 1000]
        flat = pixels.reshape(*pixels.shape[:2], -1)
        found += (start + np.flatnonzero((flat.min(-1) == flat.max(-1)).all(-1))).tolist()
        release(images)
    return found
