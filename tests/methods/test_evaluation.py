"""Every split gets its SVM from its own labelled images alone; finished cells are not done again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl.config import SVMConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.errors import StorageError
from gpu_ssl.methods.baselines import raw_pixels
from gpu_ssl.methods.evaluation import Answer, Cell, Predictions, Store, cells_of, predict_cells
from gpu_ssl.methods.svm import SVMOnFeatures, SVMSolver
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty


def silent(note: str, steps: float = 1) -> None:
    pass


def predict(
    dataset: Dataset,
    counts: tuple[int, ...] = (20, 100),
    splits: int = 2,
    backend: SVMBackend | None = None,
    store: Store | None = None,
) -> Predictions:
    stopwatch = Stopwatch(torch.device("cpu"))
    method = SVMOnFeatures(
        raw_pixels(dataset), SVMSolver(SVMConfig(), backend or SklearnBackend(), stopwatch)
    )
    labels = dataset.train.labels
    cells = cells_of(counts, len(labels), splits)
    predictions = predict_cells(method, labels, cells, 0, silent, store)
    assert stopwatch.seconds["fit"] > 0
    assert stopwatch.seconds["score"] > 0
    return predictions


def test_predictions_are_those_of_an_svm_on_the_splits_images(digits: Dataset) -> None:
    predictions = predict(digits)
    features = raw_pixels(digits)
    chosen = labelled_indices(digits.train.labels, 100, seed=0, split=1)
    points = features.train(chosen)
    penalty = Penalty(SVMConfig().C, Kernel(gamma=scale_gamma(points)))
    model = fit_one_vs_one(SklearnBackend(), points, digits.train.labels[chosen], 10, penalty)
    assert np.array_equal(predictions[100][1].classes, model.predict(features.test))
    assert not np.array_equal(predictions[100][0].classes, predictions[100][1].classes)
    assert all(p.seconds > 0 for p in predictions[100])


def test_an_svm_sees_the_labels_of_its_own_images_alone(digits: Dataset) -> None:
    labels = digits.train.labels
    seen = []

    class Spy(SklearnBackend):
        def solve_pairs(self, grouped, sizes, penalty, weights):  # type: ignore[no-untyped-def]
            seen.append((grouped, sizes))
            return super().solve_pairs(grouped, sizes, penalty, weights)

    predict(digits, backend=Spy(), splits=3)
    expected = [labelled_indices(labels, n, 0, split) for n in (20, 100) for split in range(3)]
    assert len(seen) == len(expected)
    pixels = raw_pixels(digits).train
    for (grouped, sizes), chosen in zip(seen, expected, strict=True):
        assert np.array_equal(sizes, np.bincount(labels[chosen]))
        assert np.array_equal(grouped, pixels(chosen[np.argsort(labels[chosen], kind="stable")]))


def test_all_labels_are_one_split(digits: Dataset) -> None:
    predictions = predict(digits, counts=(len(digits.train),), splits=5)
    assert len(predictions[len(digits.train)]) == 1


class Counts:
    """Predicts the smallest labelled row, and counts how often it is asked."""

    name = "counts"

    def __init__(self) -> None:
        self.asked: list[Cell] = []

    def predict(self, cell, labelled, classes, advance):  # type: ignore[no-untyped-def]
        self.asked.append(cell)
        advance("half", 0.5)
        return Answer(np.full(3, labelled[0]), f"chosen for {cell.labels}", (0.5, 0.25))


CELLS = cells_of((20, 100), 1347, 2)


def test_finished_cells_are_read_back_and_not_done_again(digits: Dataset, tmp_path: Path) -> None:
    labels, store = digits.train.labels, Store(tmp_path, "these data")
    first, again = Counts(), Counts()
    some = predict_cells(first, labels, CELLS[:3], 0, silent, store)
    all_of_them = predict_cells(again, labels, CELLS, 0, silent, store)
    assert (first.asked, again.asked) == (CELLS[:3], CELLS[3:])
    read, written = all_of_them[20][1], some[20][1]
    assert np.array_equal(read.classes, written.classes)
    assert read.seconds == written.seconds
    assert read.answer[1:] == written.answer[1:] == ("chosen for 20", (0.5, 0.25))


def test_cells_of_other_data_are_refused(digits: Dataset, tmp_path: Path) -> None:
    predict_cells(Counts(), digits.train.labels, CELLS[:1], 0, silent, Store(tmp_path, "these data"))
    with pytest.raises(StorageError, match="belongs to another run"):
        predict_cells(Counts(), digits.train.labels, CELLS[:1], 0, silent, Store(tmp_path, "other data"))


def test_progress_is_one_step_a_cell_whatever_a_method_tells(digits: Dataset) -> None:
    told: list[tuple[str, float]] = []
    predict_cells(
        Counts(), digits.train.labels, CELLS[:1], 0, lambda note, steps=1: told.append((note, steps))
    )
    assert told == [("20 labels, split 1, half", 0.5), ("20 labels, split 1", 0.5)]
