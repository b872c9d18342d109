"""Methods on the backend that solves everything at once decide as they do on scikit-learn's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.methods.evaluation import CellTask, Store, cells_of_run, predict_cells
from gpu_ssl.methods.method import Classifier, Options, fit_method
from gpu_ssl.methods.saving import load_classifier, save_classifier
from gpu_ssl.svm._batched import BatchedBackend
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.pairs import PairSolutions, Problem
from tests.methods import CPU, choose, silent, view_of

SHAPE = (1, 8, 8)


class Spy(BatchedBackend):
    """Notes how many problems it was given at a time."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.given: list[int] = []

    def solve_all(self, problems: list[Problem]) -> list[PairSolutions]:  # type: ignore[override]
        self.given.append(len(problems))
        return super().solve_all(problems)


def fitted(digits: Dataset, method: str, backend: SVMBackend | None) -> tuple[Classifier, np.ndarray]:  # type: ignore[type-arg]
    hog = HOG(SHAPE)
    train, test = (view_of(part.images, [hog], backend) for part in (digits.train, digits.test))
    classifier = fit_method(train, choose(digits, 100), Options(method, encoder="hog"))
    return classifier, classifier.predict(test)


@pytest.mark.parametrize("method", ["svm", "graph", "auto"])
def test_a_method_decides_as_on_scikit_learn_and_so_does_what_it_saved(
    digits: Dataset, method: str, tmp_path: Path
) -> None:
    _, expected = fitted(digits, method, None)
    classifier, found = fitted(digits, method, BatchedBackend(CPU))
    assert np.mean(found == expected) > 0.99
    assert all(isinstance(tensor, torch.Tensor) for tensor in classifier.tensors().values())
    save_classifier(tmp_path / "c.json", classifier)
    backend = BatchedBackend(CPU)
    again = load_classifier(tmp_path / "c.json", backend, CPU)
    assert np.array_equal(again.predict(view_of(digits.test.images, [again.encoder], backend)), found)


def test_all_splits_of_a_count_are_one_batch_and_those_that_are_there_are_not_solved_again(
    digits: Dataset, tmp_path: Path
) -> None:
    hog, labels = HOG(SHAPE), digits.train.labels
    cells = cells_of_run((50, 100), len(labels), 3)
    store, kept, spy = Store(tmp_path, "these data"), [], Spy()

    def predict(backend: SVMBackend, store: Store) -> dict[int, list[np.ndarray]]:  # type: ignore[type-arg]
        train, test = (view_of(part.images, [hog], backend) for part in (digits.train, digits.test))
        options = Options("svm", encoder="hog")
        task = CellTask(train, labels, test, options, store, lambda cell, _: kept.append(cell) or ())
        predictions = predict_cells(task, cells, silent)
        assert all(one.seconds > 0 for some in predictions.values() for one in some)
        return {count: [one.classes for one in some] for count, some in predictions.items()}

    found = predict(spy, store)
    assert spy.given == [3, 3]
    assert kept == cells
    expected = predict(Spy(), Store(tmp_path / "other", "these data"))
    for count in found:
        for one, other in zip(found[count], expected[count], strict=True):
            assert np.array_equal(one, other)
    for path in tmp_path.glob("svm-100-labels-split-1*"):
        path.unlink()
    again = Spy()
    predict(again, store)
    assert again.given == [1]
