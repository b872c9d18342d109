"""Embeddings in Python: arrays of any library, on their device."""

from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import gpu_ssl
from gpu_ssl import SemiSupervisedClassifier
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.positions import Positions
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators import semi_supervised
from gpu_ssl.estimators.embeddings import take_embeddings
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.runtime.interop import OnHost
from gpu_ssl.runtime.progress import SILENT

GIVEN = SemiSupervisedClassifier(encoder="given", method="svm", random_state=0, device="cpu")


@pytest.fixture(scope="module")
def rows(digits: Dataset) -> NDArray[np.float32]:
    """Numbers of no fixed range, as embeddings are."""
    mixed = np.random.default_rng(0).normal(size=(64, 24)) / 100
    return (digits.train.images.reshape(-1, 64) @ mixed).astype(np.float32)


@pytest.fixture(scope="module")
def y(digits: Dataset) -> NDArray[np.int64]:
    labels = digits.train.labels.copy()
    labels[150:] = -1
    return labels


@pytest.fixture(scope="module")
def model(rows: NDArray[np.float32], y: NDArray[np.int64]) -> SemiSupervisedClassifier:
    return GIVEN.fit(rows, y)


def test_digits_are_learned_from_embeddings(
    model: SemiSupervisedClassifier, rows: NDArray[np.float32], digits: Dataset
) -> None:
    assert model.score(rows[150:], digits.train.labels[150:]) > 0.85
    assert np.array_equal(model.transform(rows[:9]), rows[:9])
    assert model.record_.estimate is not None
    assert model.record_.estimate.raw_pixels is None
    assert model.ood_score(rows[:50] + 40).min() > 1 > np.median(model.ood_score(rows[:50]))


@pytest.mark.parametrize(
    "kind",
    [
        torch.from_numpy,
        array_api_strict.asarray,
        lambda rows: rows.astype(np.float64),
        lambda rows: torch.from_numpy(rows).double(),
    ],
    ids=["torch", "array-api", "float64", "torch float64"],
)
def test_every_library_gives_the_same(
    kind: Any, model: SemiSupervisedClassifier, rows: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    own = SemiSupervisedClassifier(**GIVEN.get_params()).fit(kind(rows), y)
    assert own.n_features_in_ == 24
    assert np.array_equal(own.predict_proba(kind(rows[:99])), model.predict_proba(rows[:99]))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, array_api_strict.asarray])
def test_float32_is_not_copied(
    kind: Any, rows: NDArray[np.float32], y: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[OwnImages] = []

    def watched(images: OwnImages, *arguments: Any, **options: Any) -> Fit:
        seen.append(images)
        return fit(images, *arguments, **options)

    monkeypatch.setattr(semi_supervised, "fit", watched)
    mine = rows.copy()
    SemiSupervisedClassifier(**GIVEN.get_params()).fit(kind(mine), y)
    assert np.shares_memory(seen[0].images, mine) or kind == array_api_strict.asarray
    taken = take_embeddings(SemiSupervisedClassifier(), given := kind(mine), reset=True)
    assert isinstance(taken, np.ndarray)
    assert np.shares_memory(taken, np.asarray(given))


def test_a_tensor_on_the_device_is_worked_on_there(
    rows: NDArray[np.float32], y: NDArray[np.int64], model: SemiSupervisedClassifier, tmp_path: Path
) -> None:
    """Of what lies on a GPU the host asks for some rows only; here a CPU stands for it."""
    asked: list[int] = []

    class Watched(OnHost):
        def __getitem__(self, some: Any) -> np.ndarray[Any, Any]:
            found = super().__getitem__(some)
            asked.append(len(found))
            return found

    tensor = torch.from_numpy(rows.reshape(-1, 1, 1, 24))
    on_host: Any = Watched(tensor)
    names = tuple(map(str, range(10)))
    images = OwnImages(Positions(len(rows)), on_host, y, names, {})
    assert len(images.sha256) == 64  # in blocks
    asked.clear()
    config = model.record_.config
    fitted = fit(images, config, tmp_path / "c.json", SILENT, placed=tensor)
    assert max(asked) < len(rows)
    ours, theirs = fitted.model.predict(tensor[:99]), model.model_.predict(rows[:99].reshape(-1, 1, 1, 24))
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.array_equal(ours.ood_scores, theirs.ood_scores)


def test_what_is_saved_is_read_back(
    model: SemiSupervisedClassifier, rows: NDArray[np.float32], tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    read = gpu_ssl.load(tmp_path / "model", device="cpu")
    assert np.array_equal(read.predict_proba(rows), model.predict_proba(rows))
    with pytest.raises(ValueError, match="25 features"):
        read.predict(np.zeros((3, 25), np.float32))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_what_is_no_embedding_is_refused(kind: Any, rows: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    broken = rows.copy()
    broken[3, 4] = np.nan
    for wrong in (broken, rows[:, 0], rows.astype(complex)):
        with pytest.raises(ValueError, match=r"NaN|with real numbers|1D array|Complex"):
            SemiSupervisedClassifier(**GIVEN.get_params()).fit(kind(wrong), y)
    for name, value in {"method": "m1", "encoder": "hog"}.items():
        other = SemiSupervisedClassifier(**GIVEN.get_params()).set_params(**{name: value})
        with pytest.raises(UsageError, match=r"svm, graph, auto|is for images"):
            other.fit(rows, y)
