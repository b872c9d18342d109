"""Images of the user's own: a folder of files, or an array, with labels for a few."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.collection import USUAL, Collection, Reading, open_collection
from gpu_ssl.data.embeddings import are_embeddings
from gpu_ssl.data.findings import of_copies, of_decoding, of_folders, of_labels, of_tables
from gpu_ssl.data.label_file import read_labels, settle
from gpu_ssl.data.labels import class_problems as of_classes
from gpu_ssl.data.matching import match
from gpu_ssl.data.names import AmbiguousNameError, NameIndex
from gpu_ssl.data.originals import Originals
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.preparation import AS_IS, ImageShape, Preparation
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.memory_map import release
from gpu_ssl.runtime.progress import SILENT, Progress

UNLABELLED = -1
COMPARED = 200_000
"""Images up to which copies are looked for among all of them; of more, among those with a label."""


@dataclass(frozen=True)
class OwnImages:
    """Images of the user's own on the host, few of them with a label.

    Parameters
    ----------
    names : sequence of str
        Path of each image below its folder, or its position in its array.
    images : ndarray of shape (n, channels, height, width), uint8; or (n, 1, 1, width), float32
        Their pixels, or embeddings of another program; those of files lie in a memory map.
    labels : ndarray of shape (n,), int64
        Index into `class_names`, -1 where there is none.
    class_names : tuple of str
        Sorted.
    skipped : dict of str to str
        Files that are no readable images, and why.
    how : Preparation
        How they became uint8 arrays.
    groups : ndarray of shape (n,), int64, optional
        Images of one group (a patient, a scene, a burst) are never on both sides of a fold; -1 where an
        image belongs to none.
    problems : tuple of Problem
        What the user should know of them.
    originals : Originals, optional
        The same images at any size; arrays have none.
    """

    names: Sequence[str]
    images: NDArray[Any]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    skipped: dict[str, str]
    how: Preparation = AS_IS
    groups: NDArray[np.int64] | None = None
    problems: tuple[Problem, ...] = ()
    originals: Originals | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image_shape(self) -> ImageShape:
        """Channels, height and width of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def are_embeddings(self) -> bool:
        """Whether they are embeddings, not pixels."""
        return are_embeddings(self.images)

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
        return self.keys(np.flatnonzero(self.labels != UNLABELLED))

    def keys(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the `image_key` of each of some images."""
        keys = []
        for number, row in enumerate(rows.tolist()):
            keys.append(image_key(self.images[row]))
            if number % 1000 == 0:
                release(self.images)
        return keys


def load_own(
    data: Path, label_files: Sequence[Path] = (), reading: Reading = USUAL, progress: Progress = SILENT
) -> OwnImages:
    """Read images, and the labels of a few.

    Parameters
    ----------
    data : Path
        A folder of images; a file of arrays, see `read_arrays`; or a ``.parquet`` file or a folder of some,
        see `ParquetImages` and `ParquetEmbeddings`.
    label_files : sequence of Path
        See `read_labels`; the paths in them are those below `data`, or positions in the file. Without one
        folders name the classes of what is in them (see `folder_classes`), or labels lie in the file. With
        one, labels in the file count for nothing, and folders only with `reading.folders_too`.
    reading : Reading
        How to read them.
    progress : Progress
        Shows how far the decoding is.

    Raises
    ------
    DataError, UsageError
        If there are no images, or a file of labels cannot be read or names none of them.
    """
    collection = open_collection(data, reading, progress)
    labels, groups, problems = _labels(collection, label_files, reading)
    decoding = collection.decode(progress)
    skipped = decoding.skipped
    names: Sequence[str] = collection.names
    if skipped or not isinstance(names, Positions):
        names = tuple(name for name in names if name not in skipped)
    readable = names if isinstance(names, Positions) else set(names)
    known = {name: label for name, label in labels.items() if name in readable}
    class_names = tuple(sorted(set(known.values())))
    codes = _codes(names, known, {name: i for i, name in enumerate(class_names)})
    numbers = {name: i for i, name in enumerate(sorted(set(groups.values())))}
    counts = dict(
        zip(class_names, np.bincount(codes[codes >= 0], minlength=len(class_names)).tolist(), strict=True)
    )
    found = [
        *collection.problems,
        *of_decoding(decoding),
        *problems,
        *of_labels(counts, {name: label for name, label in labels.items() if name not in known}),
    ]
    encoded = collection.encoded
    originals = None if encoded is None else Originals(encoded, decoding.how, frozenset(skipped))
    images = OwnImages(
        names,
        decoding.pixels,
        codes,
        class_names,
        {**collection.left_out, **skipped},
        decoding.how,
        _codes(names, groups, numbers) if groups else None,
        originals=originals,
    )
    rows = np.arange(len(images)) if len(images) <= COMPARED else np.flatnonzero(codes != UNLABELLED)
    keys = images.keys(rows)
    found += of_copies(names, images.images, keys, rows, codes, decoding.blank)
    return replace(images, problems=tuple(found))


def with_labels(images: OwnImages, labels: Mapping[str, str]) -> OwnImages:
    """Return the same images with other labels.

    Parameters
    ----------
    images : OwnImages
        The images; their groups stay, and what is to be told of them does not change.
    labels : mapping of str to str
        Classes by the name of an image.
    """
    class_names = tuple(sorted(set(labels.values())))
    codes = _codes(images.names, labels, {name: i for i, name in enumerate(class_names)})
    return replace(images, labels=codes, class_names=class_names)


def require_classes(images: OwnImages, data: Path) -> None:
    """Refuse images of fewer than two classes.

    Raises
    ------
    UsageError
        If no two classes have a label.
    """
    if len(images.class_names) < 2:
        found = (
            f"only class {images.class_names[0]!r} has labelled images"
            if images.class_names
            else "no image has a label"
        )
        folders = ", or put images into folders named after their classes" if data.is_dir() else ""
        raise UsageError(
            f"{data}: {found}, and a classifier needs at least 2 classes; give `labels` a CSV file with the "
            f"columns path and label{folders}. To choose which images to label first: gpu-ssl suggest {data}"
        )


def _codes(names: Sequence[str], known: Mapping[str, str], index: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the number of each image's class or group, -1 where it has none."""
    if isinstance(names, Positions):
        codes = np.full(len(names), UNLABELLED)
        codes[[int(name) for name in known]] = [index[label] for label in known.values()]
        return codes
    return np.array([index[known[name]] if name in known else UNLABELLED for name in names], np.int64)


def _labels(
    collection: Collection, label_files: Sequence[Path], reading: Reading
) -> tuple[dict[str, str], dict[str, str], list[Problem]]:
    """Return labels and groups by the names of images and files, and what is to be told of them."""
    pages = {page: file for file, own in collection.files.items() for page in own}
    if not label_files:
        counts = Counter(collection.labels.values())
        return (
            collection.labels,
            pages,
            [*of_tables(collection.tables), *of_classes(counts, collection.taken_as_none)],
        )
    index = NameIndex(collection.names, collection.place, collection.files, collection.left_out)

    def is_image(name: str) -> bool:
        with suppress(AmbiguousNameError):
            return bool(index.find(name))
        return False

    given = read_labels(label_files, reading.columns, is_image)
    votes, groups = match(given, index, collection.place, collection.names[0])
    labels, problems = settle(votes)
    problems = [*given.problems, *problems]
    if collection.by_folders:
        overruled = [name for name, label in labels.items() if collection.labels.get(name, label) != label]
        others = {name: label for name, label in collection.labels.items() if name not in labels}
        if not reading.folders_too:
            classes = set(labels.values())
            others = {name: label for name, label in others.items() if label in classes}
        problems += of_folders(overruled, others, reading.folders_too)
        if reading.folders_too:
            labels = {**others, **labels}
    return (
        labels,
        {**pages, **groups},
        [*problems, *of_classes(Counter(labels.values()), given.taken_as_none)],
    )


def image_key(image: NDArray[Any]) -> str:
    """Return a short hash of the pixels of an image, or of the numbers of an embedding."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).hexdigest()
