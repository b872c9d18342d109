"""Encoded images, wherever they lie: files below a folder, or rows of a Parquet file."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from gpu_ssl.data.decoding import Source, suffixes
from gpu_ssl.errors import DataError

SURVEYED = 1000
"""Images whose headers decide on a shape."""


class EncodedImages(Protocol):
    """Images to decode, each with a name of its own."""

    @property
    def place(self) -> Path:
        """Folder or file that they lie in."""

    @property
    def names(self) -> Sequence[str]:
        """Their names, in order."""

    @property
    def files(self) -> Sequence[str]:
        """The files below `place` that they lie in; "" is `place` itself."""

    def sources(self) -> Iterator[Source]:
        """Give each image, in the order of `names`."""

    def survey(self) -> list[Source]:
        """Return some of them, from all over."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files, `names` below the folder `place`."""

    place: Path
    names: Sequence[str]

    @property
    def files(self) -> Sequence[str]:
        """See `EncodedImages`."""
        return self.names

    def sources(self) -> Iterator[Path]:
        """See `EncodedImages`."""
        return (self.place / name for name in self.names)

    def survey(self) -> list[Source]:
        """See `EncodedImages`."""
        return [self.place / self.names[i] for i in spread_over(len(self.names), SURVEYED)]


def spread_over(n: int, most: int) -> list[int]:
    """Return at most `most` of the positions 0 to n - 1, from all over."""
    rows: list[int] = np.unique(np.linspace(0, n - 1, min(most, n)).astype(int)).tolist()
    return rows


def find_images(folder: Path) -> list[str]:
    """Return the paths below `folder` of all files that are named as images are, sorted.

    Links to folders are not followed, and what begins with a dot is left out.

    Raises
    ------
    DataError
        If there is none, or the folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error

    endings, found = suffixes(), []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(parent).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in endings  # noqa: PTH122 (fast)
        ]
    if not found:
        raise DataError(
            f"there is no image in {folder}; give a folder of images, or an .npy, .npz or .parquet file"
        )
    return sorted(found)
