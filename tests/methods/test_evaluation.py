"""Every split gets its classifier only from its own labelled images; finished cells are not repeated."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpu_ssl.config import SVMConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.errors import StorageError
from gpu_ssl.methods import evaluation
from gpu_ssl.methods import method as method_module
from gpu_ssl.methods.evaluation import (
    Cell,
    CellTask,
    Predictions,
    Store,
    cell_seed,
    cells_of_run,
    predict_cells,
)
from gpu_ssl.methods.method import Chosen, Classifier, Labelled, Options
from gpu_ssl.methods.view import View
from gpu_ssl.runtime import state
from gpu_ssl.runtime.state import Writing
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty
from tests.encoders import fitted
from tests.methods import silent, view_of


@pytest.fixture(scope="module")
def encoders(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    folder = tmp_path_factory.mktemp("encoders")
    return fitted(digits.train.images, folder, "pixels", "vae", "vae+hog")


def forget(cell: Cell, classifier: Classifier) -> Sequence[Writing]:
    return ()


@pytest.fixture
def predict(digits: Dataset, encoders: dict[str, Encoder], tmp_path: Path) -> Callable[..., Predictions]:
    """Predict the digits by an SVM on pixels by default."""

    def predict(
        counts: tuple[int, ...] = (20, 100),
        splits: int = 2,
        options: Options = Options("raw-svc"),  # noqa: B008
        backend: SVMBackend | None = None,
        labels: Any = digits.train.labels,
        keep: Callable[[Cell, Classifier], Sequence[Writing]] = forget,
        store: Store | None = None,
    ) -> Predictions:
        train, test = (
            view_of(part.images, encoders.values(), backend) for part in (digits.train, digits.test)
        )
        cells = cells_of_run(counts, len(labels), splits)
        store = store or Store(tmp_path / str(len(list(tmp_path.iterdir()))), "these data")
        predictions = predict_cells(CellTask(train, labels, test, options, store, keep), cells, silent)
        assert train.stopwatch.seconds["fit"] > 0
        assert test.stopwatch.seconds["score"] > 0
        return predictions

    return predict


def points_of(images: Any) -> Any:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def test_predictions_are_those_of_an_svm_on_the_splits_images(
    digits: Dataset, predict: Callable[..., Predictions]
) -> None:
    predictions = predict()
    chosen = labelled_indices(digits.train.labels, 100, seed=0, split=1)
    points = points_of(digits.train.images)[chosen]
    penalty = Penalty(SVMConfig().C, Kernel(gamma=scale_gamma(points)))
    model = fit_one_vs_one(SklearnBackend(), points, digits.train.labels[chosen], 10, penalty)
    assert np.array_equal(predictions[100][1].classes, model.predict(points_of(digits.test.images)))
    assert not np.array_equal(predictions[100][0].classes, predictions[100][1].classes)
    for prediction in predictions[100]:
        assert prediction.seconds > 0
        assert (prediction.chosen, prediction.curve) == ("", ())


def test_an_svm_sees_the_labels_of_its_own_images_alone(
    digits: Dataset, predict: Callable[..., Predictions]
) -> None:
    labels = digits.train.labels
    seen = []

    class Spy(SklearnBackend):
        def solve_pairs(self, grouped, sizes, penalty, weights):  # type: ignore[no-untyped-def]
            seen.append((grouped, sizes))
            return super().solve_pairs(grouped, sizes, penalty, weights)

    predict(backend=Spy(), splits=3)
    expected = [labelled_indices(labels, n, 0, split) for n in (20, 100) for split in range(3)]
    assert len(seen) == len(expected)
    pixels = points_of(digits.train.images)
    for (grouped, sizes), chosen in zip(seen, expected, strict=True):
        assert np.array_equal(sizes, np.bincount(labels[chosen]))
        assert np.array_equal(grouped, pixels[chosen[np.argsort(labels[chosen], kind="stable")]])


@pytest.mark.parametrize("method", ["m1", "graph", "auto"])
def test_labels_that_are_not_shown_do_not_matter(
    digits: Dataset, predict: Callable[..., Predictions], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """With all others spoiled a method predicts, and `auto` chooses, the same."""
    rows = labelled_indices(digits.train.labels, 50, 0, 0)
    monkeypatch.setattr(evaluation, "labelled_indices", lambda *_: rows)
    spoiled = (digits.train.labels + 3) % 10
    spoiled[rows] = digits.train.labels[rows]
    options = Options(method)
    (honest,), (other,) = (
        predict((50,), 1, options, labels=labels)[50] for labels in (digits.train.labels, spoiled)
    )
    assert np.array_equal(honest.classes, other.classes)
    assert honest.chosen == other.chosen
    assert (method == "auto") == bool(honest.chosen)


def test_all_labels_are_one_split(digits: Dataset, predict: Callable[..., Predictions]) -> None:
    n = len(digits.train)
    predictions = predict(counts=(100, n), splits=3)
    assert [len(predictions[count]) for count in (100, n)] == [3, 1]
    assert cells_of_run((100, n), n, 2) == [Cell(100, 0), Cell(100, 1), Cell(n, 0)]


def test_a_classifier_is_kept_with_its_cell_when_it_was_fitted(
    predict: Callable[..., Predictions], tmp_path: Path
) -> None:
    kept: list[tuple[Cell, Classifier]] = []
    store = Store(tmp_path / "store", "these data")
    predict(store=store, keep=lambda *pair: kept.append(pair) or ())
    assert [cell for cell, _ in kept] == cells_of_run((20, 100), 1347, 2)
    assert {classifier.n_classes for _, classifier in kept} == {10}


class Counts:
    """Fits at once: predicts the smallest labelled row, and records requests."""

    def __init__(self, fails_at: int = 100) -> None:
        self.asked: list[Options] = []
        self.fails_at = fails_at

    def fit_method(self, view: View, labelled: Labelled, options: Options) -> Any:
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(options)
        options.advance("half", 0.5)
        return SimpleNamespace(
            chosen=Chosen("m1", f"why for {len(labelled.rows)}", {}),
            curve=(0.5, 0.25),
            predict=lambda test: np.full(len(test), labelled.rows[0]),
        )


CELLS = cells_of_run((20, 100), 1347, 2)


def test_a_cell_is_finished_only_with_what_is_kept_of_its_classifier(
    predict: Callable[..., Predictions], tmp_path: Path
) -> None:
    """Otherwise a resumed run would not fit the classifier again, and it would be missing."""

    def fail() -> None:
        raise StorageError("no space")

    store = Store(tmp_path / "store", "these data")
    with pytest.raises(StorageError, match="no space"):
        predict((20,), 2, store=store, keep=lambda cell, _: (Writing(fail, 0),) * cell.split)
    assert store.load("raw-svc", Cell(20, 0), 450) is not None
    assert store.load("raw-svc", Cell(20, 1), 450) is None


@pytest.fixture
def counted(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Counts, list[Cell], Store], Predictions]:
    def run(method: Counts, cells: list[Cell], store: Store, advance: Any = silent) -> Predictions:
        monkeypatch.setattr(method_module, "fit_method", method.fit_method)
        view = view_of(digits.train.images)
        labels = digits.train.labels
        task = CellTask(view, labels, view, Options("m1"), store, forget)
        return predict_cells(task, cells, advance)

    return run


def test_finished_cells_are_read_back_and_not_done_again(
    counted: Callable[..., Predictions], tmp_path: Path
) -> None:
    store = Store(tmp_path, "these data")
    first, again = Counts(), Counts()
    some = counted(first, CELLS[:3], store)
    all_of_them = counted(again, CELLS, store)
    assert (len(first.asked), len(again.asked)) == (3, 1)
    read, written = all_of_them[20][1], some[20][1]
    assert np.array_equal(read.classes, written.classes)
    assert read.classes.dtype == np.int64
    assert read.seconds == written.seconds
    assert (read.chosen, read.curve) == (written.chosen, written.curve) == ("m1: why for 20", (0.5, 0.25))


def test_an_interrupted_run_goes_on_with_the_cell_that_it_was_in(
    counted: Callable[..., Predictions], tmp_path: Path
) -> None:
    """Even within a split: what is stored is whole."""
    whole = counted(Counts(), CELLS, Store(tmp_path / "whole", "these data"))
    store = Store(tmp_path / "stopped", "these data")
    with pytest.raises(KeyboardInterrupt):
        counted(Counts(fails_at=2), CELLS, store)
    assert len(list(store.folder.glob("*.json"))) == 2
    rest = Counts()
    resumed = counted(rest, CELLS, store)
    assert len(rest.asked) == 2
    for count, predictions in whole.items():
        for one, other in zip(predictions, resumed[count], strict=True):
            assert np.array_equal(one.classes, other.classes)


def test_cells_of_other_data_are_refused(counted: Callable[..., Predictions], tmp_path: Path) -> None:
    counted(Counts(), CELLS[:1], Store(tmp_path, "these data"))
    with pytest.raises(StorageError, match=r"belongs to another run .* delete it"):
        counted(Counts(), CELLS[:1], Store(tmp_path, "other data"))


DAMAGE: dict[str, tuple[dict[str, Any], bool]] = {
    "schema": ({"schema": 1}, True),
    "signature": ({}, False),
    "seconds": ({"seconds": None}, True),
    "curve": ({"curve": [None]}, True),
    "chosen": ({"chosen": 3}, True),
    "cell": ({"cell": [20, 1]}, True),
    "method": ({"method": "graph"}, True),
    "tensors": ({"tensors": None}, True),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_cells_are_refused(counted: Callable[..., Predictions], tmp_path: Path, damage: str) -> None:
    """Of another version, or not whole: nobody would notice wrong predictions."""
    store = Store(tmp_path, "these data")
    counted(Counts(), CELLS[:1], store)
    (path,) = tmp_path.glob("*.json")
    assert path.name == "m1-20-labels-split-0.json"
    description = json.loads(path.read_text())
    change, signed = DAMAGE[damage]
    description.update(change)
    description.pop("sha256")
    signature = state.digest_of(description) if signed else "0"
    path.write_text(json.dumps({**description, "sha256": signature}))
    with pytest.raises(StorageError, match=path.name) as caught:
        counted(Counts(), CELLS[:1], store)
    assert "\n" not in str(caught.value)


def test_methods_do_not_share_cells(counted: Callable[..., Predictions], tmp_path: Path) -> None:
    store = Store(tmp_path, "these data")
    counted(Counts(), CELLS[:1], store)
    assert store.load("m1", CELLS[0], 1347) is not None
    assert store.load("graph", CELLS[0], 1347) is None
    assert store.load("m1", CELLS[1], 1347) is None


def test_progress_is_one_step_a_cell_whatever_a_method_tells(
    counted: Callable[..., Predictions], tmp_path: Path
) -> None:
    told: list[tuple[str, float]] = []

    def advance(note: str, steps: float = 1) -> None:
        told.append((note, steps))

    store = Store(tmp_path, "these data")
    counted(Counts(), CELLS[:1], store, advance)
    assert told == [("20 labels, split 1, half", 0.5), ("20 labels, split 1", 0.5)]
    told.clear()
    counted(Counts(), CELLS[:1], store, advance)
    assert told == [("20 labels, split 1", 1)], "one that is read back is a step, too"


def test_networks_of_a_split_have_a_seed_of_their_own(
    counted: Callable[..., Predictions], tmp_path: Path
) -> None:
    """The same for every number of labels: what differs between counts then are the labels."""
    method = Counts()
    counted(method, CELLS, Store(tmp_path, "these data"))
    seeds = [options.seed for options in method.asked]
    assert seeds == [cell_seed(0, cell) for cell in CELLS]
    assert seeds[:2] == seeds[2:]
    assert seeds[0] != seeds[1]
    assert cell_seed(1, CELLS[0]) != cell_seed(0, CELLS[0])
