"""Images of the user's own: a folder of files, or an array, with labels for a few."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.arrays import Positions, read_arrays
from gpu_ssl.data.decoding import WHITE, ImageShape
from gpu_ssl.data.encoded import ImageFiles, find_images
from gpu_ssl.data.label_file import read_labels
from gpu_ssl.data.parquet import ParquetImages, holds_parquet
from gpu_ssl.data.pixel_cache import decoded
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.memory_map import release
from gpu_ssl.runtime.progress import SILENT, Progress

UNLABELLED = -1
NO_CLASS = frozenset({"unlabelled", "unlabeled", "unknown", "unsup"})
"""Names of folders that are no classes."""


@dataclass(frozen=True)
class OwnImages:
    """Images of the user's own on the host, few of them with a label.

    Parameters
    ----------
    names : sequence of str
        Path of each image below its folder, or its position in its array.
    images : ndarray of shape (n, channels, height, width), uint8
        Their pixels; those of files lie in a memory map.
    labels : ndarray of shape (n,), int64
        Index into `class_names`, -1 where there is none.
    class_names : tuple of str
        Sorted.
    skipped : dict of str to str
        Files that are no readable images, and why.
    white : int
        Value of white in images of 16 bits; see `data.decoding.choose_white`.
    groups : ndarray of shape (n,), int64, optional
        Images of one group (a patient, a scene, a burst) are never on both sides of a fold; -1 where an
        image belongs to none.
    """

    names: Sequence[str]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    skipped: dict[str, str]
    white: int = WHITE
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height and width of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """Hash of the pixels, and of their shape."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for start in range(0, len(self.images), 1000):
            digest.update(np.ascontiguousarray(self.images[start : start + 1000]).data)
            release(self.images)
        return digest.hexdigest()

    @cached_property
    def labelled_keys(self) -> list[str]:
        """See `image_key`; of the images that have a label, in order."""
        keys = []
        for number, row in enumerate(np.flatnonzero(self.labels != UNLABELLED).tolist()):
            keys.append(image_key(self.images[row]))
            if number % 1000 == 0:
                release(self.images)
        return keys


def load_own(
    data: Path, label_file: Path | None, side: int | None = None, progress: Progress = SILENT
) -> OwnImages:
    """Read images, and the labels of a few.

    Parameters
    ----------
    data : Path
        A folder of images; an ``.npy`` or ``.npz`` file, see `read_arrays`; or a ``.parquet`` file or a
        folder of some, see `ParquetImages`.
    label_file : Path, optional
        See `read_labels`; its paths are those below `data`, or positions in the file. Without one the
        folders right below `data` name the classes of what is in them, or labels lie in the file; with one
        only those folders do that are named as a class of it, and labels in the file count for nothing.
    side : int, optional
        Longest side of the images; see `choose_shape`.
    progress : Progress
        Shows how far the decoding is.

    Raises
    ------
    DataError, UsageError
        If there are no images, or no two classes with a label, or the labels contradict each other.
    """
    try:
        is_folder, is_file = data.is_dir(), data.is_file()
    except OSError as error:
        raise DataError(f"cannot read {data}: {error.strerror}") from error
    if not is_folder and not is_file:
        raise UsageError(f"{data} does not exist; give a folder of images, or an .npy, .npz or .parquet file")
    given = read_labels(label_file) if label_file is not None else {}
    skipped: dict[str, str] = {}
    white = WHITE
    names: Sequence[str]
    if holds_parquet(data):
        rows = ParquetImages(data)
        named = _known(given, rows.names, data, label_file) if given else rows.labels()
        pixels, skipped, white = decoded(rows, side, progress)
        names = rows.names
    elif is_folder:
        files = ImageFiles(data, find_images(data))
        named = _labels_of_files(files.names, given, data, label_file)
        pixels, skipped, white = decoded(files, side, progress)
        names = files.names
    else:
        pixels, own = read_arrays(data)
        names = Positions(len(pixels))
        named = _known(given, names, data, label_file) if given else own
    if skipped:
        names = [name for name in names if name not in skipped]
    class_names = tuple(sorted({label for name, label in named.items() if name not in skipped}))
    if len(class_names) < 2:
        found = (
            f"only class {class_names[0]!r} has labelled images" if class_names else "no image has a label"
        )
        folders = ", or put images into folders named after their classes" if is_folder else ""
        raise UsageError(
            f"{data}: {found}, and a classifier needs at least 2 classes; give `labels` a CSV file with the "
            f"columns path and label{folders}"
        )
    index = {name: i for i, name in enumerate(class_names)}
    if isinstance(names, Positions):
        labels = np.full(len(names), UNLABELLED)
        labels[[int(name) for name in named]] = [index[label] for label in named.values()]
    else:
        names = tuple(names)
        labels = np.array([index[named[name]] if name in named else UNLABELLED for name in names], np.int64)
    return OwnImages(names, pixels, labels, class_names, skipped, white)


def _labels_of_files(
    names: Sequence[str], given: Mapping[str, str], folder: Path, label_file: Path | None
) -> dict[str, str]:
    """Return the labels of files: those of the label file, and those that folders stand for."""
    classes = set(given.values())
    labels = {}
    for name in names:
        first, below, _ = (
            name.encode(errors="surrogateescape").decode(errors="backslashreplace").partition("/")
        )
        if below and (first in classes if given else first.lower() not in NO_CLASS):
            labels[name] = first
    there = set(names)
    known: dict[str, str] = {}
    for name, label in given.items():
        path = name if name in there else _below(name, folder)
        if known.setdefault(path, label) != label:
            raise DataError(f"{label_file} gives {path!r} two labels, {known[path]!r} and {label!r}")
        if labels.get(path, label) != label:
            raise DataError(
                f"{path!r} lies in the folder of class {labels[path]!r}, and {label_file} says {label!r}"
            )
    return {**labels, **_known(known, names, folder, label_file)}


def _below(name: str, folder: Path) -> str:
    """Return the path of a label file as one below `folder`."""
    path = Path(name)
    for base in (folder, folder.absolute()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return path.as_posix()


def _known(
    given: Mapping[str, str], names: Sequence[str], data: Path, label_file: Path | None
) -> dict[str, str]:
    there = names if isinstance(names, Positions) else set(names)
    unknown = sorted(name for name in given if name not in there)
    if unknown:
        listed = ", ".join(repr(name) for name in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        images = "image that is" if len(unknown) == 1 else "images that are"
        hint = "; its paths have \\ where / is needed" if "\\" in unknown[0] else ""
        raise DataError(
            f"{label_file} labels {len(unknown)} {images} not in {data}: {listed}; "
            "the paths in it are those below that folder, or positions in that file, such as "
            f"{names[0]!r}{hint}"
        )
    return dict(given)


def duplicates(images: OwnImages) -> list[tuple[str, ...]]:
    """Return groups of labelled images of the same pixels that carry different labels."""
    rows = np.flatnonzero(images.labels != UNLABELLED)
    keys = images.labelled_keys
    several = {key for key, n in Counter(keys).items() if n > 1}
    groups: dict[str, list[int]] = {key: [] for key in several}
    for key, row in zip(keys, rows.tolist(), strict=True):
        if key in several:
            groups[key].append(row)
    return [
        tuple(images.names[row] for row in group)
        for group in groups.values()
        if len({int(images.labels[row]) for row in group}) > 1
    ]


def image_key(image: NDArray[np.uint8]) -> str:
    """Return a short hash of the pixels of an image."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).hexdigest()
