"""What a page shows beyond the record of a run or a model: pictures and counts, kept as ``details.json``."""

from pathlib import Path
from typing import Final, TypeVar

from gpu_ssl.records import Record
from gpu_ssl.runtime import state
from gpu_ssl.runtime.state import Kind

DETAILS: Final = "details.json"


class Confusion(Record):
    """How often each class was taken for which, over all splits.

    `cells` holds (true class, class named, number of images), by index, where the number is not 0.
    """

    method: str
    labels: int
    cells: tuple[tuple[int, int, int], ...]


class Mistake(Record):
    """A test image that most splits and methods take for the same wrong class.

    `votes` of `of` predictions say `named`, where `true` is right; `picture` is a data address.
    """

    true: int
    named: int
    votes: int
    of: int
    picture: str


class Shown(Record):
    """A picture with what it shows."""

    title: str
    picture: str


class FeatureMap(Record):
    """Features of test images in two dimensions, and the images themselves.

    `points` (x, y) lie from 0 to 1, `classes` are by index. `sheet` is one picture of all images, in rows of
    `columns` tiles of `tile` (width, height) pixels, in the order of the points.
    """

    how: str
    points: tuple[tuple[float, float], ...]
    classes: tuple[int, ...]
    sheet: str
    columns: int
    tile: tuple[int, int]


class RunDetails(Record):
    """What the page of a run shows beyond its report."""

    confusions: tuple[Confusion, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    exhibits: tuple[Shown, ...] = ()
    map: FeatureMap | None = None


class SuspectPicture(Record):
    """A label that looks wrong, and its image; see `fitted.records.SuspectLabel`."""

    name: str
    label: str
    suggested: str
    confidence: float
    picture: str


class StrangePicture(Record):
    """One of the images least like the others, and what the model takes it for."""

    name: str
    score: float
    guess: str
    picture: str


class ModelDetails(Record):
    """What the page of a model shows beyond its record."""

    suspects: tuple[SuspectPicture, ...] = ()
    strange: tuple[StrangePicture, ...] = ()
    looked_at: int = 0


REMEDY: Final = "delete it to do without"

OF_RUN: Final = Kind("gpu-ssl details of a run", 1, RunDetails, REMEDY)
OF_MODEL: Final = Kind("gpu-ssl details of a model", 1, ModelDetails, REMEDY)

Details = TypeVar("Details", RunDetails, ModelDetails)


def write_details(folder: Path, kind: Kind[Details], details: Details) -> None:
    """Write those of a run or a model into its folder.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    state.save(folder / DETAILS, kind, details)


def read_details(folder: Path, kind: Kind[Details]) -> Details:
    """Return those of a run or a model; empty ones where there are none, as without plots.

    Raises
    ------
    StorageError
        If they cannot be read.
    """
    path = folder / DETAILS
    return state.load(path, kind)[0] if path.is_file() else kind.content()
