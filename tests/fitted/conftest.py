"""A model fitted to digits, once for all tests of this folder."""

from pathlib import Path

import numpy as np
import pytest

from gpu_ssl.config import DataConfig, FitConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.fitted import storage
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.runtime.progress import SILENT

CONFIG = FitConfig(mirror=False, device="cpu")


def own(dataset: Dataset, n_labelled: int) -> OwnImages:
    train = dataset.train
    labels = np.full(len(train), UNLABELLED)
    rows = labelled_indices(train.labels, n_labelled, 0, 0)
    labels[rows] = train.labels[rows]
    names = tuple(f"{i}.png" for i in range(len(train)))
    return OwnImages(names, train.images, labels, train.class_names, {})


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return load_dataset(DataConfig(dataset="digits"))


@pytest.fixture(scope="session")
def fitted(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    return fit(own(dataset, 300), CONFIG, tmp_path_factory.mktemp("fit") / "checkpoint.json", SILENT)


@pytest.fixture
def saved(fitted: Fit, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    storage.save(folder, fitted.model, fitted.record)
    return folder
