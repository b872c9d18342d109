"""Labels from folder names."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from gpu_ssl.data.labels import clean, is_no_class
from gpu_ssl.data.problems import Problem, counted, examples, printable

# fmt: off
SPLITS = frozenset((
    "train", "training", "trn", "trainset", "trainval", "val", "valid", "valset", "validation", "dev", "test",
    "testing", "testset", "eval", "evaluation", "pred", "holdout",
))
"""Names of folders for the parts of a data set, which contain the class folders."""

FILLERS = frozenset((
    "", "set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "files", "seg",
    "split",
))
# fmt: on
"""Words that may accompany them, as in training_set and seg_train."""


def folder_classes(names: Sequence[str]) -> tuple[dict[str, str], list[Problem]]:
    """Return the label of each image in a class folder, and the problems found.

    The top-level folders are the classes, except those named for unlabelled images. If all images are in a
    single folder, or in folders such as ``train`` and ``val``, their subfolders are the classes.

    Parameters
    ----------
    names : sequence of str
        Paths of images, relative to the searched folder.
    """
    parts = {name: tuple(map(clean, printable(name).split("/"))) for name in names}
    level, problems = 0, _of_no_class(parts.values())
    while deeper := _folders_at(parts.values(), level):
        here = sorted(deeper)
        below = sorted(set.union(*deeper.values()))
        if all(map(_is_split, here)):
            if not below or not all(map(_is_split, below)):  # report only the last of seg_train/seg_train
                flat = [name for name in here if not deeper[name]]
                problems.append(_problem(here, _of_splits(here, below, flat)))
        elif len(here) == 1 and below and not any(len(path) == level + 1 for path in parts.values()):
            if not all(map(_is_split, below)):
                problems.append(
                    _problem(here, f"all images are in {here[0]}; its subfolders are the classes")
                )
        else:
            problems += [*_of_parts(deeper), *_of_split_among(here), *_of_below(deeper)]
            break
        level += 1
    labels = {
        name: path[level]
        for name, path in parts.items()
        if len(path) > level + 1 and not any(map(is_no_class, path[: level + 1]))
    }
    return labels, problems


def split_files(names: Sequence[str]) -> list[Problem]:
    """Return a problem if files are named for parts of a data set, as in train-00000-of-00001.parquet."""
    parts = sorted({re.split("[^a-z]", name.casefold())[0] for name in names})
    if len(parts) < 2 or not all(part in SPLITS for part in parts):
        return []
    message = f"the images of {examples(parts)} are used together: to hold some out, give only the others"
    return [_problem(parts, message)]


def _folders_at(paths: Collection[tuple[str, ...]], level: int) -> dict[str, set[str]]:
    """Return the possible class folders at a level, with the names of their subfolders."""
    found: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > level + 1 and not any(map(is_no_class, path[: level + 1])):
            found.setdefault(path[level], set()).update(path[level + 1 : -1][:1])
    return found


def part_of(folder: str) -> str:
    """Return which part of a data set a folder is named for, such as ``tr`` of ``training_set``; else ""."""
    words = [word for word in re.split("[^a-z]+", folder.casefold()) if word not in FILLERS]
    return words[0][:2] if len(words) == 1 and words[0] in SPLITS else ""


def _is_split(folder: str) -> bool:
    return bool(part_of(folder))


def _of_splits(here: Sequence[str], below: Sequence[str], flat: Sequence[str]) -> str:
    if not below:
        one = len(here) == 1
        return (
            f"{examples(here)} {'is' if one else 'are'} not used as a class, and there are no class folders "
            f"below; if {'it is a class' if one else 'they are classes'}, give a label file"
        )
    contain = "contains" if len(here) == 1 else "contain"
    message = (
        f"{examples(here)} {contain} the class folders {examples(below)}; the images of each are used with "
        "their labels: to hold some out, give only the folder of the others"
    )
    return message + (f"; images directly in {examples(flat)} are unlabelled" if flat else "")


def _of_parts(deeper: Mapping[str, set[str]]) -> list[Problem]:
    """Return a problem if folders contain nearly the same subfolders, which then may be the classes."""
    counts = Counter(name for names in deeper.values() for name in names)
    shared = {name for name, count in counts.items() if count > 1}
    if len(shared) < 2 or not all(2 * len(names & shared) > len(names) for names in deeper.values()):
        return []
    message = (
        f"{examples(sorted(deeper))} contain the same subfolders, {examples(sorted(shared))}; the former are "
        "used as classes; if the latter are the classes, give a label file"
    )
    return [_problem(sorted(deeper), message)]


def _of_below(deeper: Mapping[str, set[str]]) -> list[Problem]:
    """Return a problem if each of several class folders contains several subfolders of its own."""
    below = sorted(set.union(*deeper.values()))
    if len(deeper) < 2 or len(below) != sum(map(len, deeper.values())) or min(map(len, deeper.values())) < 2:
        return []
    message = (
        f"the classes are {examples(sorted(deeper))}, not the folders below: {examples(below)}; if these are "
        "the classes, give a label file"
    )
    return [_problem(sorted(deeper), message)]


def _of_split_among(here: Sequence[str]) -> list[Problem]:
    """Return a problem if some class folders have the name of a split, such as ``test``."""
    splits = list(filter(_is_split, here))
    if not splits or len(splits) == len(here):
        return []
    message = (
        f"{examples(splits)} {'is a class' if len(splits) == 1 else 'are classes'} like the other folders; "
        "if not, move the images elsewhere, or into a folder unlabelled"
    )
    return [_problem(splits, message)]


def _of_no_class(paths: Collection[tuple[str, ...]]) -> list[Problem]:
    names = Counter(next(filter(is_no_class, path[:-1]), "") for path in paths)
    del names[""]
    if not names:
        return []
    message = (
        f"{counted(names.total(), 'image is', 'images are')} unlabelled because of the folder name "
        f"{examples(sorted(names))}; if it is a class, rename the folder"
    )
    return [Problem("suspicious-class", names.total(), tuple(sorted(names)), message)]


def _problem(folders: Sequence[str], message: str) -> Problem:
    return Problem("split-folders", len(folders), tuple(folders), message)
