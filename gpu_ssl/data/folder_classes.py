"""Which classes the folders stand for that images lie in."""

from collections.abc import Collection, Sequence

from gpu_ssl.data.labels import clean, is_no_class
from gpu_ssl.data.problems import Problem, examples, printable

SPLITS = frozenset(
    ("train", "training", "trn", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation")
)
"""Folders that divide a data set and stand above those of its classes."""


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
    level, problems = 0, []
    while deeper := _folders_below(parts.values(), level):
        here = sorted(deeper)
        shared = set.intersection(*deeper.values())
        if all(name.casefold() in SPLITS for name in here):
            below = sorted(set.union(*deeper.values()))
            problems.append(
                _problem(
                    here,
                    f"{examples(here)} lie above the classes, which are {examples(below)}; images of each "
                    "count as labelled: to keep some apart, give the folder of the others",
                )
            )
        elif len(here) == 1 and not any(len(path) == level + 1 for path in parts.values()):
            problems.append(_problem(here, f"all images lie in {here[0]}; the folders in it are the classes"))
        else:
            if len(here) > 1 and len(shared) > 1 and all(below == shared for below in deeper.values()):
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


def _folders_below(paths: Collection[tuple[str, ...]], level: int) -> dict[str, set[str]]:
    """Return the folders at a level with the names of those in each; nothing unless each holds some."""
    found: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > level + 1 and not is_no_class(path[level]):
            found.setdefault(path[level], set()).update(
                path[level + 1 : level + 2] if len(path) > level + 2 else ()
            )
    return found if found and all(found.values()) else {}


def _problem(folders: Sequence[str], message: str) -> Problem:
    return Problem("split-folders", len(folders), tuple(folders), message)
