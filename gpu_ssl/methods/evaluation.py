"""Fits a method to choices of labelled images (cells), and stores its predictions.

No test label is read here.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.errors import StorageError
from gpu_ssl.methods.method import Classifier, Labelled, Options, fit_each
from gpu_ssl.methods.view import View
from gpu_ssl.records import Record
from gpu_ssl.runtime import state
from gpu_ssl.runtime.background import BackgroundWriter
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.runtime.threads import limited_threads, n_threads, suitable_threads


class Cell(NamedTuple):
    """One choice of labelled images: their number, and the number of the split."""

    labels: int
    split: int


@dataclass(frozen=True)
class Prediction:
    """Predictions of a method in a cell.

    Parameters
    ----------
    classes : ndarray of shape (n_test,), int64
        Predicted classes of the test images.
    seconds : float
        Time to fit and predict, without what methods share.
    chosen : str
        The chosen method and the reason, for a method that chooses; else "".
    curve : tuple of float
        Mean loss of every 100 steps, for a method that trains a network.
    """

    classes: NDArray[np.int64]
    seconds: float
    chosen: str = ""
    curve: tuple[float, ...] = ()


class PredictionRecord(Record):
    """What is stored of a finished cell in addition to the predicted classes."""

    origin: str
    method: str
    cell: Cell
    seconds: float = Field(ge=0)
    chosen: str
    curve: tuple[float, ...]


PREDICTIONS = state.Kind(
    "gpu-ssl predictions", 4, PredictionRecord, "delete it, and its content is computed again"
)

Predictions = dict[int, list[Prediction]]
"""For each number of labels, one prediction per split."""


@dataclass(frozen=True)
class Store:
    """Finished cells of a run on disk, so that a resumed run does not repeat them.

    Parameters
    ----------
    folder : Path
        Folder of the files.
    origin : str
        Hash of what determines a prediction besides method and cell. A cell of another origin is refused.
    """

    folder: Path
    origin: str

    def _path(self, method: str, cell: Cell) -> Path:
        return self.folder / f"{method}-{cell.labels}-labels-split-{cell.split}.json"

    def load(self, method: str, cell: Cell, n_test: int) -> Prediction | None:
        """Return the stored predictions of a cell, or None; `n_test` is the number of test images.

        Raises
        ------
        StorageError
            If it is damaged or of another origin.
        """
        path = self._path(method, cell)
        if not path.exists():
            return None
        record, tensors = state.load(path, PREDICTIONS)
        if (record.origin, record.method, record.cell) != (self.origin, method, cell):
            raise StorageError(
                f"{path} belongs to another run (other data, settings, device or version of torch or "
                "gpu-ssl); delete it"
            )
        classes = tensors.get("classes")
        if classes is None or classes.dtype != torch.int64 or classes.shape != (n_test,):
            raise StorageError(f"{path} holds no classes of {n_test} test images; {PREDICTIONS.remedy}")
        return Prediction(classes.numpy(), record.seconds, record.chosen, record.curve)

    def prepare(self, method: str, cell: Cell, prediction: Prediction) -> state.Writing:
        """Return what stores a finished cell."""
        record = PredictionRecord(
            origin=self.origin,
            method=method,
            cell=cell,
            seconds=prediction.seconds,
            chosen=prediction.chosen,
            curve=prediction.curve,
        )
        tensors = {"classes": torch.from_numpy(prediction.classes)}
        return state.prepare(self._path(method, cell), PREDICTIONS, record, tensors)


def n_splits_of(count: int, n_train: int, splits: int) -> int:
    """Return the number of different splits: one if all images are labelled."""
    return 1 if count == n_train else splits


def cells_of_run(counts: Sequence[int], n_train: int, splits: int) -> list[Cell]:
    """Return all choices of labelled images of a run."""
    return [Cell(count, split) for count in counts for split in range(n_splits_of(count, n_train, splits))]


def cell_seed(seed: int, cell: Cell) -> int:
    """Return the seed of the networks of a split, the same for every number of labels."""
    return int(np.random.default_rng([seed, cell.split]).integers(2**31))


Keep = Callable[[Cell, Classifier], Sequence[state.Writing]]
"""Receives a cell and the classifier fitted in it, and returns what is to be written of it."""


@dataclass(frozen=True)
class CellTask:
    """What the cells of a method share; a worker process gets a copy.

    Parameters
    ----------
    train : View
        The training images.
    labels : ndarray of shape (n_train,), int64
        Their classes; a method sees only those of a cell's labelled images.
    test : View
        The test images.
    options : Options
        The method, with the seed of the run: see `data.splits.labelling_order` and `cell_seed`.
    store : Store
        Store of the predictions. What it contains is not computed again.
    keep : callable
        Called with each fitted classifier. What it returns is written before the predictions.
    """

    train: View
    labels: NDArray[np.int64]
    test: View
    options: Options
    store: Store
    keep: Keep

    def find(self, cell: Cell) -> Prediction | None:
        """Return the predictions of a cell if it is finished; see `Store.load`."""
        return self.store.load(self.options.method, cell, len(self.test))

    def do(self, cells: Sequence[Cell], advance: Advance, write: BackgroundWriter) -> None:
        """Fit the method in some cells of one number of labels, predict the test images, and store that.

        `advance` advances by 1 per cell, when it is on disk.
        """
        bars = [_CellProgress(advance, _name_of(cell)) for cell in cells]
        choices, own = [], []
        for cell, bar in zip(cells, bars, strict=True):
            rows = labelled_indices(self.labels, cell.labels, self.options.seed, cell.split)
            choices.append(Labelled(rows, self.labels[rows]))
            own.append(replace(self.options, seed=cell_seed(self.options.seed, cell), advance=bar))
        fitted = fit_each(self.train, choices, own)
        for cell, bar, (classifier, seconds) in zip(cells, bars, fitted, strict=True):
            start = time.perf_counter()
            classes = classifier.predict(self.test)
            seconds += time.perf_counter() - start
            chosen = classifier.chosen
            why = f"{chosen.method}: {chosen.reason}" if chosen else ""
            found = Prediction(classes, seconds, why, classifier.curve)
            with self.train.stopwatch.phase("write"):
                kept = [*self.keep(cell, classifier), self.store.prepare(self.options.method, cell, found)]
            write(kept, bar.finish)

    def prepare(self) -> None:
        """Compute what all cells share, once and on all cores: the teacher's graph."""
        if self.options.teacher_name:
            encoder = self.train.encoder(self.options.teacher_name)
            with self.train.stopwatch.phase("fit"):
                _ = self.train.graph(encoder).weights


class DoCells(Protocol):
    """Processes the cells of a task, one after the other or in parallel."""

    def __call__(self, task: CellTask, cells: Sequence[Cell], advance: Advance) -> None:
        """Process `cells`; `advance` advances by 1 per cell. The store of `task` receives the predictions."""


def do_in_turn(task: CellTask, cells: Sequence[Cell], advance: Advance) -> None:
    """Process cells one after the other in this process; see `DoCells`."""
    with BackgroundWriter(task.train.stopwatch) as write:
        for _, group in itertools.groupby(cells, key=lambda cell: cell.labels):
            task.do(list(group), advance, write)


def predict_cells(
    task: CellTask, cells: Sequence[Cell], advance: Advance, do: DoCells = do_in_turn
) -> Predictions:
    """Fit a method to each choice of labelled images, and predict the test images.

    On a CPU a method that trains networks uses for each the cores divided by the number of `cells`, at least
    one: several networks on one core each are faster than one network on all cores. That depends neither on
    how many are trained in parallel nor on how many are finished, so the predictions do not either. Other
    methods use one thread for few images; see `runtime.threads.suitable_threads`.

    Parameters
    ----------
    task : CellTask
        What they share.
    cells : sequence of Cell
        The choices.
    advance : callable
        Advances by 1 per cell.
    do : callable
        Processes the unfinished ones.
    """
    todo = []
    for cell in cells:
        if task.find(cell) is None:
            todo.append(cell)
        else:
            advance(_name_of(cell), 1)
    if todo and task.options.trains and task.train.device.type == "cpu":
        task.prepare()
        with limited_threads(max(1, n_threads() // len(cells))):
            do(task, todo, advance)
    elif task.options.trains:
        do_in_turn(task, todo, advance)
    else:
        with suitable_threads(task.train.pixels.size + task.test.pixels.size):
            do_in_turn(task, todo, advance)
    predictions: Predictions = {}
    for cell in cells:
        done = task.find(cell)
        assert done is not None
        predictions.setdefault(cell.labels, []).append(done)
    return predictions


def _name_of(cell: Cell) -> str:
    return f"{cell.labels} labels, split {cell.split + 1}"


class _CellProgress:
    """Turns the parts that a method reports into one step, whether or not it reports any."""

    def __init__(self, advance: Advance, name: str) -> None:
        self.advance, self.name, self.left = advance, name, 1.0

    def __call__(self, note: str, steps: float = 1) -> None:
        self.left -= steps
        self.advance(f"{self.name}, {note}", steps)

    def finish(self) -> None:
        self.advance(self.name, self.left)
