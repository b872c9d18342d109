"""Which classes the folders stand for that images lie in."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from gpu_ssl.data.labels import clean, is_no_class
from gpu_ssl.data.problems import Problem, counted, examples, printable

# fmt: off
SPLITS = frozenset((
    "train", "training", "trn", "trainset", "trainval", "val", "valid", "valset", "validation", "dev", "test",
    "testing", "testset", "eval", "evaluation", "pred", "holdout",
))
"""Folders that divide a data set and stand above those of its classes."""

FILLERS = frozenset((
    "", "set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "files", "seg",
    "split",
))
# fmt: on
"""Words beside these, as in training_set and seg_train."""


def folder_classes(names: Sequence[str]) -> tuple[dict[str, str], list[Problem]]:
    """Return the label of each image that lies in the folder of a class.

    The folders right below the place name classes, but for those whose names say that nobody has labelled
    what is in them. Where all images lie in one folder, or in such as ``train`` and ``val``, the folders
    below are the classes.

    Parameters
    ----------
    names : sequence of str
        Paths of images.
    """
    parts = {name: tuple(map(clean, printable(name).split("/"))) for name in names}
    level, problems = 0, _of_no_class(parts.values())
    while deeper := _folders_at(parts.values(), level):
        here = sorted(deeper)
        shared = set.intersection(*deeper.values())
        below = sorted(set.union(*deeper.values()))
        if all(map(_is_split, here)):
            if not below or not all(map(_is_split, below)):  # of seg_train/seg_train the last is told
                flat = [name for name in here if not deeper[name]]
                problems.append(_problem(here, _of_splits(here, below, flat)))
        elif len(here) == 1 and below and not any(len(path) == level + 1 for path in parts.values()):
            problems.append(_problem(here, f"all images lie in {here[0]}; the folders in it are the classes"))
        else:
            if len(here) > 1 and len(shared) > 1 and all(names == shared for names in deeper.values()):
                problems.append(
                    _problem(
                        here,
                        f"each of {examples(here)} holds the same folders, {examples(sorted(shared))}; "
                        "the former are taken as the classes: if the latter are, give a file of labels",
                    )
                )
            break
        level += 1
    labels = {
        name: path[level]
        for name, path in parts.items()
        if len(path) > level + 1 and not any(map(is_no_class, path[: level + 1]))
    }
    return labels, problems


def _folders_at(paths: Collection[tuple[str, ...]], level: int) -> dict[str, set[str]]:
    """Return the folders at a level that may be classes, with the names of the folders in each."""
    found: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > level + 1 and not any(map(is_no_class, path[: level + 1])):
            found.setdefault(path[level], set()).update(path[level + 1 : -1][:1])
    return found


def _is_split(folder: str) -> bool:
    words = [word for word in re.split("[^a-z]+", folder.casefold()) if word not in FILLERS]
    return len(words) == 1 and words[0] in SPLITS


def _of_splits(here: Sequence[str], below: Sequence[str], flat: Sequence[str]) -> str:
    if not below:
        return (
            f"{examples(here)} {'is' if len(here) == 1 else 'are'} no class, and there are no folders of "
            "classes below; if it is one, give a file of labels"
        )
    message = (
        f"{examples(here)} lie above the classes, which are {examples(below)}; images of each count as "
        "labelled: to keep some apart, give the folder of the others"
    )
    return message + (f"; images right in {examples(flat)} count as unlabelled" if flat else "")


def _of_no_class(paths: Collection[tuple[str, ...]]) -> list[Problem]:
    names = Counter(next(filter(is_no_class, path[:-1]), "") for path in paths)
    del names[""]
    if not names:
        return []
    message = (
        f"{counted(names.total(), 'image lies', 'images lie')} in {examples(sorted(names))}, whose name says "
        "that there is no label; if it is a class, call it otherwise"
    )
    return [Problem("suspicious-class", names.total(), tuple(sorted(names)), message)]


def _problem(folders: Sequence[str], message: str) -> Problem:
    return Problem("split-folders", len(folders), tuple(folders), message)
