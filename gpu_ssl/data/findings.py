"""What a user should know of images and labels before, or while, a classifier is fitted to them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import are_embeddings
from gpu_ssl.data.near_duplicates import near_duplicates
from gpu_ssl.data.pixel_cache import Decoding
from gpu_ssl.data.problems import Problem, counted, examples

FEW = 5
"""Labelled images of a class below which it is told of."""


def of_decoding(decoding: Decoding) -> Iterator[Problem]:
    """Give what was found when images were decoded."""
    if skipped := decoding.skipped:
        listed = [f"{name} ({reason})" for name, reason in skipped.items()]
        noun = "row" if are_embeddings(decoding.pixels) else "image"
        message = f"{counted(len(skipped), noun)} cannot be read: {examples(listed)}"
        yield Problem("unreadable", len(skipped), tuple(skipped), message)
    if names := decoding.blank:
        message = f"{counted(len(names), 'image is', 'images are')} of a single colour: {examples(names)}"
        yield Problem("blank", len(names), names, message)
    if names := decoding.squeezed:
        message = (
            f"{counted(len(names), 'image is a long strip', 'images are long strips')}, squeezed to the "
            f"proportions of the others: {examples(names)}"
        )
        yield Problem("extreme-shape", len(names), names, message)
    if names := decoding.paged:
        message = (
            f"{counted(len(names), 'file has', 'files have')} several pages or frames, of which the first "
            f"counts: {examples(names)}; `pages=all` takes each as an image"
        )
        yield Problem("pages", len(names), names, message)
    low, high = decoding.how.low, decoding.how.high
    if low is not None and high is not None and (low, high) not in ((0, 65535), (0, 255)):
        message = f"numbers from {low:g} to {high:g} become grey levels from 0 to 255"
        yield Problem("value-range", 1, (), message)
    yield from decoding.problems


def of_labels(counts: Mapping[str, int], lost: Mapping[str, str]) -> Iterator[Problem]:
    """Give what was found about the number of labels.

    Parameters
    ----------
    counts : mapping of str to int
        Labelled images that can be read, of each class.
    lost : mapping of str to str
        Labels of images and files that cannot be read.
    """
    if lost:
        listed = [f"{name} ({label})" for name, label in lost.items()]
        total = counted(len(lost), "label is", "labels are")
        message = f"{total} of images that cannot be read: {examples(listed)}"
        yield Problem("lost-label", len(lost), tuple(lost), message)
    gone = Counter(label for label in lost.values() if label not in counts)
    if gone:
        listed = [f"{label} ({counted(n, 'label')})" for label, n in sorted(gone.items())]
        message = (
            f"{counted(len(gone), 'class has', 'classes have')} no label left, as no labelled image of "
            f"{'it' if len(gone) == 1 else 'them'} can be read: {', '.join(listed)}"
        )
        yield Problem("lost-class", len(gone), tuple(sorted(gone)), message)
    few = [f"{name} ({n})" for name, n in sorted(counts.items(), key=lambda item: item[1]) if n < FEW]
    if few:
        message = f"{counted(len(few), 'class has', 'classes have')} fewer than {FEW} labels: {examples(few)}"
        yield Problem("few-labels", len(few), tuple(few), message)
    if not counts:
        yield Problem("few-labels", 0, (), "no image has a label")
    elif len(counts) == 1:
        message = f"{next(iter(counts))} is the only class with labels; a classifier needs at least 2"
        yield Problem("few-labels", 1, tuple(counts), message)


def of_tables(tables: Sequence[str]) -> Iterator[Problem]:
    """Give the files beside the images that may hold labels, where none is given."""
    if tables:
        are = "is" if len(tables) == 1 else "are"
        message = f"{examples(tables)} {are} not read; if it holds labels, give it as `labels`"
        yield Problem("label-file", len(tables), tuple(tables), message)


def of_folders(overruled: Sequence[str], others: Mapping[str, str], count: bool) -> Iterator[Problem]:
    """Give how a file of labels and the names of folders differ.

    Parameters
    ----------
    overruled : sequence of str
        Images whose label in the file is not the name of their folder.
    others : mapping of str to str
        Images that the file does not label, in folders of classes.
    count : bool
        Whether these folders count as labels.
    """
    if overruled:
        message = (
            f"{counted(len(overruled), 'label differs', 'labels differ')} from the name of the folder, and "
            f"{'counts' if len(overruled) == 1 else 'count'}: {examples(overruled)}"
        )
        yield Problem("folder-overruled", len(overruled), tuple(overruled), message)
    if others:
        total = counted(len(others), "more image lies", "more images lie")
        what = "labelled" if count else "without label; with `folders_too` the folder names its class"
        message = f"{total} in folders named after classes, and {'counts' if len(others) == 1 else 'count'} "
        message += f"as {what}"
        yield Problem("folder-names", len(others), tuple(others), message)


def of_copies(
    names: Sequence[str],
    images: NDArray[Any],
    keys: Sequence[str],
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    blank: Sequence[str],
) -> Iterator[Problem]:
    """Give copies and near copies among images, and copies that carry different labels.

    Parameters
    ----------
    names, images, labels
        Of `data.own.OwnImages`.
    keys : sequence of str
        Of `data.own.image_key`, for the images at `rows`.
    rows : ndarray of shape (m,), int64
        Positions of the images that are compared.
    blank : sequence of str
        Names of images of one colour, which are no copies of each other.
    """
    several = {key for key, n in Counter(keys).items() if n > 1}
    groups: dict[str, list[int]] = {}
    if several:
        empty = set(blank)
        for key, row in zip(keys, rows.tolist(), strict=True):
            if key in several and names[row] not in empty:
                groups.setdefault(key, []).append(row)
    copies = [group for group in groups.values() if len(group) > 1]
    if copies:
        yield _of_groups("duplicate", "is a copy of another", "are copies of another", copies, names)
    yield from _contradicting("the same image", copies, names, labels)
    first = np.array(sorted(dict(zip(reversed(keys), rows[::-1].tolist(), strict=True)).values()))
    # Embeddings that look alike may be all that tells two images apart.
    near = [] if are_embeddings(images) else near_duplicates(images, first, labels)
    if near:
        yield _of_groups(
            "near-duplicate", "is nearly a copy of another", "are nearly copies of another", near, names
        )
    yield from _contradicting("nearly the same image", near, names, labels)


def _contradicting(
    what: str, groups: Sequence[Sequence[int]], names: Sequence[str], labels: NDArray[np.int64]
) -> Iterator[Problem]:
    """Give the groups of images that carry different labels."""
    labelled = [[row for row in group if labels[row] >= 0] for group in groups]
    differ = [rows for rows in labelled if len(set(labels[rows].tolist())) > 1]
    if differ:
        listed = [" and ".join(names[row] for row in rows) for rows in differ]
        paths = tuple(names[row] for rows in differ for row in rows)
        message = f"{what} under different labels: {examples(listed)}"
        yield Problem("conflicting-labels", len(differ), paths, message)


def _of_groups(
    kind: str, one: str, many: str, groups: Sequence[Sequence[int]], names: Sequence[str]
) -> Problem:
    count = sum(len(group) - 1 for group in groups)
    listed = [" and ".join(names[row] for row in group[:2]) for group in groups]
    paths = tuple(names[row] for group in groups for row in group)
    return Problem(
        kind, count, paths, f"{counted(count, f'image {one}', f'images {many}')}: {examples(listed)}"
    )
