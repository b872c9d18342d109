"""The images in a folder or file of the user's, before any is decoded, and the labels that lie with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from gpu_ssl.data.arrays import Positions, blank_rows, range_in, read_arrays
from gpu_ssl.data.encoded import EncodedImages, image_files
from gpu_ssl.data.folder import found_problems
from gpu_ssl.data.folder_classes import folder_classes
from gpu_ssl.data.label_file import NO_COLUMNS, Columns
from gpu_ssl.data.opening import is_image_file
from gpu_ssl.data.parquet import ParquetImages, holds_parquet
from gpu_ssl.data.pixel_cache import Decoding, decoded, scaled
from gpu_ssl.data.preparation import AS_IS, Preparation
from gpu_ssl.data.problems import Problem, examples
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.progress import SILENT, Progress


@dataclass(frozen=True)
class Reading:
    """How to read images and labels of the user's own.

    Parameters
    ----------
    image_size : int, optional
        Longest side of the images; see `data.preparation.choose_shape`.
    how : Preparation
        What is not chosen by looking at the images: which pages of a file count, whether large ones do.
    columns : Columns
        Columns of label files and of Parquet files, where the user names them.
    folders_too : bool
        Whether, with a label file, folders name the classes of images that it does not label.
    """

    image_size: int | None = None
    how: Preparation = AS_IS
    columns: Columns = NO_COLUMNS
    folders_too: bool = False


USUAL = Reading()


class _Decode(Protocol):
    def __call__(self, progress: Progress) -> Decoding: ...


@dataclass(frozen=True)
class Collection:
    """Images that are not decoded yet.

    Parameters
    ----------
    place : Path
        Folder or file.
    names : sequence of str
        One name each.
    labels : dict of str to str
        Labels by name, from folders, columns or arrays.
    decode : callable
        Decodes them, and shows how far it is.
    by_folders : bool
        Whether folders gave the labels.
    files : mapping of str to sequence of str
        Files that hold several of the images, and these.
    left_out : dict of str to str
        Files that are not read, and why.
    problems : list of Problem
        What is to be told.
    tables : sequence of str
        Files beside the images that may hold labels.
    taken_as_none : mapping of str to int
        How often words of the file stand for no label.
    encoded : EncodedImages, optional
        The images, where they can be decoded anew.
    """

    place: Path
    names: Sequence[str]
    labels: dict[str, str]
    decode: _Decode
    by_folders: bool = False
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    tables: Sequence[str] = ()
    taken_as_none: Mapping[str, int] = field(default_factory=dict)
    encoded: EncodedImages | None = None


def open_collection(data: Path, reading: Reading = USUAL, progress: Progress = SILENT) -> Collection:
    """Look for images in a folder, an ``.npy``, ``.npz`` or ``.parquet`` file, or a folder of the latter.

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
        raise UsageError(f"{data} does not exist; give a folder of images, or an .npy, .npz or .parquet file")
    if holds_parquet(data):
        return _parquet(data, reading)
    if is_file and is_image_file(data):
        raise UsageError(f"{data} is a single image; give the folder it lies in")
    return _folder(data, reading, progress) if is_folder else _arrays(data)


def _folder(data: Path, reading: Reading, progress: Progress) -> Collection:
    images, found = image_files(data, reading.how.pages == "all", progress)
    labels, problems = folder_classes(images.names)
    files: dict[str, list[str]] = {}
    for page, (file, _) in images.pages.items():
        files.setdefault(file, []).append(page)
    return Collection(
        data,
        images.names,
        labels,
        partial(decoded, images, reading.image_size, reading.how),
        True,
        files,
        found.left_out,
        [*found_problems(found), *problems],
        sorted(found.tables),
        encoded=images,
    )


def _parquet(data: Path, reading: Reading) -> Collection:
    rows = ParquetImages(data, reading.columns)
    decode = partial(decoded, rows, reading.image_size, reading.how)
    if not rows.names:
        raise DataError(f"{data} holds no rows")
    labels, nothing = rows.labels()
    problems = []
    columns = rows.could_be_labels()
    if len(columns) > 1 and not reading.columns.label:
        message = f"columns that could be labels: {', '.join(columns)}; `label_column` names one"
        problems.append(Problem("columns", len(columns), tuple(columns), message))
    return Collection(
        data, rows.names, labels, decode, problems=problems, taken_as_none=nothing, encoded=rows
    )


def _arrays(data: Path) -> Collection:
    found = read_arrays(data)
    low, high = range_in(found.pixels, data)
    problems = []
    if found.unused:
        message = f"arrays that are not used: {examples(found.unused)}"
        problems.append(Problem("unused-arrays", len(found.unused), found.unused, message))

    def decode(progress: Progress) -> Decoding:
        # What a model is applied to later is scaled by the same numbers.
        how = Preparation() if found.pixels.dtype == np.uint8 else Preparation(low=low, high=high)
        pixels = scaled(found.pixels, data, low, high, progress)
        return Decoding(pixels, how, {}, tuple(map(str, blank_rows(pixels))))

    return Collection(
        data,
        Positions(len(found.pixels)),
        found.labels,
        decode,
        problems=problems,
        taken_as_none=found.taken_as_none,
    )
