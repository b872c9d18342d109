"""Images of two kinds as a user's own, and a model fitted to digits, once for all tests of this folder."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from gpu_ssl.config import FitConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.fitted import storage
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.runtime.progress import SILENT

CONFIG = FitConfig(mirror=False, device="cpu")
ONE_EPOCH = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"epochs": 1})})


def own_images(images: np.ndarray, classes: np.ndarray, names: tuple[str, ...], n_labelled: int) -> OwnImages:
    """Images of which `n_labelled` carry a label, as many of each class."""
    labels = np.full(len(images), UNLABELLED)
    rows = labelled_indices(classes, n_labelled, 0, 0)
    labels[rows] = classes[rows]
    return OwnImages(tuple(f"{i}.png" for i in range(len(images))), images, labels, names, {})


def own(dataset: Dataset, n_labelled: int) -> OwnImages:
    train = dataset.train
    return own_images(train.images, train.labels, train.class_names, n_labelled)


@pytest.fixture(scope="session")
def patches() -> tuple[np.ndarray, np.ndarray]:
    """Patches (400, 3, 10, 14) of scikit-learn's two photographs: sky and roof, court, flower."""
    rng = np.random.default_rng(0)
    china, flower = load_sample_images().images
    classes = rng.integers(0, 3, 400)
    images = []
    for part in classes:
        picture = (china[:200], china[200:], flower)[part]
        row, column = (
            rng.integers(0, side - size) for side, size in zip(picture.shape, (30, 42), strict=False)
        )
        images.append(picture[row : row + 30 : 3, column : column + 42 : 3].transpose(2, 0, 1))
    return np.ascontiguousarray(images), classes


@pytest.fixture(scope="session")
def fitted(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """A model with default settings."""
    return fit(own(digits, 300), CONFIG, tmp_path_factory.mktemp("fit") / "checkpoint.json", SILENT)


@pytest.fixture
def saved(fitted: Fit, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    storage.save(folder, fitted.model, fitted.record)
    return folder
