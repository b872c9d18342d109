"""Problems in images and labels that are reported before or during fitting."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import are_embeddings
from gpu_ssl.data.near_duplicates import near_duplicates
from gpu_ssl.data.pixel_cache import Decoding
from gpu_ssl.data.problems import Problem, counted, examples

FEW = 5
"""Number of labelled images per class below which a problem is reported."""


def of_decoding(decoding: Decoding) -> Iterator[Problem]:
    """Yield the problems found while decoding images."""
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
            f"aspect ratio of the others: {examples(names)}"
        )
        yield Problem("extreme-shape", len(names), names, message)
    if names := decoding.paged:
        message = (
            f"{counted(len(names), 'file has', 'files have')} several pages or frames, of which only the "
            f"first is read: {examples(names)}; `pages=all` reads each as an image"
        )
        yield Problem("pages", len(names), names, message)
    low, high = decoding.how.low, decoding.how.high
    if low is not None and high is not None and (low, high) not in ((0, 65535), (0, 255)):
        message = f"pixel values from {low:g} to {high:g} are scaled to grey levels from 0 to 255"
        yield Problem("value-range", 1, (), message)
    yield from decoding.problems


def of_labels(counts: Mapping[str, int], lost: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the problems with the number of labels.

    Parameters
    ----------
    counts : mapping of str to int
        Number of readable labelled images per class.
    lost : mapping of str to str
        Labels of images and files that cannot be read, by name.
    """
    if lost:
        listed = [f"{name} ({label})" for name, label in lost.items()]
        total = counted(len(lost), "label belongs to an image", "labels belong to images")
        message = f"{total} that cannot be read: {examples(listed)}"
        yield Problem("lost-label", len(lost), tuple(lost), message)
    gone = Counter(label for label in lost.values() if label not in counts)
    if gone:
        listed = [f"{label} ({counted(n, 'label')})" for label, n in sorted(gone.items())]
        message = (
            f"{counted(len(gone), 'class is', 'classes are')} left without labels, because none of the "
            f"labelled images can be read: {', '.join(listed)}"
        )
        yield Problem("lost-class", len(gone), tuple(sorted(gone)), message)
    few = [f"{name} ({n})" for name, n in sorted(counts.items(), key=lambda item: item[1]) if n < FEW]
    if few:
        message = f"{counted(len(few), 'class has', 'classes have')} fewer than {FEW} labels: {examples(few)}"
        yield Problem("few-labels", len(few), tuple(few), message)
    if not counts:
        yield Problem("few-labels", 0, (), "no image has a label")
    elif len(counts) == 1:
        message = f"{next(iter(counts))} is the only class with labels; a classifier needs at least 2 classes"
        yield Problem("few-labels", 1, tuple(counts), message)


def of_tables(tables: Sequence[str]) -> Iterator[Problem]:
    """Yield the files next to the images that may hold labels, if no label file is given."""
    if tables:
        one = len(tables) == 1
        are, it = ("is", "it") if one else ("are", "one")
        message = f"{examples(tables)} {are} not read; if {it} holds labels, pass it as `labels`"
        yield Problem("label-file", len(tables), tuple(tables), message)


def of_folders(overruled: Sequence[str], others: Mapping[str, str], count: bool) -> Iterator[Problem]:
    """Yield the differences between a label file and the folder names.

    Parameters
    ----------
    overruled : sequence of str
        Images whose label in the file differs from their folder name.
    others : mapping of str to str
        Images that the file leaves unlabelled, in folders named after classes.
    count : bool
        Whether these folder names are used as labels.
    """
    if overruled:
        message = (
            f"{counted(len(overruled), 'label differs', 'labels differ')} from the folder name; the label "
            f"file is used: {examples(overruled)}"
        )
        yield Problem("folder-overruled", len(overruled), tuple(overruled), message)
    if others:
        total = counted(len(others), "more image is", "more images are")
        are = "is" if len(others) == 1 else "are"
        what = "labelled" if count else "left unlabelled; `folders_too` labels by folder name"
        message = f"{total} in folders named after classes and {are} {what}"
        yield Problem("folder-names", len(others), tuple(others), message)


def of_copies(
    names: Sequence[str],
    images: NDArray[Any],
    keys: Sequence[str],
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    blank: Sequence[str],
) -> Iterator[Problem]:
    """Yield duplicates and near duplicates among images, and those with conflicting labels.

    Parameters
    ----------
    names, images, labels
        See `data.own.OwnImages`.
    keys : sequence of str
        Result of `data.own.image_key` for each image in `rows`.
    rows : ndarray of shape (m,), int64
        Positions of the images to compare.
    blank : sequence of str
        Names of single-colour images, which do not count as duplicates.
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
        yield _of_groups("duplicate", "duplicates", copies, names)
    yield from _contradicting("the same image", copies, names, labels)
    first = np.array(sorted(dict(zip(reversed(keys), rows[::-1].tolist(), strict=True)).values()))
    # Embeddings are not compared: different images may have similar embeddings.
    near = [] if are_embeddings(images) else near_duplicates(images, first, labels)
    if near:
        yield _of_groups("near-duplicate", "near duplicates", near, names)
    yield from _contradicting("nearly the same image", near, names, labels)


def _contradicting(
    what: str, groups: Sequence[Sequence[int]], names: Sequence[str], labels: NDArray[np.int64]
) -> Iterator[Problem]:
    """Yield the groups of images that carry different labels."""
    labelled = [[row for row in group if labels[row] >= 0] for group in groups]
    differ = [rows for rows in labelled if len(set(labels[rows].tolist())) > 1]
    if differ:
        listed = [" and ".join(names[row] for row in _one_of_each(rows, labels)[:2]) for rows in differ]
        message = f"{what} under different labels: {examples(listed)}"
        yield _grouped("conflicting-labels", len(differ), message, differ, names)


def _one_of_each(rows: Sequence[int], labels: NDArray[np.int64]) -> list[int]:
    """Return the first of the rows of each class."""
    return list({int(labels[row]): row for row in reversed(rows)}.values())[::-1]


def _of_groups(kind: str, what: str, groups: Sequence[Sequence[int]], names: Sequence[str]) -> Problem:
    count = sum(len(group) - 1 for group in groups)
    are_pairs = all(len(group) == 2 for group in groups)
    listed = [" and ".join(names[row] for row in group[:2]) for group in groups]
    size = "" if are_pairs else f" ({count + len(groups):,} images)"
    total = counted(len(groups), "pair" if are_pairs else "group")
    return _grouped(kind, count, f"{total} of {what}{size}: {examples(listed)}", groups, names)


def _grouped(
    kind: str, count: int, message: str, groups: Sequence[Sequence[int]], names: Sequence[str]
) -> Problem:
    named = tuple(tuple(names[row] for row in group) for group in groups)
    return Problem(kind, count, tuple(chain.from_iterable(named)), message, named)
