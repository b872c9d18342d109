"""Matching the rows of label files to images."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gpu_ssl.data.label_file import GivenLabels
from gpu_ssl.data.names import POSITION, AmbiguousNameError, NameIndex, folder_of
from gpu_ssl.data.problems import Problem, counted, examples, printable
from gpu_ssl.errors import DataError


def match(
    given: GivenLabels, index: NameIndex, place: Path, example: Callable[[], str]
) -> tuple[list[tuple[str, str]], dict[str, str], list[Problem]]:
    """Return (image name, label) pairs, the group of each image that has one, and the problems found.

    Parameters
    ----------
    given : GivenLabels
        The rows of the label files.
    index : NameIndex
        Finds images by name.
    place : Path
        Folder or file of the images.
    example : callable
        Returns the name of an image, for error messages.

    Raises
    ------
    DataError
        If a label matches no image, or it is ambiguous which.
    """
    found = [_find(index, where, written, place) for where, written, _, _ in given.rows]
    # If some rows of a file match images by their folder, rows with another folder mean other images.
    exact = {
        _file_of(where)
        for (where, written, _, _), names in zip(given.rows, found, strict=True)
        if folder_of(written) and names and not index.strays(written, names[0])
    }
    # Likewise of the folders above: val/dogs/1.png is not dogs/1.png in train, if others are train/...
    rooted = {
        _file_of(where)
        for (where, written, _, _), names in zip(given.rows, found, strict=True)
        if names and index.begins_elsewhere(written, names[0]) is False
    }
    votes, groups, unknown, elsewhere = [], {}, [], []
    meant: dict[str, tuple[str, str]] = {}
    for (where, written, label, group), names in zip(given.rows, found, strict=True):
        if (
            not names
            or (_file_of(where) in exact and index.strays(written, names[0]))
            or (_file_of(where) in rooted and index.begins_elsewhere(written, names[0]))
            or index.names_another(written, names[0])
        ):
            if label:
                unknown.append(written)
            continue
        if index.strays(written, names[0]):
            elsewhere.append((written, names[0]))
        if label:
            votes += [(name, label) for name in names]
            before = meant.setdefault(names[0], (written, label))
            if before[1] != label and folder_of(before[0]) != folder_of(written):
                raise DataError(
                    f"{where}: {printable(written)!r} and {printable(before[0])!r} have different labels, "
                    f"but both match {printable(names[0])!r}; write paths relative to {place}"
                )
        groups.update({name: group for name in names if group})
    if unknown:
        listed = examples([repr(name) for name in unknown])
        expected = "paths relative to that folder" if place.is_dir() else "names or positions in that file"
        images = "image that is" if len(unknown) == 1 else "images that are"
        raise DataError(
            f"`labels` names {len(unknown):,} {images} not in {place}: {listed}; expected {expected}, "
            f"such as {printable(example())!r}"
        )
    return votes, groups, _of_other_folders(elsewhere)


def _of_other_folders(elsewhere: Sequence[tuple[str, str]]) -> list[Problem]:
    """Return a problem if names give other folders than those of their images, as (written, image) pairs."""
    if not elsewhere:
        return []
    (written, image), n = elsewhere[0], len(elsewhere)
    message = (
        f"{counted(n, 'name', 'names')} in `labels` {'gives' if n == 1 else 'give'} another folder than the "
        f"image has, which was found by the rest of the name: {printable(written)!r} is taken for "
        f"{printable(image)!r}"
    )
    return [Problem("other-folders", n, tuple(name for _, name in elsewhere), message)]


def of_numbering(given: GivenLabels) -> list[Problem]:
    """Return a problem if positions in a file, which begin at 0, seem to begin at 1."""
    numbers = sorted({int(found[1]) for _, name, _, _ in given.rows if (found := POSITION.fullmatch(name))})
    if len(numbers) < 2 or numbers != list(range(1, len(numbers) + 1)):
        return []
    message = (
        f"`labels` names images 1 to {len(numbers):,}, and not 0, the first; subtract 1 if your numbers "
        "begin at 1"
    )
    return [Problem("columns", len(numbers), (), message)]


def _find(index: NameIndex, where: str, written: str, place: Path) -> tuple[str, ...]:
    try:
        return index.find(written)
    except AmbiguousNameError as error:
        raise DataError(f"{where}: {error}; write the path relative to {place}") from error


def _file_of(where: str) -> str:
    return where.rpartition(", ")[0]
