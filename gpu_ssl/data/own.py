"""Loading a user's images or embeddings with a few labels."""

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
from gpu_ssl.data.encoded import ImageFiles, files_of
from gpu_ssl.data.findings import of_copies, of_decoding, of_folders, of_labels, of_tables
from gpu_ssl.data.label_file import read_labels, settle
from gpu_ssl.data.labels import class_problems as of_classes
from gpu_ssl.data.matching import match, of_numbering
from gpu_ssl.data.names import AmbiguousNameError, NameIndex
from gpu_ssl.data.originals import Originals
from gpu_ssl.data.parquet import ParquetImages
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.preparation import AS_IS, ImageShape, Preparation
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.memory_map import release
from gpu_ssl.runtime.progress import SILENT, Progress

UNLABELLED = -1
COMPARED = 200_000
"""Maximum number of images for finding duplicates among all; of more, only labelled images are compared."""


@dataclass(frozen=True)
class OwnImages:
    """A user's images or embeddings on the host, a few of them labelled.

    Parameters
    ----------
    names : sequence of str
        Path of each image below its folder, or its position in the file.
    images : ndarray of shape (n, channels, height, width), uint8; or (n, 1, 1, width), float32
        Pixels or precomputed embeddings; a memory map if they were read from files.
    labels : ndarray of shape (n,), int64
        Index into `class_names`, -1 for unlabelled images.
    class_names : tuple of str
        Names of the classes, sorted.
    skipped : dict of str to str
        Files that cannot be read as images, and the reason.
    how : Preparation
        How the images were converted to uint8 arrays.
    groups : ndarray of shape (n,), int64, optional
        Group of each image (a patient, a scene, a burst), -1 for none. The images of a group are always on
        the same side of a fold.
    problems : tuple of Problem
        Problems to report to the user.
    originals : Originals, optional
        The same images at other sizes; None for arrays and embeddings.
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
    def full_shape(self) -> ImageShape:
        """The usual shape of the images before they were resized; see `preparation.Preparation`."""
        return self.how.usual_shape or self.image_shape

    @property
    def are_embeddings(self) -> bool:
        """Whether `images` holds embeddings rather than pixels."""
        return are_embeddings(self.images)

    def index(self, place: Path) -> NameIndex:
        """Return an index of the images in `place` by name, as label files name them.

        The index includes files that cannot be read.
        """
        encoded = None if self.originals is None else self.originals.encoded
        pages = encoded.pages if isinstance(encoded, ImageFiles) else {}
        return NameIndex(self.names, place, files_of(pages), self.skipped)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the shape and the pixels."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for start in range(0, len(self.images), 1000):
            digest.update(np.ascontiguousarray(self.images[start : start + 1000]).data)
            release(self.images)
        return digest.hexdigest()

    @cached_property
    def labelled_keys(self) -> list[str]:
        """The `image_key` of each labelled image, in order."""
        return self.keys(np.flatnonzero(self.labels != UNLABELLED))

    def keys(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the `image_key` of each image at the positions `rows`."""
        keys = []
        for number, row in enumerate(rows.tolist()):
            keys.append(image_key(self.images[row]))
            if number % 1000 == 0:
                release(self.images)
        return keys


def load_own(
    data: Path, label_files: Sequence[Path] = (), reading: Reading = USUAL, progress: Progress = SILENT
) -> OwnImages:
    """Read images or embeddings and their labels, and check them.

    Parameters
    ----------
    data : Path
        A folder of images; an array file, see `read_arrays`; or one or a folder of ``.parquet`` files, see
        `ParquetImages` and `ParquetEmbeddings`.
    label_files : sequence of Path
        Label files, see `read_labels`, with paths relative to `data` or positions in the file. Without label
        files, labels come from folder names (see `folder_classes`) or from the data file. With label files,
        labels in the data file are ignored, and folder names are used only with `reading.folders_too`.
    reading : Reading
        Options for reading.
    progress : Progress
        Shows the progress of decoding.

    Raises
    ------
    DataError, UsageError
        If there are no images, or a label file cannot be read or names no image.
    """
    collection = open_collection(data, replace(reading, label_files=bool(label_files)), progress)
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
        The images; groups and problems are kept.
    labels : mapping of str to str
        Class by image name.
    """
    class_names = tuple(sorted(set(labels.values())))
    codes = _codes(images.names, labels, {name: i for i, name in enumerate(class_names)})
    return replace(images, labels=codes, class_names=class_names)


def require_classes(images: OwnImages, data: Path) -> None:
    """Check that at least two classes have labelled images.

    Raises
    ------
    UsageError
        If there are fewer.
    """
    if len(images.class_names) < 2:
        found = (
            f"only class {images.class_names[0]!r} has labelled images"
            if images.class_names
            else "no image has a label"
        )
        folders = ", or put images into folders named after their classes" if data.is_dir() else ""
        raise UsageError(
            f"{data}: {found}, but a classifier needs at least 2 classes; pass `labels` a CSV file with the "
            f"columns path and label{folders}. To choose images to label first, run: gpu-ssl suggest {data}"
        )


def _codes(names: Sequence[str], known: Mapping[str, str], index: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the index of each image's class or group, -1 for none."""
    if isinstance(names, Positions):
        codes = np.full(len(names), UNLABELLED)
        codes[[int(name) for name in known]] = [index[label] for label in known.values()]
        return codes
    return np.array([index[known[name]] if name in known else UNLABELLED for name in names], np.int64)


def _labels(
    collection: Collection, label_files: Sequence[Path], reading: Reading
) -> tuple[dict[str, str], dict[str, str], list[Problem]]:
    """Return the labels and groups by image name, and the problems found."""
    pages = {page: file for file, names in collection.files.items() for page in names}
    if not label_files:
        counts = Counter(collection.labels.values())
        return (
            collection.labels,
            {**pages, **collection.groups},
            [*of_tables(collection.tables), *of_classes(counts, collection.taken_as_none)],
        )
    index = NameIndex(collection.names, collection.place, collection.files, collection.left_out)

    def is_image(name: str) -> bool:
        with suppress(AmbiguousNameError):
            return bool(index.find(name))
        return False

    given = read_labels(label_files, reading.columns, is_image)
    if isinstance(collection.encoded, ParquetImages) and (
        column := collection.encoded.other_numbers(given.name_columns)
    ):
        raise DataError(
            f"`labels` names images by {column!r}, but column {column} of {collection.place} does not hold "
            "the positions of its rows, which name them: give the position of each row, from 0"
        )
    votes, groups, misplaced = match(given, index, collection.place, collection.example)
    labels, problems = settle(votes)
    numbering = of_numbering(given) if isinstance(collection.names, Positions) else []
    problems = [*given.problems, *numbering, *misplaced, *problems]
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
    """Return a short hash of the pixels of an image, or of an embedding."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).hexdigest()
