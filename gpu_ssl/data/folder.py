"""Finding the image files below a folder, and the reasons for files that are left out."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpu_ssl.data.opening import RAW, begins_as_image, suffixes, what_it_is
from gpu_ssl.data.problems import Problem, counted, examples
from gpu_ssl.errors import DataError

START = 512
"""Number of bytes read to recognize a file with an unknown ending."""

# fmt: off
BESIDE_IMAGES = frozenset((
    ".csv", ".db", ".doc", ".docx", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".ods", ".parquet",
    ".py", ".rst", ".sh", ".toml", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml",
))
# fmt: on
"""Endings of files that are skipped without a report."""

TABLES = frozenset((".csv", ".jsonl", ".tsv"))
"""Endings of files that may hold labels."""

# fmt: off
OF_THE_SYSTEM = frozenset((
    "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found",
    "system volume information",
))
# fmt: on
"""Folders that systems and file servers make, with thumbnails or deleted files; skipped like hidden ones."""


@dataclass
class Found:
    """The files below a folder.

    Attributes
    ----------
    images : list of str
        Paths of images below the folder, sorted.
    left_out : dict of str to str
        Paths of files and links that are not read, and the reason; files of `BESIDE_IMAGES` are not listed.
    folders : list of str
        Paths of the folders that were searched.
    tables : list of str
        Parquet files, and files directly in the folder that may hold labels.
    """

    images: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


def find_images(folder: Path) -> Found:
    """Find the images below `folder`.

    Images are recognized by file name ending, or else by their first bytes. Links to folders are followed,
    and each folder is read once. Names that begin with a dot, and folders of the system, are skipped.

    Raises
    ------
    DataError
        If there is no image, or the folder cannot be read.
    """
    found = Found()
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:  # real folders first, then the folders that they link to, and so on
        linked: list[str] = []
        for name in sorted(waiting):
            _walk(folder, name, seen, linked, found)
        waiting = linked
    found.images.sort()
    if not found.images:
        told = "".join(f"; {problem.message}" for problem in found_problems(found))
        parquet = sorted(path for path in found.tables if path.lower().endswith(".parquet"))
        other = folder / os.path.dirname(parquet[0]) if parquet else None  # noqa: PTH120 (of a text)
        advice = f"give {other}" if other else "give a folder of images, or an .npy, .npz or .parquet file"
        raise DataError(f"there is no image in {folder}{told}; {advice}")
    return found


def _walk(folder: Path, start: str, seen: set[tuple[int, int]], linked: list[str], found: Found) -> None:
    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error

    for parent, folders, files in os.walk(folder / start, onerror=refuse):
        below = os.path.relpath(parent, folder)
        prefix = "" if below == "." else f"{below}/".replace(os.sep, "/")
        state = os.stat(parent)  # noqa: PTH116 (faster than a Path for each of many folders)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            found.left_out[prefix.rstrip("/")] = "a link to a folder that is already read"
            continue
        seen.add((state.st_dev, state.st_ino))
        found.folders.append(prefix.rstrip("/"))
        visible = [n for n in folders if not n.startswith(".") and n.casefold() not in OF_THE_SYSTEM]
        links = [name for name in visible if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118
        linked += [prefix + name for name in links]
        folders[:] = sorted(set(visible) - set(links))
        for name in files:
            if not name.startswith("."):
                _take(parent, name, prefix + name, found)


def _take(parent: str, name: str, path: str, found: Found) -> None:
    """Record a file as an image, as a table, or as left out."""
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 (fast)
    if ending in suffixes():
        found.images.append(path)
        return
    if ending in BESIDE_IMAGES:
        if (ending in TABLES and path == name) or ending == ".parquet":
            found.tables.append(path)
        return
    try:
        start = _start(os.path.join(parent, name))  # noqa: PTH118
    except OSError as error:
        found.left_out[path] = error.strerror or "cannot be read"
        return
    if ending not in RAW and begins_as_image(start):
        found.images.append(path)
    else:
        found.left_out[path] = what_it_is(start, ending) or "not a supported image"


def _start(path: str) -> bytes:
    if not os.path.isfile(path):  # noqa: PTH113 (reading a pipe would block)
        raise OSError(0, "not a file")
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(START)


def found_problems(found: Found) -> list[Problem]:
    """Return the problems with skipped files (counted by ending and reason) and with empty folders."""
    return [*_of_left_out(found.left_out), *_of_empty(found)]


def _of_left_out(left_out: dict[str, str]) -> Iterator[Problem]:
    kinds = Counter(
        (os.path.splitext(path)[1].lower() or "no ending", reason)  # noqa: PTH122
        for path, reason in left_out.items()
    )
    listed = ", ".join(f"{n:,} {ending} ({reason})" for (ending, reason), n in kinds.most_common())
    total = len(left_out)
    if total:
        message = f"{counted(total, 'file is', 'files are')} not read: {listed}"
        yield Problem("unsupported-format", total, tuple(sorted(left_out)), message)


def _of_empty(found: Found) -> Iterator[Problem]:
    """Yield the topmost folders that contain no image."""
    full = {""}
    for parent in {path.rpartition("/")[0] for path in found.images}:
        while parent not in full:
            full.add(parent)
            parent = parent.rpartition("/")[0]
    empty = sorted(path for path in found.folders if path not in full and path.rpartition("/")[0] in full)
    if empty and found.images:
        total = counted(len(empty), "folder contains", "folders contain")
        message = f"{total} no supported image: {examples(empty)}"
        yield Problem("empty-folder", len(empty), tuple(empty), message)
