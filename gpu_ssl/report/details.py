"""Images and counts on a page beyond the record of a run or a model, stored as ``details.json``."""

from pathlib import Path
from typing import Final, TypeVar

from gpu_ssl.records import Record
from gpu_ssl.runtime import state
from gpu_ssl.runtime.state import Kind

DETAILS: Final = "details.json"


class Confusion(Record):
    """A confusion matrix over all splits.

    `cells` contains (true class, predicted class, number of images), by index, if the number is not 0.
    """

    method: str
    labels: int
    cells: tuple[tuple[int, int, int], ...]


class Mistake(Record):
    """A test image to which most splits and methods assign the same wrong class.

    `votes` of `of` predictions are `named`, the true class is `true`; `image` is a data URL.
    """

    true: int
    named: int
    votes: int
    of: int
    image: str


class Shown(Record):
    """An image with its caption."""

    title: str
    image: str


class FeatureMap(Record):
    """Features of test images in two dimensions, and the images themselves.

    `points` (x, y) are from 0 to 1, `classes` are indices. `sheet` is one image of all tiles, in rows of
    `columns` tiles of `tile` (width, height) pixels, in the order of the points.
    """

    how: str
    points: tuple[tuple[float, float], ...]
    classes: tuple[int, ...]
    sheet: str
    columns: int
    tile: tuple[int, int]


class RunDetails(Record):
    """Content of the page of a run in addition to its report."""

    confusions: tuple[Confusion, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    exhibits: tuple[Shown, ...] = ()
    map: FeatureMap | None = None


class SuspectImage(Record):
    """A label that looks wrong, and its image; see `fitted.records.SuspectLabel`."""

    name: str
    label: str
    suggested: str
    confidence: float
    image: str


class StrangeImage(Record):
    """One of the images least like the others, and its predicted class."""

    name: str
    score: float
    predicted: str
    image: str


class ModelDetails(Record):
    """Content of the page of a model in addition to its record."""

    suspects: tuple[SuspectImage, ...] = ()
    strange: tuple[StrangeImage, ...] = ()
    looked_at: int = 0


REMEDY: Final = "delete it to continue without it"

OF_RUN: Final = Kind("gpu-ssl details of a run", 2, RunDetails, REMEDY)
OF_MODEL: Final = Kind("gpu-ssl details of a model", 2, ModelDetails, REMEDY)

Details = TypeVar("Details", RunDetails, ModelDetails)


def write_details(folder: Path, kind: Kind[Details], details: Details) -> None:
    """Write the details of a run or a model to its folder.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    state.save(folder / DETAILS, kind, details)


def read_details(folder: Path, kind: Kind[Details]) -> Details:
    """Return the details of a run or a model; empty if there are none, as without plots.

    Raises
    ------
    StorageError
        If they are not readable.
    """
    path = folder / DETAILS
    return state.load(path, kind)[0] if path.is_file() else kind.content()
