"""Encoded images from files below a folder or rows of a Parquet file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from gpu_ssl.data.folder import Found, find_images
from gpu_ssl.data.opening import Page, Source, count_pages
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.progress import SILENT, Progress

SURVEYED = 1000
"""Number of images whose headers are read to choose a shape."""

PAGE_SIGN = "#"
"""Separates a file name from a page number, counted from 1."""


class EncodedImages(Protocol):
    """Images to decode, with unique names."""

    @property
    def place(self) -> Path:
        """Folder or file that contains the images."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the images, in order."""

    @property
    def files(self) -> Sequence[str]:
        """The files below `place` that contain the images; "" stands for `place` itself."""

    @property
    def part(self) -> str:
        """What of these files holds the images, such as a column; "" for all of them."""

    def sources(self) -> Iterator[Source]:
        """Yield each encoded image, in the order of `names`."""

    def survey(self) -> list[Source]:
        """Return an evenly spaced sample of the images."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files below a folder.

    Parameters
    ----------
    place : Path
        The folder.
    names : sequence of str
        Paths below the folder, of files or of their pages, such as ``scan.tif#2``.
    pages : dict of str to (str, int)
        File and page number (from 0) of each name that stands for a page.
    """

    place: Path
    names: Sequence[str]
    pages: dict[str, tuple[str, int]]
    part = ""

    @property
    def files(self) -> Sequence[str]:
        """See `EncodedImages`."""
        return list(dict.fromkeys(self.pages.get(name, (name, 0))[0] for name in self.names))

    def sources(self) -> Iterator[Source]:
        """See `EncodedImages`."""
        return (self._source(name) for name in self.names)

    def survey(self) -> list[Source]:
        """See `EncodedImages`."""
        return [self._source(self.names[i]) for i in spread_over(len(self.names), SURVEYED)]

    def _source(self, name: str) -> Source:
        if name not in self.pages:
            return self.place / name
        file, number = self.pages[name]
        return Page(self.place / file, number)


def files_of(pages: Mapping[str, tuple[str, int]]) -> dict[str, list[str]]:
    """Return the names of the pages of each file, from the file and number of each page."""
    files: dict[str, list[str]] = {}
    for page, (file, _) in pages.items():
        files.setdefault(file, []).append(page)
    return files


def image_files(folder: Path, all_pages: bool, progress: Progress = SILENT) -> tuple[ImageFiles, Found]:
    """Find the image files below a folder; with `all_pages`, each page of a file is an image.

    Raises
    ------
    DataError
        If there is no image, or the folder cannot be read.
    """
    found = find_images(folder)
    if not all_pages:
        return ImageFiles(folder, found.images, {}), found
    names: list[str] = []
    pages: dict[str, tuple[str, int]] = {}
    with progress.task("count pages", len(found.images)) as advance:
        for name in found.images:
            count = count_pages(folder / name)
            names_of_pages = page_names(name, count)
            names += names_of_pages
            if count > 1:
                pages |= {page: (name, number) for number, page in enumerate(names_of_pages)}
            advance("")
    if len(set(names)) < len(names):
        twice = next(name for name in pages if names.count(name) > 1)
        raise DataError(f"{folder}: {twice} is the name of both a file and a page; rename the file")
    return ImageFiles(folder, names, pages), found


def page_names(name: str, count: int) -> list[str]:
    """Return the names of the pages of a file; a single page has the name of the file."""
    return [name] if count == 1 else [f"{name}{PAGE_SIGN}{number}" for number in range(1, count + 1)]


def spread_over(n: int, most: int) -> list[int]:
    """Return at most `most` evenly spaced positions from 0 to n - 1."""
    rows: list[int] = np.unique(np.linspace(0, n - 1, min(most, n)).astype(int)).tolist()
    return rows
