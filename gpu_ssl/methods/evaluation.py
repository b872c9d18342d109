"""Gives a method one choice of labelled images after another, and keeps what it predicts.

No test label comes near this.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.errors import StorageError
from gpu_ssl.models import checkpoint
from gpu_ssl.runtime.progress import Advance

SCHEMA: Final = 2
"""Version of what is stored of a finished cell."""


class Cell(NamedTuple):
    """One choice of labelled images: how many, and the number of the split."""

    labels: int
    split: int


class Answer(NamedTuple):
    """What a method predicts.

    `classes` are those of the test images, (n_test,), int64; `reason` tells why so, from a method that
    chooses; `curve` holds the mean loss of every 100 steps, from one that trains a network.
    """

    classes: NDArray[np.int64]
    reason: str = ""
    curve: tuple[float, ...] = ()


class Method(Protocol):
    """Predicts the classes of the test images from the labels of a few training images."""

    name: str

    def predict(
        self, cell: Cell, labelled: NDArray[np.int64], classes: NDArray[np.int64], advance: Advance
    ) -> Answer:
        """Predict the test images.

        Parameters
        ----------
        cell : Cell
            Which choice it is.
        labelled : ndarray of shape (n,), int64
            Rows of the labelled training images, ascending.
        classes : ndarray of shape (n,), int64
            Their classes; at least one image of each.
        advance : callable
            May be called with parts of 1 where the work is long.
        """


@dataclass(frozen=True)
class Prediction:
    """What a method answered, and the seconds that it took beside what methods share."""

    answer: Answer
    seconds: float

    @property
    def classes(self) -> NDArray[np.int64]:
        """Predicted classes of the test images, (n_test,), int64."""
        return self.answer.classes


Predictions = dict[int, list[Prediction]]
"""For each number of labels, one prediction a split."""


@dataclass(frozen=True)
class Store:
    """Finished cells of a run on disk, so that an interrupted run does none twice.

    Parameters
    ----------
    folder : Path
        Where they go.
    origin : str
        What decides a prediction beside method and cell. A cell of another origin is refused.
    """

    folder: Path
    origin: str

    def _path(self, method: str, cell: Cell) -> Path:
        return self.folder / f"{method}-{cell.labels}-labels-split-{cell.split}.json"

    def load(self, method: str, cell: Cell) -> Prediction | None:
        """Return what was stored for a cell, or None.

        Raises
        ------
        StorageError
            If it is damaged or of another origin.
        """
        path = self._path(method, cell)
        if not path.is_file():
            return None
        tensors, description = checkpoint.load(path)
        if (description.get("schema"), description.get("origin")) != (SCHEMA, self.origin):
            raise StorageError(
                f"{path} belongs to another run (other data, settings, device or version of torch or "
                "gpu-ssl); delete it"
            )
        answer = Answer(tensors["classes"].numpy(), description["reason"], tuple(description["curve"]))
        return Prediction(answer, description["seconds"])

    def save(self, method: str, cell: Cell, prediction: Prediction) -> None:
        """Keep a finished cell."""
        description = {
            "kind": "gpu-ssl predictions",
            "schema": SCHEMA,
            "origin": self.origin,
            "seconds": prediction.seconds,
            "reason": prediction.answer.reason,
            "curve": prediction.answer.curve,
        }
        tensors = {"classes": torch.from_numpy(prediction.classes)}
        checkpoint.save(self._path(method, cell), tensors, description)


def n_splits_of(count: int, n_train: int, splits: int) -> int:
    """Return how many different splits there are: where all images carry a label, one."""
    return 1 if count == n_train else splits


def cells_of(counts: Sequence[int], n_train: int, splits: int) -> list[Cell]:
    """Return all choices of labelled images of a run."""
    return [Cell(count, split) for count in counts for split in range(n_splits_of(count, n_train, splits))]


def predict_cells(
    method: Method,
    labels: NDArray[np.int64],
    cells: Sequence[Cell],
    seed: int,
    advance: Advance,
    store: Store | None = None,
) -> Predictions:
    """Predict the test images from every choice of labelled images.

    Parameters
    ----------
    method : Method
        Who predicts; it is shown the labels of a cell's images alone.
    labels : ndarray of shape (n_train,), int64
        Classes of the training images.
    cells : sequence of Cell
        The choices.
    seed : int
        Seed of the run: see `data.splits.labelling_order`.
    advance : callable
        Advances by 1 a cell.
    store : Store, optional
        Finished cells, which are not done again.
    """
    predictions: Predictions = {}
    for cell in cells:
        bar = _CellProgress(advance, f"{cell.labels} labels, split {cell.split + 1}")
        done = store.load(method.name, cell) if store is not None else None
        if done is None:
            labelled = labelled_indices(labels, cell.labels, seed, cell.split)
            start = time.perf_counter()
            answer = method.predict(cell, labelled, labels[labelled], bar)
            done = Prediction(answer, time.perf_counter() - start)
            if store is not None:
                store.save(method.name, cell, done)
        predictions.setdefault(cell.labels, []).append(done)
        bar.finish()
    return predictions


class _CellProgress:
    """Makes one step of the parts that a method tells of, whether or not it tells of any."""

    def __init__(self, advance: Advance, name: str) -> None:
        self.advance, self.name, self.left = advance, name, 1.0

    def __call__(self, note: str, steps: float = 1) -> None:
        self.left -= steps
        self.advance(f"{self.name}, {note}", steps)

    def finish(self) -> None:
        self.advance(self.name, self.left)
