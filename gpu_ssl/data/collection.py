"""Finding the images, embeddings and labels in a user's folder or file, before any image is decoded."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.array_range import range_in
from gpu_ssl.data.arrays import blank_rows, read_arrays
from gpu_ssl.data.embedding_map import mapped
from gpu_ssl.data.embeddings import Embeddings
from gpu_ssl.data.encoded import EncodedImages, files_of, image_files
from gpu_ssl.data.folder import found_problems
from gpu_ssl.data.folder_classes import folder_classes, split_files
from gpu_ssl.data.label_columns import NO_COLUMNS, Columns
from gpu_ssl.data.opening import is_image_file, opened
from gpu_ssl.data.parquet import ParquetImages, holds_parquet
from gpu_ssl.data.parquet_embeddings import parquet_embeddings
from gpu_ssl.data.parquet_file import opened as opened_parquet
from gpu_ssl.data.pixel_cache import Decoding, decoded, scaled, surveyed
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.preparation import AS_IS, ImageShape, Preparation
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.progress import SILENT, Progress

TRIED = 20
"""Maximum number of files that are opened to find a readable one for a message."""


@dataclass(frozen=True)
class Reading:
    """Options for reading a user's images and labels.

    Parameters
    ----------
    image_size : int, optional
        Longest side of the images; see `data.preparation.choose_shape`.
    how : Preparation
        Options that are not chosen from the images: which pages of a file are read, and whether large
        images are.
    columns : Columns
        Columns of label files and Parquet files, where given by the user.
    folders_too : bool
        Whether folder names label the images that a label file leaves unlabelled.
    label_files : bool
        Whether labels come from label files: those in an array or Parquet file are not read then.
    """

    image_size: int | None = None
    how: Preparation = AS_IS
    columns: Columns = NO_COLUMNS
    folders_too: bool = False
    label_files: bool = False


USUAL = Reading()


class _Decode(Protocol):
    def __call__(self, progress: Progress) -> Decoding: ...


@dataclass(frozen=True)
class Collection:
    """Images or embeddings before decoding.

    Parameters
    ----------
    place : Path
        Folder or file.
    names : sequence of str
        Name of each image.
    labels : dict of str to str
        Labels by image name, from folders, columns or arrays.
    decode : callable
        Decodes the images and reports progress.
    groups : dict of str to str
        Groups by image name, from a column.
    by_folders : bool
        Whether the labels come from folder names.
    files : mapping of str to sequence of str
        Files with several images (pages), and the names of these images.
    left_out : dict of str to str
        Files that are not read, and the reason.
    problems : list of Problem
        Problems to report to the user.
    tables : sequence of str
        Files next to the images that may hold labels.
    taken_as_none : mapping of str to int
        How often each word was read as a missing label.
    encoded : EncodedImages, optional
        The encoded images, if they can be decoded again at another size.
    """

    place: Path
    names: Sequence[str]
    labels: dict[str, str]
    decode: _Decode
    groups: dict[str, str] = field(default_factory=dict)
    by_folders: bool = False
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    tables: Sequence[str] = ()
    taken_as_none: Mapping[str, int] = field(default_factory=dict)
    encoded: EncodedImages | None = None

    def example(self) -> str:
        """Return the name of one of the first images that can be read, for messages; else of the first."""
        sources = () if self.encoded is None else self.encoded.sources()
        for name, source in islice(zip(self.names, sources, strict=False), TRIED):
            with suppress(Exception), opened(source) as image:  # damaged files are reported elsewhere
                image.load()
                return name
        return self.names[0]


def open_collection(data: Path, reading: Reading = USUAL, progress: Progress = SILENT) -> Collection:
    """Find images or embeddings in a folder of images, an array file, or one or more Parquet files.

    Raises
    ------
    UsageError, DataError
        If there are none.
    """
    try:
        is_folder, is_file = data.is_dir(), data.is_file()
    except OSError as error:
        raise DataError(f"cannot read {data}: {error.strerror}") from error
    if not is_folder and not is_file:
        raise UsageError(
            f"{data} does not exist; give a folder of images, or an .npy, .npz, .parquet or .safetensors file"
        )
    if holds_parquet(data):
        return _parquet(data, reading)
    if is_file and is_image_file(data):
        raise UsageError(f"{data} is a single image; give the folder that contains it")
    if not reading.label_files:
        _refuse_columns(data, reading.columns)
    return _folder(data, reading, progress) if is_folder else _arrays(data, not reading.label_files)


def embeddings_in(data: Path, columns: Columns = NO_COLUMNS) -> tuple[Embeddings | None, list[Problem]]:
    """Return the embeddings in a file or a folder of Parquet files, and what of it is not used.

    There are no embeddings if it holds something else only.

    Raises
    ------
    UsageError, DataError
        If the path does not exist, or cannot be read.
    """
    if not data.exists():
        raise UsageError(f"{data} does not exist")
    if holds_parquet(data):
        return parquet_embeddings(data, columns), []
    if data.is_dir() or is_image_file(data):
        return None, []
    found = read_arrays(data, prefer_embeddings=True)
    return (found.pixels, found.problems) if isinstance(found.pixels, Embeddings) else (None, [])


def look_at(data: Path, reading: Reading = USUAL) -> tuple[ImageShape, Preparation]:
    """Return the common image shape and the preparation chosen for a folder or file, without decoding it.

    Raises
    ------
    UsageError, DataError
        If there are none.
    """
    collection = open_collection(data, reading)
    if collection.encoded is not None:
        return surveyed(collection.encoded, reading.image_size, reading.how)
    pixels = None if holds_parquet(data) else read_arrays(data).pixels
    if pixels is None or isinstance(pixels, Embeddings):
        raise UsageError(f"{data} holds embeddings; expected images")
    channels, height, width = pixels.shape[1:]
    return (channels, height, width), reading.how


def _refuse_columns(data: Path, columns: Columns) -> None:
    """Refuse names of columns without a file that has columns."""
    options = {
        "`path_column`": columns.path,
        "`label_column`": columns.label,
        "`group_column`": columns.group,
    }
    for option, name in options.items():
        if name is not None:
            raise UsageError(
                f"{option} {name!r}: {data} has no columns, only label files and Parquet files have; leave "
                "it out, or give a label file with `labels`"
            )


def _folder(data: Path, reading: Reading, progress: Progress) -> Collection:
    images, found = image_files(data, reading.how.pages == "all", progress)
    labels, problems = folder_classes(images.names)
    if reading.label_files and not reading.folders_too:
        problems = []
    return Collection(
        data,
        images.names,
        labels,
        partial(decoded, images, reading.image_size, reading.how),
        by_folders=True,
        files=files_of(images.pages),
        left_out=found.left_out,
        problems=[*found_problems(found), *problems],
        tables=sorted(found.tables),
        encoded=images,
    )


def _parquet(data: Path, reading: Reading) -> Collection:
    columns = reading.columns
    if reading.label_files:  # the columns may be those of the label files
        columns = Columns(path=columns.path if columns.path in _columns_in(data) else None)
    embeddings = parquet_embeddings(data, columns)
    images = ParquetImages(data, columns)
    rows = images if embeddings is None else embeddings
    decode: _Decode = partial(decoded, images, reading.image_size, reading.how)
    if embeddings is not None:
        decode = partial(mapped, embeddings)
    if not rows.names:
        raise DataError(f"{data} holds no rows")
    encoded = images if embeddings is None else None
    if reading.label_files:
        return Collection(data, rows.names, {}, decode, encoded=encoded)
    labels, nothing = rows.labels()
    problems = split_files([path.name for path, _ in images.shards])
    others = rows.could_be_labels()
    if len(others) > 1 and not columns.label:
        message = f"columns that may hold labels: {', '.join(others)}; choose one with `label_column`"
        problems.append(Problem("columns", len(others), tuple(others), message))
    return Collection(
        *(data, rows.names, labels, decode, rows.groups()),
        problems=problems,
        taken_as_none=nothing,
        encoded=encoded,
    )


def _columns_in(data: Path) -> list[str]:
    """Return the columns of a Parquet file, or of the first in a folder."""
    for path, _ in ParquetImages(data).shards:
        with opened_parquet(path) as file:
            return list(file.schema_arrow.names)
    return []


def _arrays(data: Path, labels_too: bool) -> Collection:
    found = read_arrays(data, labels_too=labels_too)
    numbers = found.pixels
    problems = found.problems
    if isinstance(numbers, Embeddings):
        names, decode = numbers.names, partial(mapped, numbers)
        labels = {names[int(row)]: label for row, label in found.labels.items()}
    else:
        names, decode = Positions(len(numbers)), partial(_as_pixels, numbers, data, *range_in(numbers, data))
        labels = found.labels
    return Collection(data, names, labels, decode, problems=problems, taken_as_none=found.taken_as_none)


def _as_pixels(images: NDArray[Any], data: Path, low: float, high: float, progress: Progress) -> Decoding:
    # The range is saved with the model, so that images to predict are scaled in the same way.
    how = Preparation() if images.dtype == np.uint8 else Preparation(low=low, high=high)
    pixels = scaled(images, data, low, high, progress)
    return Decoding(pixels, how, {}, tuple(map(str, blank_rows(pixels))))
